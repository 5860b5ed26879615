"""Meters that tell watts: sampled beside the network by a thread on another core, and integrated.

This file also runs on the device, without the rest of the package: Python 3.9 and numpy (see `transports.bundle`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from nas.errors import MeterError
from nas.hardware.meters.base import FEWEST_READINGS, Clock, EnergyWindow

__all__ = ["SampledMeter", "integrate"]

_MOST_READINGS = 1_000_000  # of a window that is never ended
_STOP_S = 5.0  # a reading under way may take that long


def integrate(times_s: NDArray[np.float64], watts: NDArray[np.float64], start_s: float, end_s: float) -> float:
    """Joules between two moments: the trapezoidal rule over readings, the first and the last of them held to the ends.

    Less than nothing where one reading is, whatever the others add up to: such a window is refused (`impossible`), and not the meter.

    Args:
        times_s: (n,), rising; watts: (n,), n >= 1.
    """
    beside = slice(max(0, int(np.searchsorted(times_s, start_s, side="right")) - 1), int(np.searchsorted(times_s, end_s)) + 1)
    lowest = float(watts[beside].min())
    if lowest < 0:
        return lowest * (end_s - start_s)
    inside = times_s[(times_s > start_s) & (times_s < end_s)]
    at = np.concatenate([[start_s], inside, [end_s]])
    power = np.interp(at, times_s, watts)
    return float(np.sum((power[1:] + power[:-1]) / 2 * np.diff(at)))


class SampledMeter:
    """A meter that tells watts when asked. Subclasses set the attributes of `EnergyMeter` and give `read_w`.

    The thread that asks keeps off the cores that the network is pinned to, where there are others: on the network's own core sampling
    is reported to make it up to six times slower.

    Args:
        period_s: between two readings, at least.
    """

    name = ""
    scope = ""
    resolution_s = 0.01
    most_w: float | None = None
    is_automatic = True

    def __init__(self, clock: Clock | None = None, period_s: float = 0.01) -> None:
        self._clock = clock or Clock()
        self._period_s = period_s
        self._readings: list[tuple[float, float]] = []
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._start_s = 0.0

    def read_w(self) -> float:
        """Watts now."""
        raise NotImplementedError

    def self_test(self) -> None:
        """Reads once; less than nothing cannot be."""
        watts = self.read_w()
        if watts < 0:
            raise MeterError(f"{self.name}: {watts:.4g} W is negative: is the sensor connected the wrong way round?")

    def align(self, load: Callable[[float], object], rest: Callable[[float], object]) -> None:
        """It is read by this machine's clock."""
        del load, rest

    def begin(self) -> None:
        """Reads once, then goes on reading beside whatever runs."""
        if self._thread is not None:
            raise MeterError(f"{self.name}: a window is open already")
        self._readings, self._error = [], None
        self._stop.clear()
        self.sample()
        self._start_s = self._clock.now_s()
        used = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._thread = threading.Thread(target=self._sample, args=(used,), name="energy meter", daemon=True)
        self._thread.start()

    def end(self) -> EnergyWindow:
        """Stops reading and integrates."""
        if self._thread is None:
            raise MeterError(f"{self.name}: a window that was not begun cannot end")
        end_s = self._clock.now_s()
        self.close()
        if self._error is not None:
            raise MeterError(f"{self.name}: died after {len(self._readings)} readings: {self._error}") from self._error
        if len(self._readings) < FEWEST_READINGS:
            seconds = end_s - self._start_s
            raise MeterError(f"{self.name}: {len(self._readings)} readings in {seconds:.3g} s are too few: it is slower than the window")
        times_s, watts = np.array(self._readings).T
        return EnergyWindow(integrate(times_s, watts, self._start_s, end_s), end_s - self._start_s, len(watts))

    def close(self) -> None:
        """Ends the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(_STOP_S)

    def _sample(self, used: set[int]) -> None:
        others = set(range(os.cpu_count() or 1)) - used
        with suppress(OSError, AttributeError):  # cores that are not ours to use, or a system that cannot pin
            if others:
                os.sched_setaffinity(0, others)
        for _ in range(_MOST_READINGS):
            if self._stop.wait(self._period_s):
                return
            try:
                self.sample()
            except Exception as exc:  # told at the end of the window: whatever it is, the network must go on
                self._error = exc
                return

    def sample(self) -> None:
        """Takes one reading. The thread does; a program that knows better when may, too."""
        before = self._clock.now_s()
        watts = self.read_w()
        self._readings.append(((before + self._clock.now_s()) / 2, watts))
