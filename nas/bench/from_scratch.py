"""The obvious way from images to a front: Optuna's NSGA-II, and every trial trained from scratch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import cache, partial
from pathlib import Path

from nas.architecture import Architecture
from nas.bench.alone import TrainedAlone, train_alone
from nas.bench.contest import Contest, Run
from nas.bench.contest_fronts import Point
from nas.bench.processes import side_by_side
from nas.bench.supernet import say
from nas.errors import TrainingError
from nas.events import Event
from nas.models.lanes import use_threads
from nas.search import storage
from nas.search.evaluators import threads_each
from nas.search.sampler import distributions, peer
from nas.training.data import ImageData, load_data

__all__ = ["clearly_worse", "from_scratch"]

POPULATION = 10
"""Of NSGA-II, what `nas search --sampler nsga2` takes for so few trials. Optuna's default, 50, is more than an hour's trials: its first
generation would be all of the search, and random."""
MOST_TRIALS = 1000
LEAST_S = 20.0
"""What is left of the time that is worth beginning a trial in."""
HOPELESS = 0.05
"""Accuracy that a trial must be behind by. A judgement, on the trial's side: several times the error of 5,000 images."""


def from_scratch(contest: Contest, epochs: int, seed: int, cache: Path) -> Run:
    """Optuna's NSGA-II by ask and tell, each trial trained from scratch for `epochs` epochs, one schedule from its begin to its end.

    What is in its favour: trials are trained side by side, a thread each, because such small networks do not keep several threads busy; a
    hopeless trial ends early (`clearly_worse`) and is told as it stands; an architecture that is asked for again costs nothing; the
    schedules of the last trials are run faster, so that they end with the time; the test images are counted for every trial outside of the
    time, though they choose nothing.
    """
    images = partial(_images, contest.data, contest.space.resolutions[-1], seed, cache)
    with side_by_side(contest.processes) as pool:
        wait([pool.submit(images) for _ in range(contest.processes)])
        return _Trials(contest, epochs, seed, images, pool).run()


class _Trials:
    """One study. Its time begins when it is made."""

    def __init__(self, contest: Contest, epochs: int, seed: int, images: Callable[[], ImageData], pool: Executor) -> None:
        self._contest, self._epochs, self._pool = contest, epochs, pool
        self._train = partial(_trained, contest, seed, images, threads_each(contest.processes), epochs)
        self._study = storage.new_study(["maximize", "minimize"], peer("nsga2", seed, POPULATION))
        self._tried: dict[Architecture, TrainedAlone] = {}
        self._training: dict[Future[TrainedAlone], Architecture] = {}
        self._waiting: dict[Architecture, list[storage.Trial]] = {}
        self._points: list[Point] = []
        self._began, self._testing_s = time.monotonic(), 0.0

    def run(self) -> Run:
        """Asks as long as there is time for a trial, then waits for those that are under way."""
        least_s = min(LEAST_S, self._contest.budget_s / 2)
        for _ in range(MOST_TRIALS):
            while len(self._training) >= self._contest.processes:
                self._hear()
            if self._contest.budget_s - self._spent_s() < least_s:
                break
            self._ask()
        while self._training:
            self._hear()
        return Run(len(self._tried), self._spent_s(), {"trials": self._spent_s()}, tuple(self._points))

    def _spent_s(self) -> float:
        """Wall-clock without what the test images took, side by side."""
        return time.monotonic() - self._began - self._testing_s / self._contest.processes

    def _ask(self) -> None:
        trial = self._study.ask(distributions(self._contest.space))
        arch = self._contest.space.canonical(trial.params)
        if arch in self._tried:
            self._tell(trial, arch)
        elif arch in self._waiting:
            self._waiting[arch].append(trial)
        else:
            latency_s = self._contest.latency_s(arch)
            rivals = [made.curve for other, made in self._tried.items() if self._contest.latency_s(other) <= latency_s]
            left_s = self._contest.budget_s - self._spent_s()
            self._training[self._pool.submit(self._train, arch, rivals, left_s)] = arch
            self._waiting[arch] = [trial]

    def _hear(self) -> None:
        """Waits for a network, and tells of all that are ready."""
        for future in wait(self._training, return_when=FIRST_COMPLETED).done:
            arch = self._training.pop(future)
            trials = self._waiting.pop(arch)
            try:
                made = future.result()
            except TrainingError as exc:
                for trial in trials:
                    storage.fail(self._study, trial, str(exc))
                continue
            self._testing_s += made.testing_s
            self._tried[arch] = made
            latency_s, at_s = self._contest.latency_s(arch), self._spent_s()
            self._points.append(Point(arch.arch_id, latency_s, made.accuracy_validation, made.accuracy_test, at_s, made.training_s))
            text = f"trial {trials[0].number}: {made.accuracy_validation:.2%} after {made.epochs} of {self._epochs} epochs"
            say(Event("info", f"{text}, {at_s / 60:.1f} minutes"))
            for trial in trials:
                self._tell(trial, arch)

    def _tell(self, trial: storage.Trial, arch: Architecture) -> None:
        self._study.tell(trial, [self._tried[arch].accuracy_validation, self._contest.latency_s(arch)])


@cache
def _images(data: str, size: int, seed: int, cache: Path) -> ImageData:
    """Of a process, which loads them once."""
    return load_data(data, size, seed, cache)


def _trained(
    contest: Contest, seed: int, images: Callable[[], ImageData], threads: int, epochs: int, arch: Architecture,
    rivals: Sequence[Sequence[float]], budget_s: float,
) -> TrainedAlone:  # fmt: skip
    use_threads(threads)
    is_hopeless = partial(clearly_worse, rivals=rivals, epochs=epochs)
    return train_alone(contest.space.decode(arch), images(), contest.recipe, seed, epochs, budget_s=budget_s, is_hopeless=is_hopeless)


def clearly_worse(curve: Sequence[float], rivals: Sequence[Sequence[float]], epochs: int) -> bool:
    """Whether a trial is hopeless: from a third of its epochs on, where a network that is no slower was better by 5 points after as many
    epochs of the same schedule. Optuna's own pruners know one objective only.

    Args:
        curve: accuracies on search-validation after each epoch until now.
        rivals: those of earlier trials that are no slower, however far they came.
    """
    done = len(curve)
    if done < epochs / 3:
        return False
    return max((rival[done - 1] for rival in rivals if len(rival) >= done), default=0.0) - curve[-1] > HOPELESS
