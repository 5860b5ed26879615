"""Any instrument that writes times and watts to a CSV file while the network runs.

This file also runs on the device, without the rest of the package: Python 3.9 and numpy (see `transports.bundle`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nas.errors import MeterError
from nas.hardware.meters.base import FEWEST_READINGS, Clock, EnergyWindow
from nas.hardware.meters.trace import PATTERN, Trace, find_offset, read_trace

__all__ = ["CsvLog"]

_PART_S = 0.5  # of the pattern: two dozen rows of a slow instrument fit it
_REST_S = 1.0  # before and after the pattern
_POLL_S = 0.1


class CsvLog:
    """An instrument's log, read while it grows, on the machine that the network runs on.

    Args:
        argument: path of the file.
        patience_s: rows of a window must be there that long after its end.
    """

    name = "csv"
    scope = "input of the device, by an external instrument"
    most_w: float | None = None
    is_automatic = False

    def __init__(self, argument: str = "", clock: Clock | None = None, patience_s: float = 10.0) -> None:
        self._path = Path(argument) if argument else None
        self._clock = clock or Clock()
        self._patience_s = patience_s
        self._offset_s: float | None = None
        self._start_s: float | None = None
        self.resolution_s = 0.0

    def self_test(self) -> None:
        """The file must be there and hold two rows."""
        trace = self._read()
        if len(trace.times_s) < 2:
            raise MeterError(f"{trace.where} holds {len(trace.times_s)} rows so far: start the instrument first")
        self.resolution_s = trace.period_s

    def align(self, load: Callable[[float], object], rest: Callable[[float], object]) -> None:
        """Loads the device by a pattern and looks for it in what was logged meanwhile; once is enough."""
        if self._offset_s is not None:
            return
        seen = len(self._read().times_s)
        rest(_REST_S)
        edges = [self._clock.now_s()]
        for is_busy in PATTERN:
            (load if is_busy else rest)(_PART_S)
            edges.append(self._clock.now_s())
        rest(_REST_S)
        tries = max(1, round(self._patience_s / _POLL_S))
        for left in reversed(range(tries)):
            trace = self._read()
            # A row before what was there keeps the first new one from standing alone.
            new = Trace(trace.times_s[max(0, seen - 1) :], trace.watts[max(0, seen - 1) :], trace.where)
            try:
                self._offset_s = find_offset(new, edges)
                return
            except MeterError:
                if not left:
                    raise
                self._clock.wait(_POLL_S)

    def begin(self) -> None:
        """Notes the time."""
        if self._offset_s is None:
            raise MeterError("csv: a window needs the clocks aligned first")
        self._start_s = self._clock.now_s()

    def end(self) -> EnergyWindow:
        """Waits until the log is past the window, then integrates it."""
        if self._start_s is None or self._offset_s is None:
            raise MeterError("csv: a window that was not begun cannot end")
        start_s, end_s = self._start_s, self._clock.now_s()
        self._start_s = None
        trace = self._past(end_s + self._offset_s)
        joules, rows = trace.energy_j(start_s + self._offset_s, end_s + self._offset_s)
        if rows < FEWEST_READINGS:
            raise MeterError(f"{trace.where}: {rows} rows in {end_s - start_s:.3g} s are too few: it is slower than the window")
        return EnergyWindow(joules, end_s - start_s, rows)

    def close(self) -> None:
        """Nothing is held."""

    def _past(self, time_s: float) -> Trace:
        """The log as soon as it goes beyond a moment."""
        for _ in range(max(1, round(self._patience_s / _POLL_S))):
            trace = self._read()
            if len(trace.times_s) and trace.times_s[-1] >= time_s:
                return trace
            self._clock.wait(_POLL_S)
        raise MeterError(f"{self._path}: nothing was logged in the last {self._patience_s:g} s: the instrument has stopped")

    def _read(self) -> Trace:
        if self._path is None:
            raise MeterError("csv needs the file that an instrument writes times and watts to: csv:FILE")
        return read_trace(self._path)
