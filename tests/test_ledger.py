"""What a run spent is kept while it runs: the next one goes on from there, however the first ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from nas import ledger as module
from nas.events import Event
from nas.ledger import EVERY_S, Ledger
from nas.metrics import OBJECTIVES
from nas.report import footprint as footprint_module
from nas.report.footprint import Footprint, seconds_of
from nas.search import storage

STEP = Event("progress", "epoch 1")


class Clock:
    """In the place of `time`, for the ledger and the footprint."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    for each in (module, footprint_module):
        monkeypatch.setattr(each, "time", found)
    return found


@pytest.fixture
def footprint(clock: Clock) -> Iterator[Footprint]:
    found = Footprint(None)  # seconds alone: no carbon data
    yield found
    found.stop()


def open_it(folder: Path) -> storage.Study:
    kept = storage.open_storage(f"sqlite:///{folder / 'study.db'}")
    return storage.open_study(kept, "digits/raspberrypi4", (OBJECTIVES["latency"],), optuna.samplers.RandomSampler(seed=0), {})


def test_a_run_that_is_killed_leaves_what_it_spent(tmp_path: Path, clock: Clock, footprint: Footprint) -> None:
    heard: list[Event] = []
    listen = Ledger(open_it(tmp_path), footprint).hearing(heard.append)
    clock.now += EVERY_S / 2
    listen(STEP)
    assert storage.spent(open_it(tmp_path)) == 0
    clock.now += EVERY_S
    listen(STEP)
    assert heard == [STEP, STEP]
    assert storage.spent(open_it(tmp_path)) == 1.5 * EVERY_S
    # It is killed here; a resume begins an hour later.
    clock.now += 3600
    resumed = Ledger(open_it(tmp_path), Footprint(None))
    clock.now += 4
    seconds, cost = resumed.keep()
    assert seconds == storage.spent(open_it(tmp_path)) == 1.5 * EVERY_S + 4
    assert cost == storage.cost(open_it(tmp_path))
    assert seconds_of(cost) == seconds
    assert cost["cost_source"] == "unknown: no carbon data are installed"


def test_keeping_twice_counts_once(tmp_path: Path, clock: Clock, footprint: Footprint) -> None:
    found = Ledger(open_it(tmp_path), footprint)
    clock.now += 7
    assert found.keep()[0] == found.keep()[0] == storage.spent(open_it(tmp_path)) == 7


def test_a_storage_that_is_away_ends_nothing(tmp_path: Path, clock: Clock, footprint: Footprint, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    listen = Ledger(open_it(tmp_path), footprint).hearing(heard.append)

    def away(*_: Any) -> None:
        raise ConnectionError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "keep_spent", away)
        clock.now += EVERY_S + 1
        listen(STEP)
    assert heard == [STEP]
    clock.now += EVERY_S + 1
    listen(STEP)
    assert storage.spent(open_it(tmp_path)) == 2 * EVERY_S + 2


def test_a_time_budget_is_of_all_runs(tmp_path: Path, footprint: Footprint) -> None:
    study = open_it(tmp_path)
    assert Ledger(study, footprint).words(60.0) == ()
    storage.keep_spent(study, 50.0, {})
    told = Ledger(study, footprint)
    assert told.words(None) == ()
    assert told.words(60.0) == (Event("info", "earlier runs took 50 s of --time-budget 1 min 00 s"),)
    (warned,) = told.words(50.0)
    assert warned.kind == "warning"
    assert warned.text.endswith("50 s of --time-budget 50 s: --resume with a longer one evaluates and trains more")
