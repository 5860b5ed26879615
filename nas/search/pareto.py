"""Pareto tools on losses (everything minimised). The home of moocore."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import moocore
import numpy as np
from numpy.typing import NDArray

__all__ = ["front", "hypervolume", "knee", "select", "tied"]

Losses = NDArray[np.float64]

TIE_Z = 1.645
"""One-sided 95 % point of the normal distribution: is the slower one really more accurate?"""
HALF = 0.5
"""How far a row that costs nothing must be from the chosen ones, over the farthest, to be taken: the selection stays spread."""


def front(losses: Losses) -> NDArray[np.bool_]:
    """Which rows of (n, objectives) are not dominated. Of equal rows the first counts."""
    if not len(losses):
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(moocore.is_nondominated(losses), dtype=np.bool_)


def hypervolume(losses: Losses, reference: Sequence[float]) -> float:
    """Volume between the rows of (n, objectives) and the reference point; rows beyond it add nothing."""
    inside = losses[(losses < np.asarray(reference)).all(axis=1)] if len(losses) else losses
    return float(moocore.hypervolume(inside, ref=list(reference))) if len(inside) else 0.0


def _scaled(losses: Losses) -> Losses:
    """Each objective over its range on these rows, 0..1; a constant one is 0."""
    low, high = losses.min(axis=0), losses.max(axis=0)
    scaled: Losses = (losses - low) / np.where(high > low, high - low, 1.0)
    return scaled


def knee(losses: Losses) -> int:
    """Row of a front that lies farthest below the hyperplane through its ends (Das 1999, doi:10.1007/BF01195985), on scaled objectives.

    For a front of fewer than three rows it is the row nearest to the ideal point.
    """
    scaled = _scaled(losses)
    if len(losses) < 3:
        return int(np.argmin((scaled**2).sum(axis=1)))
    return int(np.argmin(scaled.sum(axis=1)))


def select(losses: Losses, k: int, had: Collection[int] = ()) -> list[int]:
    """At most k rows of a front, spread over it: the best of each objective and the knee first, then whichever is farthest from the chosen.

    Args:
        had: rows that cost nothing more: one of them is taken before the farthest if it is at least half as far.

    Returns:
        rows in ascending order of the last objective.
    """
    if not len(losses) or k < 1:
        return []
    scaled = _scaled(losses)
    wanted = [*(int(np.argmin(losses[:, column])) for column in range(losses.shape[1])), knee(losses)]
    chosen = list(dict.fromkeys(wanted))[:k]
    while len(chosen) < min(k, len(losses)):
        distance = np.min(np.linalg.norm(scaled[:, None] - scaled[chosen], axis=2), axis=1)
        distance[chosen] = -1.0
        free = max(set(had) - set(chosen), key=lambda row: (distance[row], -row), default=None)
        farthest = int(np.argmax(distance))
        chosen.append(free if free is not None and distance[free] >= HALF * distance[farthest] else farthest)
    return sorted(chosen, key=lambda row: (losses[row, -1], row))


def tied(accuracy: Sequence[float], std: Sequence[float]) -> list[bool]:
    """Members of a front, fastest first, whose gain in accuracy over the best faster one that is not tied itself may be chance.

    The gain is compared with its standard error at the one-sided 95 % point. The errors are taken as independent, although the images are
    the same ones: that overstates the error of the difference, so a gain that passes is real.
    """
    marks: list[bool] = []
    best: tuple[float, float] | None = None
    for value, error in zip(accuracy, std, strict=True):
        is_tied = best is not None and value - best[0] < TIE_Z * math.hypot(error, best[1])
        marks.append(is_tied)
        if not is_tied:
            best = (value, error)
    return marks
