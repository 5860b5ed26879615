"""How a search shares its evaluations and its time: what its parts, and the estimate of them, agree on."""

from __future__ import annotations

import math

__all__ = [
    "FURTHER",
    "LEAST_NETWORKS",
    "MEASURINGS",
    "NETWORKS",
    "SEARCH_SHARE",
    "TRAIN_SHARE",
    "fewest_trials",
    "measurings",
    "pause_at",
]

FURTHER = 0.25
"""Evaluations for each device after the first, over those for the first: it is told all that is known, so only the model of where its own
front lies has to be made sharper."""
TRAIN_SHARE, SEARCH_SHARE = 0.5, 0.2
"""Of a time budget: supernet, search; the rest is for the finalists."""
EVERY = 20
"""Candidates between two measurings, at least; the first one comes earlier where the search would be over by then."""
MEASURINGS = 5
"""In one search, at most."""
NETWORKS = 5
"""Measured each time."""
LEAST_NETWORKS = 4
"""Fewer are not worth a refit."""


def pause_at(before: int, trials: int, has_measured: bool) -> int | None:
    """With how many candidates a search pauses next to measure networks near its front; None where it does not any more.

    Args:
        before: candidates that are known.
        trials: that there are to be.
        has_measured: whether it has paused before; the first time comes when half of what is left is evaluated, at the latest.
    """
    every = max(EVERY, math.ceil(trials / (MEASURINGS + 1)))
    found = every * (before // every + 1)
    if not has_measured:
        found = min(found, max(LEAST_NETWORKS, before + max(1, (trials - before) // 2)))
    return found if found < trials else None


def fewest_trials(before: int) -> int:
    """So many let a search that knows some candidates, and has not measured yet, pause once."""
    return max(LEAST_NETWORKS + 1, before + 2)


def measurings(before: int, trials: int, has_measured: bool) -> int:
    """How often a search will pause from now on, at most."""
    count = 0
    while count < MEASURINGS and (found := pause_at(before, trials, has_measured)) is not None:
        count, before, has_measured = count + 1, found, True
    return count
