"""A log of watts by an instrument with a clock of its own: read, aligned by a load pattern, and integrated.

This file also runs on the device, without the rest of the package: Python 3.9 and numpy (see `transports.bundle`).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.errors import MeterError
from nas.hardware.meters.sampled import integrate

__all__ = ["PATTERN", "Trace", "find_offset", "read_trace"]

PATTERN = (1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1)
"""Busy and idle in turn: Barker's sequence of 13 (1953, Communication Theory), whose shifted copies are most unlike it."""
_LONGEST_GAP = 5.0  # in usual distances of two rows: a longer one is a hole
_LEAST_LIKENESS = 0.8  # of the log to the pattern: a correlation coefficient
_SECOND_BEST = 0.9  # of the best, elsewhere: then nobody knows which it was


@dataclass(frozen=True)
class Trace:
    """Watts over an instrument's own time.

    Attributes:
        times_s: (n,), rising; of any origin.
        watts: (n,), finite; a window with one below 0 does not count.
        where: the file, for messages.
    """

    times_s: NDArray[np.float64]
    watts: NDArray[np.float64]
    where: str

    @property
    def period_s(self) -> float:
        """Usual distance of two rows."""
        return float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else math.inf

    def energy_j(self, start_s: float, end_s: float) -> tuple[float, int]:
        """Joules between two moments of the instrument's time (see `integrate`), and the rows that lie between.

        Raises:
            MeterError: the log does not reach so far, or has a hole there.
        """
        if start_s < self.times_s[0] or end_s > self.times_s[-1]:
            raise MeterError(f"{self.where}: the log is of {self.times_s[0]:.3f} to {self.times_s[-1]:.3f} s, not of {end_s:.3f} s")
        first = int(np.searchsorted(self.times_s, start_s, side="right")) - 1
        last = int(np.searchsorted(self.times_s, end_s, side="left"))
        steps = np.diff(self.times_s[first : last + 1])
        widest = int(np.argmax(steps))
        if steps[widest] > _LONGEST_GAP * self.period_s:
            raise MeterError(
                f"{self.where}: nothing was logged for {steps[widest]:.3g} s after {self.times_s[first + widest]:.3f} s, "
                f"rows are {self.period_s:.3g} s apart elsewhere: the window does not count"
            )
        inside = int(((self.times_s > start_s) & (self.times_s < end_s)).sum())
        return integrate(self.times_s, self.watts, start_s, end_s), inside


def read_trace(path: Path) -> Trace:
    """A CSV file with a column of times and one of watts, named so that they begin with "time" and "watt" or "power" (or the first two).

    Times are seconds of any origin, or ISO 8601; with a time zone they are what they say, without one they are taken for UTC: the load
    pattern finds the difference of the clocks, whatever it is. A last line without its end is being written, and is left for later.

    Raises:
        MeterError: absent, no numbers, some times with a zone and others without, or times that do not rise; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise MeterError(f"{path} cannot be read: {exc}") from exc
    times: list[float] = []
    watts: list[float] = []
    zoned: set[bool | None] = set()
    for number, time_text, watts_text in _records(text[: text.rfind("\n") + 1], path):
        try:
            seconds, has_zone = _seconds(time_text)
            power = float(watts_text)
        except ValueError as exc:
            raise MeterError(f"{path}: line {number}: {time_text!r}, {watts_text!r} are no time and watts: {exc}") from exc
        zoned.add(has_zone)
        if len(zoned) > 1:
            raise MeterError(f"{path}: line {number}: some times have a time zone and others none: which is {time_text!r} in?")
        if not (math.isfinite(power) and math.isfinite(seconds)):
            raise MeterError(f"{path}: line {number}: {watts_text} W at {time_text} cannot be")
        if times and seconds <= times[-1]:
            what = "is the time of the line before, too: log fractions of a second" if seconds == times[-1] else _BACKWARDS
            raise MeterError(f"{path}: line {number}: {time_text} {what}")
        times.append(seconds)
        watts.append(power)
    return Trace(np.array(times), np.array(watts), str(path))


_BACKWARDS = "is before the line above: sort the file by time, or log with a time zone where the clock was set back"


def _records(text: str, path: Path) -> Iterator[tuple[int, str, str]]:
    """Number of the line, time and watts, as they are written."""
    columns: tuple[int, int] | None = None
    reader = csv.reader(io.StringIO(text))
    for row in reader:
        if not row or row[0].lstrip().startswith("#"):
            continue
        if columns is None:
            columns = _columns(row)
            if columns is not None:
                continue
            columns = (0, 1)
        if len(row) <= max(columns):
            raise MeterError(f"{path}: line {reader.line_num}: {','.join(row)!r} has no time and watts")
        yield reader.line_num, row[columns[0]].strip(), row[columns[1]].strip()


def _columns(row: Sequence[str]) -> tuple[int, int] | None:
    """Of times and watts in a heading; None where the row is none."""
    names = [name.strip().lower() for name in row]
    times = [index for index, name in enumerate(names) if name.startswith("time")]
    watts = [index for index, name in enumerate(names) if name.startswith(("watt", "power"))]
    return (times[0], watts[0]) if times and watts else None


def _seconds(text: str) -> tuple[float, bool | None]:
    """Seconds, and whether the text names a time zone: None for a plain number, which has none to name."""
    try:
        return float(text), None
    except ValueError:
        pass
    # Python 3.9 reads neither "Z" nor other than 3 or 6 digits of a second.
    whole, dot, rest = text.replace("Z", "+00:00").partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    moment = datetime.fromisoformat(whole + rest[digits:])
    fraction = float(f"0.{rest[:digits]}") if dot and digits else 0.0
    zoned = moment.tzinfo is not None
    return (moment if zoned else moment.replace(tzinfo=timezone.utc)).timestamp() + fraction, zoned  # noqa: UP017


def find_offset(trace: Trace, edges_s: Sequence[float]) -> float:
    """Instrument's time less ours, seconds: where the log looks most like the pattern.

    Args:
        edges_s: begin of each part of `PATTERN`, and the end of the last, by our clock.

    Raises:
        MeterError: nothing looks like it, or two places do.
    """
    step_s = trace.period_s
    length_s = edges_s[-1] - edges_s[0]
    count = math.floor(length_s / step_s) if step_s < math.inf else 0
    grid = np.arange(trace.times_s[0], trace.times_s[-1], step_s) if count else np.zeros(0)
    if count < 2 * len(PATTERN):
        raise MeterError(f"{trace.where}: {step_s:.3g} s between rows is too slow for a load pattern of {length_s:.3g} s")
    if len(grid) <= count:
        raise MeterError(f"{trace.where}: the log holds {len(grid) * step_s:.3g} s, the load pattern took {length_s:.3g} s")
    middles = edges_s[0] + (np.arange(count) + 0.5) * step_s
    wanted = np.array(PATTERN, dtype=np.float64)[np.searchsorted(np.array(edges_s[1:-1]), middles, side="right")]
    likeness = _likeness(np.interp(grid + 0.5 * step_s, trace.times_s, trace.watts), wanted - wanted.mean())
    best = int(np.argmax(likeness))
    if likeness[best] < _LEAST_LIKENESS:
        raise MeterError(f"{trace.where}: the load pattern is not in the log (likeness {likeness[best]:.2f}): does it see this device?")
    part = math.ceil(length_s / len(PATTERN) / step_s)
    others = np.concatenate([likeness[: max(0, best - part)], likeness[best + part + 1 :]])
    if len(others) and others.max() > _SECOND_BEST * likeness[best]:
        raise MeterError(f"{trace.where}: the load pattern is in the log twice: something else loads the device")
    return float(grid[best] + _between(likeness, best) * step_s - edges_s[0])


def _likeness(watts: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation coefficient of `wanted` (m,), of mean 0, with every stretch of `watts` (n,): (n - m + 1,)."""
    m = len(wanted)
    centred = watts - watts.mean()
    products = np.correlate(centred, wanted, "valid")
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    squares = np.concatenate([[0.0], np.cumsum(centred**2)])
    spread = np.sqrt(np.maximum(squares[m:] - squares[:-m] - (sums[m:] - sums[:-m]) ** 2 / m, 0.0))
    norm = spread * math.sqrt(float(wanted @ wanted))
    is_flat = norm <= 1e-9 * max(1.0, float(np.abs(watts).max()))
    found: NDArray[np.float64] = np.where(is_flat, 0.0, products / np.where(is_flat, 1.0, norm))
    return found


def _between(values: NDArray[np.float64], peak: int) -> float:
    """Place of a parabola's top through a peak and its neighbours, in steps from the peak."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    left, middle, right = values[peak - 1 : peak + 2]
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else float(0.5 * (left - right) / bend)
