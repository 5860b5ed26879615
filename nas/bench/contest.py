"""What two ways from images to a front share, and the first: the whole path of `nas search`. The other is `nas.bench.from_scratch`."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nas.architecture import Architecture
from nas.bench.contest_fronts import Point, hypervolume
from nas.bench.supernet import say
from nas.config import SearchConfig, TrainRecipe
from nas.events import Event
from nas.hardware.predictor import LatencyPredictor
from nas.pipeline import run as search
from nas.space import SearchSpace
from nas.training.data import ImageData, load_data

__all__ = ["Contest", "Run", "whole_path"]


@dataclass(frozen=True)
class Contest:
    """What both have: space, images, recipe and with it the augmentation, time; the seed decides the split and all that is random.

    Attributes:
        data: name or path of the images.
        trials, finalists: of the search, at most; the time may end it first.
        processes: in which the other one trains, side by side.
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
    processes: int

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
