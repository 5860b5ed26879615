"""How trained networks are judged against one another: by accuracy on search-validation, against costs that are predicted in one way.

Pruned networks were no candidates of the search and have no accuracy_search: this is what they and the finalists have in common. The test
images have no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.metrics import Candidate, Objective
from nas.search import pareto

__all__ = ["VALIDATION", "judged_by", "unbeaten"]

VALIDATION = Objective("accuracy_validation", "maximize")
"""Of trained networks, on images that chose none of their weights but the best epoch's. Of an int8 model it is that of its network before
rounding."""


def judged_by(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """Objectives of a search's front as trained networks are judged: accuracy_search gives way to accuracy_validation."""
    return (VALIDATION, *(each for each in objectives if not each.metric.startswith("accuracy")))


def unbeaten(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> list[bool]:
    """Which trained networks no other beats in all of `judged_by(objectives)`; of equal ones the first.

    Args:
        candidates: with accuracy_validation and every cost.
    """
    judged = judged_by(objectives)
    rows = [[objective.loss(each.metrics[objective.metric].value) for objective in judged] for each in candidates]
    return [bool(mark) for mark in pareto.front(np.array(rows, dtype=np.float64).reshape(len(rows), len(judged)))]
