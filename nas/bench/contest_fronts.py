"""Fronts of trained networks, chosen by search-validation and judged by test: what two methods that had the same time are compared by."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from nas.search import pareto

__all__ = ["Gain", "Point", "best_within", "dominated", "front", "gain", "hypervolume"]


@dataclass(frozen=True, slots=True)
class Point:
    """A trained network.

    Attributes:
        validation: accuracy on search-validation, 0..1, by which networks are chosen.
        test: accuracy on the test images, 0..1, by which what was chosen is judged.
        at_s: when it was ready, seconds after the begin.
        own_s: of which were spent on this network alone.
    """

    id: str
    latency_s: float
    validation: float
    test: float
    at_s: float
    own_s: float

    def __post_init__(self) -> None:
        if not (0 <= self.validation <= 1 and 0 <= self.test <= 1):
            raise ValueError(f"accuracies are 0 to 1, got {self.validation} and {self.test} of {self.id}")
        if not (0 < self.latency_s < math.inf and 0 <= self.own_s < math.inf and 0 <= self.at_s < math.inf):
            raise ValueError(
                f"a latency is positive and times are not negative, got {self.latency_s}, {self.at_s}, {self.own_s} of {self.id}"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Gain:
    """Test accuracy of one front above another's, a share of the images, at a latency."""

    latency_s: float
    value: float


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other dominates in accuracy on search-validation and latency, fastest first. Of equals the first counts."""
    losses = np.array([[-point.validation, point.latency_s] for point in points], dtype=np.float64).reshape(len(points), 2)
    members = [point for point, is_member in zip(points, pareto.front(losses), strict=True) if is_member]
    return sorted(members, key=lambda point: point.latency_s)


def best_within(points: Sequence[Point], latency_s: float) -> Point:
    """What one would take at a latency: of the networks that are that fast the best on search-validation.

    Raises:
        ValueError: none is that fast.
    """
    fast = [point for point in front(points) if point.latency_s <= latency_s]
    if not fast:
        raise ValueError(f"none of {len(points)} networks has a latency of {latency_s} s or less")
    return fast[-1]


def gain(ours: Sequence[Point], theirs: Sequence[Point]) -> Gain:
    """Test accuracy of what one would take of ours above theirs, at the median latency that both cover.

    Both cover a latency where each has a network that fast. The median is over the latencies of both fronts' members there.

    Raises:
        ValueError: a method has no network.
    """
    if not (ours and theirs):
        raise ValueError(f"a front has at least one network, got {len(ours)} and {len(theirs)}")
    own, other = front(ours), front(theirs)
    covered_from_s = max(own[0].latency_s, other[0].latency_s)
    latency_s = statistics.median(point.latency_s for point in (*own, *other) if point.latency_s >= covered_from_s)
    return Gain(latency_s, best_within(own, latency_s).test - best_within(other, latency_s).test)


def dominated(theirs: Sequence[Point], ours: Sequence[Point]) -> tuple[int, int]:
    """How many members of their front a member of ours dominates in test accuracy and latency, and how many there are."""
    own, other = front(ours), front(theirs)
    return sum(any(_dominates(better, point) for better in own) for point in other), len(other)


def _dominates(one: Point, other: Point) -> bool:
    no_worse = one.test >= other.test and one.latency_s <= other.latency_s
    return no_worse and (one.test > other.test or one.latency_s < other.latency_s)


def hypervolume(
    points: Sequence[Point], slowest_s: float, chance: float, until_s: float = math.inf, judge: Literal["test", "validation"] = "test"
) -> float:
    """Of the front by search-validation among what was ready in time, with the accuracy that it is judged by: the share, 0..1, of what lies
    between chance and all right, and between no latency and the slowest."""
    ready = front([point for point in points if point.at_s <= until_s])
    losses = np.array([[1 - getattr(point, judge), point.latency_s / slowest_s] for point in ready], dtype=np.float64)
    return pareto.hypervolume(losses.reshape(len(ready), 2), [1 - chance, 1.0]) / (1 - chance)
