"""Trials read by rows are those that Optuna reads."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from nas.search.databases import open_storage
from nas.search.storage import database_of
from nas.search.trial_rows import AT_ONCE, write_trials

SPACE = {"depth": IntDistribution(1, 4), "kernel": CategoricalDistribution((3, 5, 7)), "width": FloatDistribution(0.5, 2.0, log=True)}


@pytest.fixture
def in_japan(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nine hours ahead of UTC: times of trials are local, those in Optuna's tables are not."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


def _filled(url: str) -> optuna.Study:
    """Finished, failed, running and waiting trials, of two spaces, with attributes, steps and values that are no numbers."""
    study = optuna.create_study(storage=open_storage(url), study_name="one", directions=["maximize", "minimize"])
    first = study.ask(SPACE)
    first.set_user_attr("candidate", {"deep": [1, {"er": None}]})
    study._storage.set_trial_system_attr(first._trial_id, "by", "hand")
    study.tell(first, [0.5, math.inf])
    study.add_trial(create_trial(params={"depth": 2}, distributions={"depth": IntDistribution(1, 8)}, values=[1.0, -math.inf]))
    study.tell(study.ask(SPACE), state=TrialState.FAIL)
    study.add_trial(create_trial(state=TrialState.RUNNING, intermediate_values={0: 0.25, 5: math.nan}))
    study.ask(SPACE)
    study.enqueue_trial({"depth": 3})
    return study


@pytest.mark.usefixtures("in_japan")
def test_every_field_is_that_of_optuna(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    ours = _filled(url)
    theirs = optuna.load_study(study_name="one", storage=RDBStorage(url))
    assert len(theirs.trials) == 6
    again = optuna.load_study(study_name="one", storage=open_storage(url))
    # In words: nan is not equal to itself.
    expected = [repr(trial) for trial in theirs.trials]
    assert [repr(trial) for trial in ours.trials] == [repr(trial) for trial in again.trials] == expected
    states = (TrialState.RUNNING, TrialState.WAITING)
    assert [repr(trial) for trial in again.get_trials(states=states)] == expected[3:]


@pytest.mark.usefixtures("in_japan")
def test_written_trials_are_those_that_optuna_would_have_added(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    trials = [
        create_trial(params={"x": 2}, distributions={"x": IntDistribution(0, 2)}, values=[math.inf, 0.5], user_attrs={"a": [1]}),
        create_trial(state=TrialState.FAIL, params={"x": 1}, distributions={"x": IntDistribution(0, 2)}, system_attrs={"b": {"c": None}}),
        create_trial(state=TrialState.WAITING),
    ]
    theirs, ours = (optuna.create_study(storage=RDBStorage(url), study_name=name, directions=["maximize"] * 2) for name in ("one", "other"))
    theirs.add_trials(trials)
    storage = open_storage(url)
    database = database_of(optuna.load_study(study_name="other", storage=storage))
    assert database is not None
    for first, some in ((0, trials[:2]), (0, trials[:2]), (2, trials[2:])):  # the first time the answer was lost
        write_trials(database.engine, ours._study_id, some, first)
    for study in (ours, optuna.load_study(study_name="other", storage=storage)):
        for one, other in zip(theirs.trials, study.trials, strict=True):
            other._trial_id = one._trial_id
            assert repr(other) == repr(one)


def test_trials_of_another_study_and_more_than_a_query_names(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    one, other = (optuna.create_study(storage=storage, study_name=name) for name in ("one", "other"))
    count = AT_ONCE // 2 + 2
    for number in range(count):
        for study in (one, other):
            study.add_trial(create_trial(params={"x": number % 3}, distributions={"x": IntDistribution(0, 2)}, value=float(number)))
    again = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    for name in ("one", "other"):
        found = optuna.load_study(study_name=name, storage=again).get_trials(deepcopy=False)
        assert [(trial.number, trial.value, trial.params) for trial in found] == [(n, float(n), {"x": n % 3}) for n in range(count)]
        assert len({id(trial.distributions) for trial in found}) == 1


def test_what_is_not_there_is_said_as_optuna_says_it(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    with pytest.raises(KeyError):
        storage.get_trial(7)
    with pytest.raises(KeyError):
        storage.get_all_trials(7)
