"""The ask-tell loop for one device. It tells what happens through `on_event` and keeps no state but the study's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import Trial

from nas.architecture import Architecture
from nas.errors import NasError, StoppedError
from nas.events import Event, Listener
from nas.metrics import Candidate, Constraint, Metric, Objective
from nas.search import pareto, storage
from nas.search.executors import Evaluation, Executor
from nas.search.sampler import SpaceExhaustedError, UniqueSampler, distributions
from nas.search.scoring import BaseScorer
from nas.search.underway import Asked, UnderWay

__all__ = ["Problem", "losses", "run"]

LEAST = 8
"""Candidates that are evaluated however late it is: a front needs some."""
PATIENCE = 5
"""Proposals in a row that promise less than the target before a search stops for it: one may be a whim of the model."""
MOST_FAILURES_IN_A_ROW = 20
"""Failed evaluations with no success between them after which the search gives up: then it is not the architecture that is wrong."""


@dataclass(frozen=True)
class Problem:
    """What is searched for on one device.

    Attributes:
        reference: reference point of the hypervolume, in the units of the objectives.
        timeout_s: after which an evaluation is tried again; None for what others took, with patience.
        target_regret: stop when the sampler expects no candidate to add this share of the hypervolume; one that expects nothing goes on.
    """

    scorer: BaseScorer
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    reference: tuple[float, ...]
    trials: int
    target_regret: float | None = None
    timeout_s: float | None = None


def losses(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Objectives as losses, (n, objectives)."""
    rows = [[objective.loss(candidate.metrics[objective.metric].value) for objective in objectives] for candidate in candidates]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(objectives))


def run(
    problem: Problem,
    study: Study,
    executor: Executor,
    accuracies: dict[Architecture, Evaluation],
    on_event: Listener,
    stop: Callable[[], bool],
    deadline_s: float | None = None,
    pause_at: int | None = None,
) -> list[storage.Evaluated]:
    """Asks, scores, evaluates and tells until the study holds `problem.trials` candidates, or the space is exhausted, or it is late.

    Args:
        accuracies: what is known already; never evaluated again. New ones are added.
        deadline_s: on the clock of `time.monotonic`.
        pause_at: candidates to hand back at, before `problem.trials`.

    Raises:
        StoppedError: `stop` said so; what was told stays.
        NasError: too many evaluations failed in a row; those may be asked for again.
    """
    reaped = storage.reap(study)
    done = storage.evaluated(study)
    if reaped:
        on_event(Event("info", f"{reaped} evaluation(s) were cut off: others take their places"))
    scored = problem.scorer.names
    accuracies.update({e.candidate.arch: Evaluation(_without(e.candidate.metrics, scored), e.seconds) for e in done})
    space = distributions(problem.scorer.space)
    poor, exhausted = 0, ""
    failed: list[tuple[Trial, NasError]] = []  # in a row, not told yet: where they end the search they are cut off, as what a crash leaves
    so_far = _SoFar(problem, [each.candidate for each in done])
    started, first = time.monotonic(), len(done)
    enough = problem.trials if pause_at is None else min(pause_at, problem.trials)

    def keep_lease(asked: Asked, seconds: float) -> None:
        storage.keep_lease(study, asked.trial, asked.attempt, seconds)

    under_way = UnderWay(executor, problem.timeout_s, keep_lease)

    def is_over() -> bool:
        count = len(done) + len(under_way)
        is_late = deadline_s is not None and time.monotonic() > deadline_s and count >= LEAST
        return bool(exhausted) or count >= enough or is_late

    try:
        while len(under_way) or not is_over():
            while under_way.has_room and not is_over() and not stop():
                try:
                    trial = storage.ask(study, space, under_way.patience_s)
                except SpaceExhaustedError as exc:
                    exhausted = str(exc)
                    storage.reap(study, keep=under_way.numbers | {trial.number for trial, _ in failed}, only_own=True)
                    break
                arch = problem.scorer.space.canonical(trial.params)
                poor = poor + 1 if _promises_less(study, problem.target_regret) else 0
                if poor >= PATIENCE:
                    exhausted = f"{PATIENCE} proposals in a row promised less than {problem.target_regret:.3g} of the hypervolume: stopped"
                under_way.submit(Asked(trial, arch), accuracies.get(arch))
            if not len(under_way):
                break
            # Also after `stop`: what is under way is evaluated to its end by any executor, so it is told and not lost.
            for asked, evaluation in under_way.finished():
                trial, arch = asked.trial, asked.arch
                if isinstance(evaluation, NasError):
                    failed.append((trial, evaluation))
                    on_event(Event("warning", f"trial {trial.number} failed: {evaluation}"))
                    continue
                _bar(study, failed)
                accuracies[arch] = evaluation
                metrics = {**evaluation.metrics, **problem.scorer.metrics(arch)}
                candidate = Candidate(arch, problem.scorer.target, metrics, trial.number)
                storage.record(study, trial, candidate, problem.objectives, evaluation.seconds)
                done.append(storage.Evaluated(candidate, evaluation.seconds))
                so_far.add(candidate)
                pace = (time.monotonic() - started) / (len(done) - first)
                on_event(so_far.event(candidate, pace, deadline_s))
            if len(failed) >= MOST_FAILURES_IN_A_ROW:  # none of those that came back together is left out
                last = failed[-1][1]
                raise NasError(f"{len(failed)} evaluations in a row failed, the last one: {last}") from last
        if stop() and not is_over():
            raise StoppedError(f"stopped after {len(done)} of {problem.trials} candidates: all of them are saved")
        _bar(study, failed)
    finally:
        storage.reap(study, only_own=True)
    if not exhausted and len(done) < enough and not stop():
        exhausted = f"the time for the search is over: stopped at {len(done)} of {problem.trials} candidates"
    if exhausted:
        on_event(Event("info", exhausted))
    return done


def _bar(study: Study, failed: list[tuple[Trial, NasError]]) -> None:
    """Tells failures that were not the end of the search: their architectures are not asked for again."""
    for trial, reason in failed:
        storage.fail(study, trial, str(reason))
    failed.clear()


def _promises_less(study: Study, target: float | None) -> bool:
    sampler = study.sampler
    promise = sampler.promise(study) if target is not None and isinstance(sampler, UniqueSampler) else None
    return promise is not None and target is not None and promise < target


def _without(metrics: Mapping[str, Metric], scored: frozenset[str]) -> dict[str, Metric]:
    """What the evaluator gave: the same on every device."""
    return {name: metric for name, metric in metrics.items() if name not in scored}


class _SoFar:
    """What a search has come to: the losses of its front, however many candidates there are."""

    def __init__(self, problem: Problem, candidates: Sequence[Candidate]) -> None:
        self._problem = problem
        self._reference = [objective.loss(value) for objective, value in zip(problem.objectives, problem.reference, strict=True)]
        self._count, self._best = len(candidates), max((each.metrics["accuracy_search"].value for each in candidates), default=0.0)
        points = losses(candidates, problem.objectives)
        self._front = points[pareto.front(points)]

    def add(self, candidate: Candidate) -> None:
        self._count, self._best = self._count + 1, max(self._best, candidate.metrics["accuracy_search"].value)
        points = np.concatenate([self._front, losses([candidate], self._problem.objectives)])
        self._front = points[pareto.front(points)]

    def event(self, last: Candidate, pace_s: float, deadline_s: float | None) -> Event:
        """After `last` was told; a candidate takes `pace_s`."""
        trials = self._problem.trials
        left = pace_s * (trials - self._count)
        if deadline_s is not None:
            left = min(left, max(0.0, deadline_s - time.monotonic()))
        return Event(
            "trial",
            f"{self._count}/{trials} candidates, best accuracy {self._best:.4f}, {len(self._front)} on the front",
            share=self._count / trials,
            seconds_left=left,
            fields={
                "device": self._problem.scorer.target.device,
                "trial": last.trial,
                "candidates": self._count,
                "hypervolume": pareto.hypervolume(self._front, self._reference),
                "best_accuracy": self._best,
                "id": last.id,
            },
        )
