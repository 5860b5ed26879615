"""Latency of a model file on this machine: what a card says of it, and what `nas run` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nas.config import MeasureProtocol
from nas.hardware.device_state import pinned
from nas.hardware.measure import measure
from nas.hardware.runtimes.loading import load_runtime
from nas.metrics import Metric

__all__ = ["file_latency"]


def file_latency(path: Path, runtime: str, threads: int, protocol: MeasureProtocol, on_note: Callable[[str], None]) -> Metric:
    """Latency of one model file on this machine, on cores of its own, source "measured".

    The median over the raw medians of separated windows, low and high the extreme ones: no anchor stands between them, so a drift of the
    machine is in it.

    Args:
        on_note: told what is wrong with the measurement.

    Raises:
        DisturbedError: the machine was too busy or too hot.
    """
    with pinned(threads), load_runtime(runtime).open(path, threads) as run:
        measured = measure(run, protocol)
    if measured.warning:
        on_note(f"latency of {path.name} with {runtime}, {threads} thread{'s' if threads > 1 else ''}: {measured.warning}")
    windows_s = measured.labels_s()
    return Metric(float(np.median(windows_s)), "s", "measured", low=min(windows_s), high=max(windows_s))
