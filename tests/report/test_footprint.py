from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nas.errors import MissingExtraError, UnknownNameError
from nas.events import Event
from nas.report import footprint as footprint_module
from nas.report.footprint import Footprint, Tracker, track
from nas.report.grid import Grid, load_grid

GRID = Grid("FRA", "France", 0.05, 2023, "a test")


class FakeTracker:
    """Every task takes 1 Wh; fails where it is told to."""

    def __init__(self, grid: Grid, fails_at: str = "") -> None:
        self.tasks: list[str] = []
        self.stopped = 0
        self.fails_at = fails_at
        self._hardware = [SimpleNamespace(_mode="cpu_load")]

    def start_task(self, task_name: str) -> None:
        if self.fails_at and task_name.startswith(self.fails_at):
            raise RuntimeError("no psutil")
        self.tasks.append(task_name)

    def stop_task(self, task_name: str) -> Any:
        assert task_name == self.tasks[-1]
        return SimpleNamespace(energy_consumed=0.001, emissions=0.001 * 0.05)

    def stop(self) -> None:
        self.stopped += 1


def phases(footprint: Footprint, *names: str) -> list[Event]:
    heard: list[Event] = []
    listen = footprint.hearing(heard.append)
    for name in names:
        listen(Event("phase", name, fields={"phase": name}))
    return heard


def test_kwh_are_split_by_what_they_were_spent_on() -> None:
    footprint = Footprint(GRID, FakeTracker)
    assert len(phases(footprint, "supernet", "search", "verify", "search", "finalists", "record")) == 6
    found = footprint.record({})
    kwh = {name: found[f"cost_{name}_kwh"] for name in ("training", "evaluation", "measuring", "other")}
    assert kwh == pytest.approx({"training": 0.002, "evaluation": 0.002, "measuring": 0.001, "other": 0.002})
    assert found["cost_kwh"] == pytest.approx(0.007)
    assert found["cost_co2e_kg"] == pytest.approx(0.007 * 0.05)


def test_every_kwh_has_a_scope_a_source_and_a_method() -> None:
    found = Footprint(GRID, FakeTracker).record({})
    assert found["cost_scope"] == "this machine: processor, memory, GPUs"
    assert found["cost_source"] == "modelled"
    assert "no counter may be read: watts of the processor's class times its load" in str(found["cost_method"])
    assert "France 2023, 50 g" in str(found["cost_grid"])


def test_earlier_runs_are_added() -> None:
    first = Footprint(GRID, FakeTracker).record({})
    second = Footprint(GRID, FakeTracker).record(first)
    assert second["cost_kwh"] == pytest.approx(2 * float(first["cost_kwh"]))
    assert float(second["cost_other_s"]) >= float(first["cost_other_s"])


@pytest.mark.parametrize("fails_at", ["other", "training"])
def test_a_tracker_that_fails_costs_kwh_only(fails_at: str) -> None:
    def opened(grid: Grid) -> Tracker:
        return FakeTracker(grid, fails_at)

    footprint = Footprint(GRID, opened)
    phases(footprint, "supernet", "search")
    found = footprint.record({})
    failed = "CodeCarbon failed: RuntimeError: no psutil"
    assert "cost_training_s" in found
    if fails_at == "other":  # at once
        assert found["cost_source"] == f"unknown: {failed}"
        assert "cost_kwh" not in found
    else:
        assert found["cost_source"] == f"modelled, at least this much: {failed}"
        assert found["cost_kwh"] == 0.001


def test_a_run_that_nobody_counted_takes_nothing_from_the_others() -> None:
    counted, uncounted = Footprint(GRID, FakeTracker), Footprint(None)
    first = counted.record({})
    second = uncounted.record(first)
    assert {name: value for name, value in second.items() if not name.endswith(("_s", "_source"))} == {
        name: value for name, value in first.items() if not name.endswith(("_s", "_source"))
    }
    assert second["cost_source"] == "modelled, at least this much: no carbon data are installed"
    third = Footprint(GRID, FakeTracker).record(second)
    assert third["cost_kwh"] == pytest.approx(2 * float(first["cost_kwh"]))
    assert third["cost_source"] == "modelled, at least this much: earlier runs were not all counted"
    # Where the first run is the one that nobody counted, the total is not that of all runs either.
    late = Footprint(GRID, FakeTracker).record(Footprint(None).record({}))
    assert late["cost_source"] == third["cost_source"]
    assert late["cost_kwh"] == first["cost_kwh"]


def test_the_tracker_is_ended_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    trackers: list[FakeTracker] = []

    def opened(grid: Grid) -> Tracker:
        trackers.append(FakeTracker(grid))
        return trackers[-1]

    with pytest.raises(ZeroDivisionError), track("FR", lambda event: None, opened):
        raise ZeroDivisionError
    assert trackers[0].stopped == 1
    with pytest.raises(UnknownNameError, match="grid"), track("XX", lambda event: None, opened):
        pass
    told: list[Event] = []

    def absent(code: str) -> Grid:
        raise MissingExtraError("codecarbon", "search")

    monkeypatch.setattr(footprint_module, "load_grid", absent)
    with track("FR", told.append, opened) as footprint:
        assert "unknown" in str(footprint.record({})["cost_source"])
    assert "not counted" in told[0].text


def test_codecarbon_itself_counts() -> None:
    with track("FR", lambda event: None) as footprint:
        phases(footprint, "supernet")
        sum(number * number for number in range(3_000_000))
        found = footprint.record({})
    assert float(found["cost_training_kwh"]) > 0
    assert float(found["cost_co2e_kg"]) == pytest.approx(float(found["cost_kwh"]) * load_grid("FR").kg_per_kwh, rel=1e-6)
