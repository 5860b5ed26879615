"""Trials that are read once."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.search.reading import Reader


def test_a_finished_trial_is_looked_at_once_and_one_under_way_each_time() -> None:
    study, looked = optuna.create_study(), []

    def look(trial: FrozenTrial) -> tuple[int, TrialState]:
        looked.append(trial.number)
        return trial.number, trial.state

    reader = Reader(look)
    first, second = study.ask(), study.ask()
    study.tell(first, 1.0)
    third = study.ask()
    assert reader(study, third.number) == [(0, TrialState.COMPLETE), (1, TrialState.RUNNING)]
    study.ask()
    assert reader(study, third.number) == [(0, TrialState.COMPLETE), (1, TrialState.RUNNING), (3, TrialState.RUNNING)]
    study.tell(second, 2.0)
    assert reader(study, third.number)[1] == (1, TrialState.COMPLETE)
    assert looked == [0, 1, 1, 3, 1, 3]


def test_another_study_is_read_from_its_beginning() -> None:
    studies = [optuna.create_study(study_name=name) for name in ("one", "another")]
    for count, study in enumerate(studies, start=2):
        for value in range(count):
            study.tell(study.ask(), value)
    reader = Reader(lambda trial: trial.values[0] if trial.values else None)
    assert [reader(study, -1) for study in (*studies, studies[0])] == [[0.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0]]
