"""The contract of energy meters, what counters have in common, and which readings cannot be.

A meter is made by its name, and after a colon what it needs to know: "rapl", "pmic:VDD_CORE", "csv:power.csv". Joules of a window are
taken between `begin` and `end`, as by Zeus (You et al. 2023, NSDI); what runs in between is nobody's business here.

This file also runs on the device, without the rest of the package: Python 3.9 and the standard library (see `transports.bundle`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.errors import MeterError

__all__ = ["Clock", "CounterMeter", "EnergyMeter", "EnergyWindow", "impossible", "read_number"]

FEWEST_READINGS = 5
"""Independent readings in a window: with fewer its ends decide what the meter says."""


class Clock:
    """Seconds that only run while the machine does, and waiting. Tests give another one."""

    def now_s(self) -> float:
        return time.perf_counter()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class EnergyWindow:
    """What a meter says of a stretch of time.

    Attributes:
        joules: in it, of all that the meter's scope covers.
        seconds: that the joules are of.
        readings: that they are made of.
    """

    joules: float
    seconds: float
    readings: int

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


class EnergyMeter(Protocol):
    """A meter. Windows follow one another; one is open at most.

    Attributes:
        name: as in the entry points of `nas.meters`.
        scope: what its joules cover, in words: "package", "board".
        resolution_s: between two independent readings; a window needs `FEWEST_READINGS` of them.
        most_w: more watts than these cannot be; None where only the profile tells.
        is_automatic: covers what runs a network on the processor, and is used without being asked for.
    """

    name: str
    scope: str
    resolution_s: float
    most_w: float | None
    is_automatic: bool

    def self_test(self) -> None:
        """Reads it once or twice.

        Raises:
            MeterError: it does not work here; says why, and the command or setting that mends it where there is one.
        """
        ...

    def align(self, load: Callable[[float], object], rest: Callable[[float], object]) -> None:
        """Called before the first window with what loads the machine and leaves it alone for some seconds: a meter with a clock of its
        own finds it by the pattern. Others do nothing.

        Raises:
            MeterError: the pattern cannot be found.
        """
        ...

    def begin(self) -> None:
        """Opens a window.

        Raises:
            MeterError: it cannot be read.
        """
        ...

    def end(self) -> EnergyWindow:
        """Closes the window.

        Raises:
            MeterError: it cannot be read any more, stood still, or was too slow for the window.
        """
        ...

    def close(self) -> None:
        """Gives back what it holds. Twice does nothing."""
        ...


def impossible(window: EnergyWindow, most_w: float | None) -> str:
    """Why a window's reading cannot be; empty where it can.

    Args:
        most_w: that the device can draw; None where nobody says.
    """
    if not (math.isfinite(window.joules) and math.isfinite(window.seconds) and window.seconds > 0):
        return f"{window.joules} J in {window.seconds} s is no reading"
    if window.joules < 0:
        return f"{window.watts:.4g} W is negative: is the sensor connected the wrong way round?"
    if window.joules == 0:
        return f"the meter stood still for {window.seconds:.3g} s"
    if most_w is not None and window.watts > most_w:
        return f"{window.watts:.4g} W is more than the {most_w:.4g} W that can be (the meter's own limit, or power.most_w of the profile)"
    return ""


def read_number(path: Path) -> int:
    """A file of /sys with one whole number.

    Raises:
        MeterError: it is gone, must not be read (with the command that allows it), or holds something else.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except PermissionError as exc:
        raise MeterError(f"{path} is for root only: sudo chmod a+r {path}") from exc
    except OSError as exc:
        raise MeterError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    try:
        return int(text)
    except ValueError as exc:
        raise MeterError(f"{path} holds {text[:40]!r}, which is no number") from exc


class CounterMeter:
    """A meter that counts joules by itself: two readings make a window.

    Subclasses set the attributes of `EnergyMeter` and give `read_j`, and `range_j` where the counter begins again at zero.
    """

    name = ""
    scope = ""
    resolution_s = 0.001
    most_w: float | None = None
    is_automatic = True
    range_j: float | None = None
    """What the counter reaches before it begins again at 0."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._begun: tuple[float, float] | None = None

    def read_j(self) -> float:
        """Joules since an arbitrary moment."""
        raise NotImplementedError

    def self_test(self) -> None:
        """Two readings, twenty resolutions apart, must differ."""
        before = self.read_j()
        self._clock.wait(20 * self.resolution_s)
        if self.read_j() == before:
            raise MeterError(f"{self.name}: the counter stands still at {before:.6g} J")

    def align(self, load: Callable[[float], object], rest: Callable[[float], object]) -> None:
        """A counter is read by this machine's clock."""
        del load, rest

    def begin(self) -> None:
        """Reads the counter."""
        joules = self.read_j()
        self._begun = (self._clock.now_s(), joules)

    def end(self) -> EnergyWindow:
        """Reads it again; a counter that begins again at 0 may do so once in a window."""
        if self._begun is None:
            raise MeterError(f"{self.name}: a window that was not begun cannot end")
        start_s, before = self._begun
        self._begun = None
        joules = self._difference(before, self.read_j())
        return EnergyWindow(joules, self._clock.now_s() - start_s, 2)

    def close(self) -> None:
        """Nothing is held."""

    def _difference(self, before: float, after: float) -> float:
        if after >= before:
            return after - before
        if self.range_j is None:
            raise MeterError(f"{self.name}: the counter went back from {before:.6g} to {after:.6g} J")
        return after - before + self.range_j
