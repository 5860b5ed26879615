"""The clock. Everything that says how long something took on this machine is measured here.

A network's windows stand apart, each between two windows of an anchor network: the ratio to the anchor cancels the machine's drift,
which is common to both (FINDINGS 5: repeatability 2.8 % against 4.8 % of raw medians, about 1.7 % with three windows).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.config import MeasureProtocol
from nas.errors import TargetError
from nas.hardware.runtimes.base import Runtime
from nas.metrics import Metric

__all__ = ["Measurement", "measure", "measure_models"]

_MAX_RELATIVE_IQR = 0.10  # as torch.utils.benchmark: beyond it the system fluctuates
_ANCHOR_WINDOW_SHARE = 0.5  # of a window's time: two anchor windows stand beside each


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one network.

    Attributes:
        windows_s: seconds of every run, by window.
        anchors_s: median seconds of the anchor's run before and after each window; empty without an anchor.
    """

    windows_s: tuple[tuple[float, ...], ...]
    anchors_s: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not self.windows_s or any(len(window) < 2 for window in self.windows_s):
            raise TargetError(f"a measurement needs at least 2 runs in every window, got {[len(window) for window in self.windows_s]}")
        if self.anchors_s and len(self.anchors_s) != len(self.windows_s):
            raise TargetError(f"{len(self.windows_s)} windows need as many pairs of anchors, got {len(self.anchors_s)}")
        if any(not (math.isfinite(value) and value > 0) for value in (*self.samples_s, *(a for pair in self.anchors_s for a in pair))):
            raise TargetError("the clock gave a run that took no time: the model is too small for it, or the clock stands still")

    @property
    def samples_s(self) -> tuple[float, ...]:
        """Seconds of every run."""
        return tuple(value for window in self.windows_s for value in window)

    @property
    def median_s(self) -> float:
        return float(np.median(self.samples_s))

    @property
    def iqr_s(self) -> float:
        """Distance of the quartiles, seconds."""
        low, high = np.percentile(self.samples_s, (25, 75))
        return float(high - low)

    @property
    def p90_s(self) -> float:
        return float(np.percentile(self.samples_s, 90))

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self.samples_s, 99))

    @property
    def anchor_s(self) -> float | None:
        """Median of the anchor's windows, seconds; None without an anchor."""
        return float(np.median(self.anchors_s)) if self.anchors_s else None

    def labels_s(self, anchor_s: float | None = None) -> tuple[float, ...]:
        """Latency by window, seconds: its median over the anchor's beside it, times the anchor's over the whole session.

        Args:
            anchor_s: the anchor's median over the session; this measurement's own by default. Raw medians without an anchor.
        """
        medians = [float(np.median(window)) for window in self.windows_s]
        if not self.anchors_s:
            return tuple(medians)
        scale = self.anchor_s if anchor_s is None else anchor_s
        return tuple(median / ((a + b) / 2) * float(scale or 0.0) for median, (a, b) in zip(medians, self.anchors_s, strict=True))

    def latency_s(self, anchor_s: float | None = None) -> float:
        """The label: median over `labels_s`."""
        return float(np.median(self.labels_s(anchor_s)))

    @property
    def warning(self) -> str:
        """What is wrong with it; empty where nothing is."""
        share = self.iqr_s / self.median_s
        return f"IQR is {share:.0%} of the median: the machine was busy" if share > _MAX_RELATIVE_IQR else ""


def measure(run: Callable[[], None], protocol: MeasureProtocol, anchor: Callable[[], None] | None = None) -> Measurement:
    """Measures `run`, in windows bracketed by windows of `anchor`.

    Args:
        run: runs the network once.
        protocol: windows, their length, warm-up.
        anchor: runs the anchor network once; None for raw medians.
    """
    for _ in range(protocol.warmup_runs):
        run()
        if anchor is not None:
            anchor()
    windows: list[tuple[float, ...]] = []
    anchors: list[tuple[float, float]] = []
    before = _anchor_s(anchor, protocol)
    for _ in range(protocol.windows):
        windows.append(_window(run, protocol, protocol.window_s))
        after = _anchor_s(anchor, protocol)
        if before is not None and after is not None:
            anchors.append((before, after))
        before = after
    return Measurement(tuple(windows), tuple(anchors))


def _anchor_s(anchor: Callable[[], None] | None, protocol: MeasureProtocol) -> float | None:
    return None if anchor is None else float(np.median(_window(anchor, protocol, _ANCHOR_WINDOW_SHARE * protocol.window_s)))


def _window(run: Callable[[], None], protocol: MeasureProtocol, window_s: float) -> tuple[float, ...]:
    """Seconds of each run until the window's time is used up."""
    run()  # caches and clocks after another network: not counted
    samples: list[float] = []
    end = time.perf_counter_ns() + round(window_s * 1e9)
    while len(samples) < protocol.max_runs:
        start = time.perf_counter_ns()
        run()
        stop = time.perf_counter_ns()
        samples.append((stop - start) * 1e-9)
        if stop >= end and len(samples) >= protocol.min_runs:
            break
    return tuple(samples)


def measure_models(
    paths: Sequence[Path],
    runtime: Runtime,
    protocol: MeasureProtocol,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> list[Metric]:
    """Latency of model files on this machine, source "measured"; low and high are the extreme windows.

    The file of middle size is the anchor, so that drift does not decide between the models. One model alone is its own.

    Args:
        paths: model files that `runtime` can open.
        runtime: that runs them, with `protocol.threads` threads.
        protocol: how.
        on_progress: called before each model with its number, how many there are, and its name.
    """
    order = sorted(range(len(paths)), key=lambda index: (paths[index].stat().st_size, index))
    measured: list[Measurement] = []
    with ExitStack() as stack:
        anchor = stack.enter_context(runtime.open(paths[order[len(order) // 2]], protocol.threads)) if len(paths) > 1 else None
        for number, path in enumerate(paths):
            if on_progress is not None:
                on_progress(number, len(paths), path.name)
            with runtime.open(path, protocol.threads) as run:
                measured.append(measure(run, protocol, anchor))
    anchors = [pair for measurement in measured for pair in measurement.anchors_s]
    anchor_s = float(np.median(anchors)) if anchors else None
    metrics = []
    for measurement in measured:
        labels = measurement.labels_s(anchor_s)
        metrics.append(Metric(float(np.median(labels)), "s", "measured", low=min(labels), high=max(labels)))
    return metrics
