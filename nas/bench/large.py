"""A study of very many trials: written in minutes by rows, then opened and resumed in a process of its own."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from nas.bench.made_up import made_up_accuracy
from nas.bench.simulated import PAIR, Free, never, scorer_of_a_board, unheard, wrapped_sampler
from nas.metrics import Candidate
from nas.search import engine, pareto, storage
from nas.search.sampler import distributions
from nas.search.scoring import Scorer

__all__ = ["fill", "opened", "tell_made_up"]

NAME = "large"
AT_ONCE = 5_000
"""Trials of a transaction."""


def fill(path: Path, trials: int) -> None:
    """Writes an SQLite study of random architectures, all told."""
    study, scorer = _study(path, trials, "random"), scorer_of_a_board()
    for first in range(0, trials, AT_ONCE):
        tell_made_up(study, scorer, min(AT_ONCE, trials - first), np.random.default_rng(first))


def tell_made_up(study: storage.Study, scorer: Scorer, count: int, rng: np.random.Generator) -> None:
    """Tells so many random architectures to a study."""
    space = scorer.space
    told = [
        storage.Evaluated(Candidate(arch, scorer.target, {**scorer.metrics(arch), "accuracy_search": made_up_accuracy(arch)}), 1.0)
        for arch in space.decode_rows(space.sample_rows(count, rng))
    ]
    storage.add(study, distributions(space), told, PAIR)


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
