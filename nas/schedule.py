"""How a search shares its evaluations and its time: what its parts, and the estimate of them, agree on."""

from __future__ import annotations

import math
import time

__all__ = [
    "EXPORT_S",
    "FURTHER",
    "LEAST_NETWORKS",
    "LEAST_S",
    "MEASURINGS",
    "NETWORKS",
    "SEARCH_SHARE",
    "TRAIN_SHARE",
    "Pace",
    "ends_s",
    "fewest_trials",
    "measurings",
    "pause_at",
    "record_s",
]

FURTHER = 0.25
"""Evaluations for each device after the first, over those for the first: it is told all that is known, so only the model of where its own
front lies has to be made sharper."""
TRAIN_SHARE, SEARCH_SHARE = 0.5, 0.2
"""Of a time budget: supernet, search; the rest is for the finalists."""
LEAST_S, EXPORT_S = 1.0, 4.0
"""Of a finalist: seconds of training that it gets however late it is, and for its files and their checks, without what grows with the test
images (two busy cores, small networks: 2 to 7 s)."""
RECORD_S, RECORD_FURTHER_S = 10.0, 4.0
"""For fronts, pictures and MLflow runs: of the first device, and of each further one (two busy cores: 6 to 17 s for one, 9 for two, 18 for
three)."""
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


def record_s(devices: int) -> float:
    """Seconds for writing what people look at, in the end."""
    return RECORD_S + RECORD_FURTHER_S * (devices - 1)


def ends_s(budget_s: float, devices: int, finalists: int) -> tuple[float, float]:
    """When searching ends, and when making finalists does, seconds after the begin.

    Args:
        budget_s: for all of it.
        finalists: that are to be made, of all devices: of a short budget their files take more than the rest.
    """
    made_s = budget_s - record_s(devices)
    return min((TRAIN_SHARE + SEARCH_SHARE) * budget_s, made_s - finalists * (LEAST_S + EXPORT_S)), made_s


class Pace:
    """Shares what is left of a time budget over networks that are trained and shipped one after another. What their files take, as far as
    the last ones told, is no time for training.

    Args:
        until_s: on the clock of `time.monotonic`, when all is to be done; None for no hurry.
    """

    def __init__(self, until_s: float | None) -> None:
        self._until_s = until_s
        self._files_s = EXPORT_S

    def shipped(self, seconds: float) -> None:
        """Hears what the files of a network took."""
        self._files_s = seconds

    def share_s(self, trainings: int, files: int) -> float | None:
        """Seconds for one of the trainings that are left; None for no hurry.

        Args:
            trainings: that are left, this one too.
            files: networks whose files are still to be made.
        """
        if self._until_s is None:
            return None
        return max(LEAST_S, (self._until_s - time.monotonic() - files * self._files_s) / max(1, trainings))
