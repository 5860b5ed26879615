"""A study of very many trials: written in minutes by rows, then opened and resumed in a process of its own."""

from __future__ import annotations

import datetime as dt
import json
import resource
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from sqlalchemy import func, insert, select

from nas.architecture import Architecture
from nas.bench.made_up import made_up_accuracy
from nas.bench.simulated import PAIR, Free, never, scorer_of_a_board, unheard, wrapped_sampler
from nas.errors import InputError
from nas.metrics import Candidate
from nas.search import engine, pareto, storage
from nas.search.sampler import distributions
from nas.search.scoring import Scorer

__all__ = ["fill", "opened", "write_told"]

NAME = "large"
AT_ONCE = 5_000
"""Trials of a transaction."""
Row = Mapping[str, Any]


def fill(path: Path, trials: int) -> None:
    """Writes an SQLite study of random architectures, all told."""
    study, scorer = _study(path, trials, "random"), scorer_of_a_board()
    for first in range(0, trials, AT_ONCE):
        rows = scorer.space.sample_rows(min(AT_ONCE, trials - first), np.random.default_rng(first))
        write_told(study, scorer, scorer.space.decode_rows(rows))


def write_told(study: storage.Study, scorer: Scorer, archs: Sequence[Architecture]) -> None:
    """Tells architectures to a study that has an SQLite file of its own, into Optuna's tables in one transaction."""
    database, space = storage.database_of(study), distributions(scorer.space)
    if database is None:
        raise InputError(f"study {study.study_name} is in no database")
    with database.engine.begin() as connection:
        first = int(connection.execute(select(func.count()).select_from(models.TrialModel)).scalar_one())
        candidates = {
            number: Candidate(arch, scorer.target, {**scorer.metrics(arch), "accuracy_search": made_up_accuracy(arch)}, number)
            for number, arch in enumerate(archs, first)
        }
        for model, rows in _rows(candidates, space, study._study_id).items():
            connection.execute(insert(model), list(rows))


def _rows(candidates: Mapping[int, Candidate], space: Mapping[str, BaseDistribution], study_id: int) -> Mapping[Any, Sequence[Row]]:
    """Of each of Optuna's tables: what telling these candidates, by the numbers of their trials, would have written."""
    texts = {name: distribution_to_json(each) for name, each in space.items()}
    found: dict[Any, list[Row]] = defaultdict(list)
    for number, candidate in candidates.items():
        trial_id, genes = number + 1, storage.values_of(candidate.arch, space)
        now = dt.datetime(2026, 1, 1) + dt.timedelta(seconds=number)  # as Optuna keeps it
        found[models.TrialModel].append({
            "trial_id": trial_id, "number": number, "study_id": study_id, "state": "COMPLETE", "datetime_start": now,
            "datetime_complete": now,
        })  # fmt: skip
        found[models.TrialParamModel] += [
            {"trial_id": trial_id, "param_name": name, "param_value": each.to_internal_repr(genes[name]), "distribution_json": texts[name]}
            for name, each in space.items()
        ]
        found[models.TrialValueModel] += [
            {"trial_id": trial_id, "objective": index, "value": candidate.metrics[each.metric].value, "value_type": "FINITE"}
            for index, each in enumerate(PAIR)
        ]
        found[models.TrialUserAttributeModel].append(
            {"trial_id": trial_id, "key": "candidate", "value_json": json.dumps(storage.known(candidate, 1.0))}
        )
    return found


def opened(path: Path, trials: int) -> Mapping[str, float | str | bool]:
    """Seconds and peak of memory of opening such a study, of a resume that evaluates one more candidate, and of the front."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_opened, path, trials).result()


def _opened(path: Path, trials: int) -> Mapping[str, float | str | bool]:
    scorer = scorer_of_a_board()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    study = _study(path, trials, "front")
    read = study.get_trials(deepcopy=False)
    read_s = time.perf_counter() - started
    done = engine.run(engine.Problem(scorer, PAIR, (), (0.0, 1.0), trials + 1), study, Free(), {}, unheard, never)
    resumed_s = time.perf_counter() - started
    members = int(pareto.front(engine.losses([each.candidate for each in done], PAIR)).sum())
    return {
        "opened_trials": float(len(read)), "file_mib": path.stat().st_size / 2**20, "read_s": read_s, "resumed_s": resumed_s,
        "with_front_s": time.perf_counter() - started, "members": float(members), "candidates": float(len(done)),
        "before_mib": before / 1024, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def _study(path: Path, trials: int, name: str) -> storage.Study:
    scorer = scorer_of_a_board()
    wrapped = wrapped_sampler(scorer, name, trials)
    return storage.open_study(storage.open_storage(f"sqlite:///{path}"), NAME, PAIR, wrapped, {"space": scorer.space.name})
