from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.errors import MeterError
from nas.hardware.meters.base import EnergyWindow, impossible
from nas.hardware.meters.trace import PATTERN, Trace, find_offset, read_trace

PART_S = 0.5
EDGES = [10.0 + PART_S * part for part in range(len(PATTERN) + 1)]


def trace_of(offset_s: float, rate_hz: float = 20.0, noise_w: float = 0.1, times: int = 1) -> Trace:
    """A log of 40 s that holds the pattern, seen `offset_s` later than it was."""
    at = np.arange(0.0, 40.0, 1 / rate_hz) + offset_s
    ours = at - offset_s
    watts = np.full(len(at), 2.0)
    for begin in range(times):
        part = np.floor((ours - EDGES[0] - 10 * begin) / PART_S).astype(int)
        inside = (part >= 0) & (part < len(PATTERN))
        watts[inside] += 3.0 * np.array(PATTERN)[part[inside]]
    return Trace(at, watts + np.random.default_rng(0).uniform(0, noise_w, len(at)), "log.csv")


@pytest.mark.parametrize("offset_s", [0.0, 3.21, -7_200.4, 1.7e9])
def test_the_pattern_tells_the_difference_of_the_clocks(offset_s: float) -> None:
    assert find_offset(trace_of(offset_s), EDGES) == pytest.approx(offset_s, abs=0.06)  # a row is .05 s


def test_a_log_without_the_pattern_or_with_two_is_refused() -> None:
    with pytest.raises(MeterError, match="not in the log"):
        find_offset(trace_of(0.0, times=0), EDGES)
    with pytest.raises(MeterError, match="twice"):
        find_offset(trace_of(0.0, times=2), EDGES)
    with pytest.raises(MeterError, match="too slow for a load pattern"):
        find_offset(trace_of(0.0, rate_hz=2.0), EDGES)
    short = trace_of(0.0)
    with pytest.raises(MeterError, match="the load pattern took"):
        find_offset(Trace(short.times_s[:50], short.watts[:50], "log.csv"), EDGES)


def test_files_are_read_however_they_are_headed(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for text in (
        "Time (s),Voltage,Power [W]\n0,5,1.5\n0.5,5,2.5\n",
        "0,1.5\n0.5,2.5\n",
        "# meter 7\ntime,watts\n0,1.5\n\n0.5,2.5\n",
        "﻿time,watts\n0,1.5\n0.5,2.5\n0.7,",
    ):
        path.write_text(text, encoding="utf-8")
        found = read_trace(path)
        assert (found.times_s.tolist(), found.watts.tolist()) == ([0.0, 0.5], [1.5, 2.5])


def test_zones_are_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,watts\n2026-03-01T12:00:00.25+02:00,1\n2026-03-01T10:00:01.5Z,2\n")
    assert np.diff(read_trace(path).times_s).tolist() == [1.25]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("time,watts\n0,1\n1,two\n", "line 3: '1', 'two' are no time and watts"),
        ("time,watts\n0,1\nyesterday,2\n", "line 3: 'yesterday'"),
        ("time,watts\n0,1\n1\n", "line 3: '1' has no time and watts"),
        ("time,watts\n0,nan\n", "cannot be"),
        ("time,watts\n2026-03-29T02:59:59,1\n2026-03-29T02:00:00,1\n", "where the clock was set back"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(MeterError, match=word):
        read_trace(tmp_path / "log.csv")


def test_a_row_below_nothing_costs_the_windows_that_hold_it(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("time,watts\n" + "".join(f"{number},{-0.5 if number == 4 else 2}\n" for number in range(10)))
    trace = read_trace(tmp_path / "log.csv")
    for start_s, end_s in ((3.5, 4.5), (2.0, 8.0), (4.0, 4.5)):
        joules, _ = trace.energy_j(start_s, end_s)
        assert impossible(EnergyWindow(joules, end_s - start_s, 5), None).startswith("-0.5 W is negative")
    assert trace.energy_j(0.5, 2.5)[0] == trace.energy_j(5.5, 7.5)[0] == 4.0


def test_an_absent_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match=r"absent\.csv cannot be read"):
        read_trace(tmp_path / "absent.csv")
