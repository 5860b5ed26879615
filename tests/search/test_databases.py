"""A real PostgreSQL: studies in it, and what happens when it goes away."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event

from nas.bench.postgres import Postgres, postgres
from nas.errors import MissingExtraError, StudyError
from nas.metrics import OBJECTIVES, Candidate, Metric
from nas.search import storage
from nas.search.databases import Database
from nas.search.sampler import distributions
from nas.target import Target
from tests.spaces import rich_space

PAIR = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
SPACE = rich_space()
Opener = Callable[[str, str], storage.Study]
TARGET = Target("raspberrypi4", "onnxruntime", "unknown", "fp32", 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    with postgres(tmp_path_factory.mktemp("postgres")) as found:
        yield found


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens studies and closes their connections when the test is over."""
    found: list[Database] = []

    def open_it(url: str, name: str) -> storage.Study:
        database = storage.open_storage(url)
        assert isinstance(database, Database)
        found.append(database)
        return storage.open_study(database, name, PAIR, optuna.samplers.RandomSampler(seed=0), {})

    yield open_it
    for database in found:
        database.close()


def evaluate(study: storage.Study) -> Candidate:
    trial = storage.ask(study, distributions(SPACE), 60)
    metrics = {"accuracy_search": Metric(0.9, "1", "supernet", std=0.01), "latency_s": Metric(0.1, "s", "predicted")}
    candidate = Candidate(SPACE.canonical(trial.params), TARGET, metrics, trial.number)
    storage.record(study, trial, candidate, PAIR, 1.0)
    return candidate


def test_a_study_in_postgresql(server: Postgres, opened: Opener) -> None:
    study = opened(server.url(), "kept")
    told = [evaluate(study) for _ in range(3)]
    again = opened(server.url(), "kept")
    assert [each.candidate for each in storage.evaluated(again)] == told
    (lease,) = {trial.user_attrs["lease"]["attempt"] for trial in again.get_trials()}
    assert lease == 1
    with storage.driving(again):
        pass


def test_a_server_that_restarts_is_waited_for(server: Postgres, opened: Opener) -> None:
    study = opened(server.url(), "restarted")
    evaluate(study)
    server.stop()
    back = threading.Timer(1.5, server.start)
    back.start()
    began = time.monotonic()
    evaluate(study)
    back.join()
    assert time.monotonic() - began > 1
    evaluate(study)
    trials = study.get_trials()
    assert [trial.state for trial in trials].count(TrialState.COMPLETE) == 3
    assert storage.reap(study) == len(trials) - 3  # what was begun twice


def test_a_server_that_stays_away_ends_with_a_word(server: Postgres, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    study = opened(server.url(), "away")
    monkeypatch.setattr(storage.database_of(study), "wait_s", 1.0)
    waited, sleep = list[float](), time.sleep

    def wait(seconds: float) -> None:
        waited.append(seconds)
        sleep(seconds)

    monkeypatch.setattr("nas.search.databases.time.sleep", wait)
    server.stop()
    try:
        for times in (1, 0):  # what is called as a search ends waits no more
            waited.clear()
            with pytest.raises(StudyError, match=r"the storage has been away for 1 s \(.*\): go on with --resume"):
                evaluate(study)
            assert (len(waited) > 0) == times, waited
    finally:
        server.start()
    evaluate(study)
    assert len(storage.evaluated(study)) == 1


def test_a_wrong_password_and_an_unknown_database_are_refused(server: Postgres) -> None:
    for url, text in ((server.url(password="wrong"), "password authentication failed"), (server.url(database="none"), "does not exist")):
        with pytest.raises(StudyError, match=text) as refused:
            storage.open_storage(url)
        assert "wrong" not in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hwnas\[postgres\]"'):
        storage.open_storage("postgresql://me@127.0.0.1:1/none")


def test_a_database_that_cannot_be_written_is_refused(tmp_path: Path, opened: Opener) -> None:
    path = tmp_path / "study.db"
    opened(f"sqlite:///{path}", "s")
    with pytest.raises(StudyError, match=r"the storage cannot be used \(.*readonly database.*\): free some space"):
        opened(f"sqlite:///file:{path}?mode=ro&uri=true", "other")


@contextmanager
def an_answer_lost(study: storage.Study, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is written of parameters first is committed, but its answer does not come."""
    database = storage.database_of(study)
    assert database is not None
    dialect, written, lost = database.engine.dialect, list[str](), list[str]()
    commit = dialect.do_commit

    def heed(connection: object, cursor: object, statement: str, *rest: object) -> None:
        written.append(statement)

    def commit_unheard(connection: Any) -> None:
        commit(connection)
        mine = [each for each in written if each.startswith("INSERT INTO trial_params")]
        if mine and not lost:
            lost.extend(mine)
            raise sqlite3.OperationalError("the connection was closed")

    with monkeypatch.context() as patch:
        patch.setattr("nas.search.databases.PAUSE_S", 0.0)
        patch.setattr(database, "wait_s", 60.0)
        patch.setattr(dialect, "do_commit", commit_unheard)
        event.listen(database.engine, "before_cursor_execute", heed)
        yield
        event.remove(database.engine, "before_cursor_execute", heed)
    assert lost


def test_what_was_committed_is_there_once_though_the_answer_was_lost(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (opened(f"sqlite:///{tmp_path / 'study.db'}", name) for name in ("one", "other"))
    with an_answer_lost(one, monkeypatch):
        told = [evaluate(one)]
    told.append(evaluate(one))
    found = storage.evaluated(one)
    with an_answer_lost(other, monkeypatch):
        storage.add(other, distributions(SPACE), found, PAIR)
    for study in (one, other):
        trials = study.get_trials()
        assert [trial.number for trial in trials] == [0, 1]
        assert [SPACE.canonical(trial.params) for trial in trials] == [each.arch for each in told]
        assert [each.candidate.id for each in storage.evaluated(study)] == [each.id for each in told]
