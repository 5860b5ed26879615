"""One driver at a time, whatever becomes of it."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest

from nas.errors import StudyError
from nas.metrics import OBJECTIVES
from nas.search import leases, storage
from nas.search.leases import DRIVER, driving

PAIR = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
HOLD = """
import sys, time
from nas.search import storage
from nas.metrics import OBJECTIVES
import optuna
pair = (OBJECTIVES["accuracy"], OBJECTIVES["latency"])
study = storage.open_study(storage.open_storage(sys.argv[1]), "s", pair, optuna.samplers.RandomSampler(), {})
with storage.driving(study):
    print("holding", flush=True)
    time.sleep(60)
"""


def open_it(url: str) -> storage.Study:
    return storage.open_study(storage.open_storage(url), "s", PAIR, optuna.samplers.RandomSampler(), {})


def test_a_second_driver_is_refused_by_name_and_host_until_the_first_is_dead(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    open_it(url)
    text = f"study s is being searched by process .* on {socket.gethostname()}, last heard of"
    with subprocess.Popen([sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(StudyError, match=text) as refused, driving(open_it(url)):
            pass
        assert f"process {holder.pid} " in str(refused.value)
        holder.kill()
    study = open_it(url)
    with driving(study) as superseded:
        assert study.user_attrs[DRIVER]["pid"] == os.getpid()
        assert not superseded.is_set()
    assert open_it(url).user_attrs[DRIVER] == {}


@pytest.mark.parametrize(("left", "is_refused"), [(30.0, True), (-1.0, False)])
def test_a_driver_on_another_machine_counts_until_its_lease_is_over(tmp_path: Path, left: float, is_refused: bool) -> None:
    study = open_it(f"journal://{tmp_path / 'study.journal'}")
    study.set_user_attr(DRIVER, {"host": "node7", "pid": 12, "began": 1.0, "expiry": time.time() + left})
    if is_refused:
        with pytest.raises(StudyError, match=r"by process 12 on node7, last heard of (29|30|31) s ago: wait until it ends"), driving(study):
            pass
    else:
        with driving(study):
            assert study.user_attrs[DRIVER]["host"] == socket.gethostname()


def test_a_driver_that_was_superseded_is_told_and_leaves_the_lease_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.02)
    study = open_it(f"sqlite:///{tmp_path / 'study.db'}")
    other: dict[str, Any] = {"host": "node7", "pid": 12, "began": 1.0, "expiry": time.time() + 60}
    with driving(study) as superseded:
        before = study.user_attrs[DRIVER]["expiry"]
        assert not superseded.wait(0.2)
        assert study.user_attrs[DRIVER]["expiry"] > before  # it renews
        study.set_user_attr(DRIVER, other)
        for _ in range(3):  # a renewal under way may write once more
            if superseded.wait(1):
                break
            study.set_user_attr(DRIVER, other)
        assert superseded.is_set()
    assert study.user_attrs[DRIVER] == other


@pytest.mark.parametrize("ends_with", [None, ValueError("a bug")])
def test_a_storage_that_fails_at_the_end_takes_no_ending_with_it(tmp_path: Path, ends_with: ValueError | None) -> None:
    path, ended = tmp_path / "study.db", []
    study = open_it(f"sqlite:///{path}")
    try:
        with driving(study):
            with closing(sqlite3.connect(path)) as broken:
                broken.execute("DROP TABLE study_user_attributes")
            with pytest.raises(StudyError, match="cannot be used"):
                storage.spent(study)
            if ends_with is not None:
                raise ends_with
    except ValueError as exc:
        ended.append(exc)
    assert ended == ([] if ends_with is None else [ends_with])


def test_a_renewal_that_waits_for_the_storage_keeps_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, stuck, back = open_it(f"sqlite:///{tmp_path / 'study.db'}"), threading.Event(), threading.Event()
    renew = leases._renew

    def wait(*given: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            stuck.set()
            back.wait(60)
        renew(*given)

    monkeypatch.setattr(leases, "_renew", wait)
    monkeypatch.setattr(leases, "RENEW_S", 0.02)
    monkeypatch.setattr(leases, "GIVE_BACK_S", 0.02)
    with driving(study):
        assert stuck.wait(60)
    (keeper,) = (each for each in threading.enumerate() if each.name == "driver lease")
    assert keeper.is_alive()
    back.set()
    keeper.join()
    assert study.user_attrs[DRIVER] == {}
