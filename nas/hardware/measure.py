"""The clock. Everything that says how long something took is measured here, on this machine or, by the same file, on the device.

A network's windows stand apart, each between two windows of an anchor network: the ratio to the anchor cancels the machine's drift,
which is common to both (FINDINGS 5: repeatability 2.8 % against 4.8 % of raw medians, about 1.7 % with three windows).
A window in which the device throttled, slept, lost its clock, or after which the anchor runs quite differently, is repeated.

This file also runs on the device, without the rest of the package: Python 3.9 and numpy (see `transports.bundle`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import DisturbedError
from nas.hardware.device_state import DeviceState, disturbance, read_state
from nas.hardware.measurement import Measurement, Rejected

if TYPE_CHECKING:
    from nas.config import MeasureProtocol

__all__ = ["Machine", "Measurement", "measure"]

_ANCHOR_WINDOW_SHARE = 0.5  # of a window's time: two anchor windows stand beside each
_FEWEST_WINDOWS = 3  # or all of a protocol that has fewer
_MAX_ASLEEP_NS = 1_000_000  # two clocks are read one after the other: they may differ by less
_STABLE_SHARE = 0.03  # of the fastest run of a batch to the one before: warm
_MAX_BATCHES = 10_000  # of warming up, whatever the clock says


class Machine:
    """The machine that measures: its clocks and its state. Tests give another one."""

    def now_ns(self) -> int:
        """A clock that only runs while the machine does, nanoseconds."""
        return time.perf_counter_ns()

    def asleep_ns(self) -> int:
        """How long the machine has been suspended since boot, nanoseconds; 0 where it does not tell (Linux only)."""
        if not hasattr(time, "CLOCK_BOOTTIME"):
            return 0
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def state(self) -> DeviceState:
        return read_state()

    def wait(self, seconds: float) -> None:
        """Lets the device cool down."""
        time.sleep(seconds)


def measure(
    run: Callable[[], None], protocol: MeasureProtocol, anchor: Callable[[], None] | None = None, machine: Machine | None = None
) -> Measurement:
    """Measures `run`, in windows bracketed by windows of `anchor`.

    Args:
        run: runs the network once.
        protocol: windows, their length, warm-up, what counts as disturbed.
        anchor: runs the anchor network once; None for raw medians.
        machine: whose clocks; this one's by default.

    Raises:
        DisturbedError: fewer than three windows could be kept, or than the protocol's two; says why.
    """
    machine = machine or Machine()
    if anchor is not None:
        anchor()
    stable = _warm_up(run, protocol, machine)
    windows: list[tuple[float, ...]] = []
    anchors: list[tuple[float, float]] = []
    anchor_windows: list[tuple[float, ...]] = []
    rejected: list[Rejected] = []

    def anchor_s() -> float | None:
        if anchor is None:
            return None
        window = _window(anchor, protocol, _ANCHOR_WINDOW_SHARE * protocol.window_s, machine)
        anchor_windows.append(window)
        return min(window) if min(window) < 0 else float(np.median(window))

    first = state = machine.state()
    before = anchor_s()
    while len(windows) < protocol.windows and len(rejected) <= protocol.max_repeats:
        asleep_ns = machine.asleep_ns()
        window = _window(run, protocol, protocol.window_s, machine)
        after, later = anchor_s(), machine.state()
        reason = _suspended(machine.asleep_ns() - asleep_ns) or _backwards(window, before, after)
        reason = reason or disturbance(state, later) or _drift(before, after, protocol.max_drift)
        if reason:
            rejected.append(Rejected(reason, window))
            if later.throttled:
                machine.wait(protocol.cool_down_s)
                later, after = machine.state(), anchor_s()
        else:
            windows.append(window)
            if before is not None and after is not None:
                anchors.append((before, after))
        before, state = after, later
    if len(windows) < min(_FEWEST_WINDOWS, protocol.windows):
        reasons = "; ".join(dict.fromkeys(each.reason for each in rejected))
        raise DisturbedError(f"{len(rejected)} windows were disturbed and {len(windows)} were not: {reasons}")
    return Measurement(tuple(windows), tuple(anchors), tuple(anchor_windows), tuple(rejected), (first, state), stable)


def _warm_up(run: Callable[[], None], protocol: MeasureProtocol, machine: Machine) -> bool:
    """Runs batches until the fastest run of one is like that of the batch before; whether that came before the limit.

    A clock that runs backwards ends it too: the windows will say so.
    """
    left_ns = round(protocol.max_warmup_s * 1e9)
    previous = 0
    for _ in range(_MAX_BATCHES):
        batch = [_took_ns(run, machine) for _ in range(protocol.warmup_runs)]
        best = min(batch)
        if best >= 0 and abs(best - previous) <= _STABLE_SHARE * best:
            return True
        left_ns -= sum(batch)
        if best < 0 or left_ns <= 0:
            return False
        previous = best
    return False


def _took_ns(run: Callable[[], None], machine: Machine) -> int:
    start = machine.now_ns()
    run()
    return machine.now_ns() - start


def _window(run: Callable[[], None], protocol: MeasureProtocol, window_s: float, machine: Machine) -> tuple[float, ...]:
    """Seconds of each run until the window's time is used up. A negative one ends it: see `_backwards`."""
    run()  # caches and clocks after another network: not counted
    samples: list[float] = []
    end = machine.now_ns() + round(window_s * 1e9)
    while len(samples) < protocol.max_runs:
        start = machine.now_ns()
        run()
        stop = machine.now_ns()
        samples.append((stop - start) * 1e-9)
        if stop < start or (stop >= end and len(samples) >= protocol.min_runs):
            break
    return tuple(samples)


def _suspended(asleep_ns: int) -> str:
    return f"the machine slept for {asleep_ns * 1e-9:.3g} s" if asleep_ns > _MAX_ASLEEP_NS else ""


def _backwards(window: Sequence[float], *anchors: float | None) -> str:
    worst = min([*window, *(value for value in anchors if value is not None)])
    if worst < 0:
        return f"the clock went backwards by {-worst:.3g} s"
    return "the clock stood still during a run" if worst == 0 else ""


def _drift(before: float | None, after: float | None, limit: float) -> str:
    if before is None or after is None or max(before, after) <= (1 + limit) * min(before, after):
        return ""
    return f"the anchor went from {before * 1e3:.3g} to {after * 1e3:.3g} ms: something else was running"
