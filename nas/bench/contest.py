"""Two ways from images to a front in the same time: the whole path of `nas search`, and Optuna with every trial trained from scratch."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from nas.architecture import Architecture
from nas.bench.alone import TrainedAlone, train_alone
from nas.bench.contest_fronts import Point, hypervolume
from nas.bench.supernet import say
from nas.config import SearchConfig, TrainRecipe
from nas.errors import TrainingError
from nas.events import Event
from nas.hardware.predictor import LatencyPredictor
from nas.pipeline import run as search
from nas.search import storage
from nas.search.sampler import distributions, peer
from nas.space import SearchSpace
from nas.training.data import ImageData, load_data

__all__ = ["Contest", "Run", "clearly_worse", "from_scratch", "whole_path"]

POPULATION = 10
"""Of NSGA-II, what `nas search --sampler nsga2` takes for so few trials. Optuna's default, 50, is more than an hour's trials: its first
generation would be all of the search, and random."""
MOST_TRIALS = 1000
LEAST_S = 20.0
"""What is left of the time that is worth beginning a trial in."""
HOPELESS = 0.05
"""Accuracy that a trial must be behind by. A judgement, on the trial's side: several times the error of 5,000 images."""


@dataclass(frozen=True)
class Contest:
    """What both have: space, images, recipe and with it the augmentation, time; the seed decides the split and all that is random.

    Attributes:
        data: name or path of the images.
        trials, finalists: of the search, at most; the time may end it first.
    """

    space: SearchSpace
    data: str
    device: str
    predictor: LatencyPredictor
    threads: int
    recipe: TrainRecipe
    budget_s: float
    trials: int
    finalists: int

    def images(self, seed: int, cache: Path) -> ImageData:
        return load_data(self.data, self.space.resolutions[-1], seed, cache)

    def latency_s(self, arch: Architecture) -> float:
        return self.predictor.predict(self.space.decode(arch), self.threads).value

    def hypervolume(self, found: Run, until_s: float = math.inf, judge: Literal["test", "validation"] = "test") -> float:
        """Of what a run had ready in time, as a share (`nas.bench.contest_fronts.hypervolume`); the largest network is the slowest."""
        return hypervolume(found.points, self.latency_s(self.space.largest), 1 / self.space.num_classes, until_s, judge)


@dataclass(frozen=True, slots=True)
class Run:
    """What one method found with one seed.

    Attributes:
        networks: architectures that it tried.
        seconds: wall-clock; testing what only the benchmark wants to know is left out.
        spent_s: of which on what.
        points: trained and tested networks, in the order in which they were ready.
    """

    networks: int
    seconds: float
    spent_s: Mapping[str, float]
    points: tuple[Point, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Run:
        return cls(data["networks"], data["seconds"], dict(data["spent_s"]), tuple(Point(**point) for point in data["points"]))


def whole_path(contest: Contest, seed: int, runs: Path) -> Run:
    """`nas search --time-budget` in an empty folder: supernet, search and fine-tuning inside the time. Images are decoded before.

    A search that goes on after an interruption gets its time anew, so one that was cut off begins anew here.
    """
    shutil.rmtree(runs, ignore_errors=True)
    contest.images(seed, runs / ".cache")
    config = SearchConfig(
        study="whole-path", devices=(contest.device,), space=contest.space.name, data=contest.data, seed=seed, recipe=contest.recipe,
        time_budget_s=contest.budget_s, trials=contest.trials, finalists=contest.finalists,
    )  # fmt: skip
    heard = _Heard()
    result = search(config, runs, heard, lambda: False)
    found = result.fronts[0]
    points = []
    for record in found.finalists:
        metrics = {name: metric.value for name, metric in record.candidate.metrics.items()}
        at_s, own_s = heard.finalists[record.id]
        points.append(Point(record.id, metrics["latency_s"], metrics["accuracy_validation"], metrics["accuracy_test"], at_s, own_s))
    points.sort(key=lambda point: point.at_s)
    return Run(int(found.search["trials"]), heard.seconds(), heard.spent_s(), tuple(points))


class _Heard:
    """Listens to a search: when its parts began and its finalists were ready, seconds after it began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._phases: list[tuple[str, float]] = []
        self.finalists: dict[str, tuple[float, float]] = {}
        self._last_s = 0.0

    def __call__(self, event: Event) -> None:
        now = self.seconds()
        if event.kind == "phase":
            self._phases.append((str(event.fields.get("phase", event.text)), now))
            self._last_s = now
        elif event.kind == "finalist":
            self.finalists[str(event.fields["id"])] = now, now - self._last_s
            self._last_s = now
        say(event)

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def spent_s(self) -> dict[str, float]:
        """By phase, each until the next one."""
        ends = [begin for _, begin in self._phases[1:]] + [self.seconds()]
        return {name: end - begin for (name, begin), end in zip(self._phases, ends, strict=True)}


def from_scratch(contest: Contest, epochs: int, seed: int, cache: Path) -> Run:
    """Optuna's NSGA-II by ask and tell, each trial trained from scratch for `epochs` epochs, one schedule from its begin to its end.

    What is in its favour: a hopeless trial ends early (`clearly_worse`) and is told as it stands; an architecture that is asked for again
    costs nothing; the schedule of the last trial is run faster, so that it ends with the time; the test images are counted for every trial
    outside of the time, though they choose nothing.
    """
    data, space = contest.images(seed, cache), contest.space
    study = storage.new_study(["maximize", "minimize"], peer("nsga2", seed, POPULATION))
    tried: dict[Architecture, TrainedAlone] = {}
    points: list[Point] = []
    began, testing_s = time.monotonic(), 0.0

    def spent_s() -> float:
        return time.monotonic() - began - testing_s

    for _ in range(MOST_TRIALS):
        left_s = contest.budget_s - spent_s()
        if left_s < min(LEAST_S, contest.budget_s / 2):
            break
        trial = study.ask(distributions(space))
        arch = space.canonical(trial.params)
        latency_s = contest.latency_s(arch)
        if arch not in tried:
            rivals = [made.curve for other, made in tried.items() if contest.latency_s(other) <= latency_s]
            is_hopeless = partial(clearly_worse, rivals=rivals, epochs=epochs)
            try:
                made = train_alone(space.decode(arch), data, contest.recipe, seed, epochs, budget_s=left_s, is_hopeless=is_hopeless)
            except TrainingError as exc:
                storage.fail(study, trial, str(exc))
                continue
            tried[arch] = made
            testing_s += made.testing_s
            point = Point(arch.arch_id, latency_s, made.accuracy_validation, made.accuracy_test, spent_s(), made.training_s)
            points.append(point)
            text = f"trial {trial.number}: {point.validation:.2%} after {made.epochs} of {epochs} epochs, {point.at_s / 60:.1f} minutes"
            say(Event("info", text))
        study.tell(trial, [tried[arch].accuracy_validation, latency_s])
    return Run(len(tried), spent_s(), {"trials": spent_s()}, tuple(points))


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
