"""A search space on one target as a sampler's domain: what a `Scorer` knows of an architecture is known before it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.errors import SpaceError, StudyError
from nas.metrics import Constraint, Objective
from nas.search.domain import Array, KnownCosts, Params, Rows
from nas.search.scoring import BaseScorer

__all__ = ["ScoredDomain"]

BAND_Z = 1.645
"""Standard errors between a value and the end of its 90 % band."""
KEPT = 8
"""Sets of rows whose metrics are kept."""
OWN_ERROR = 0.1
"""Standard error of a prediction's logarithm at most, as far as it differs between networks. A factor that is common to all of them moves
no front, and most of a wide band is that: additive predictors with a common factor off by 3 still rank networks (Spearman above .9)."""


class ScoredDomain:
    """The architectures of a space with the metrics that a scorer gives.

    Args:
        objectives: of the study; those that the scorer gives are known.
        constraints: those on metrics that the scorer does not give are left to others.
    """

    def __init__(self, scorer: BaseScorer, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> None:
        self._scorer, self._space = scorer, scorer.space
        self.names = tuple(gene.name for gene in self._space.genes)
        self.sizes = tuple(len(gene.choices) for gene in self._space.genes)
        given = scorer.values(self._space.encode([self._space.smallest]))
        self.known = tuple(number for number, objective in enumerate(objectives) if objective.metric in given)
        self._metrics = tuple(objectives[number].metric for number in self.known)
        self._described = tuple(name for name in given if name not in self._metrics)
        self._kept: dict[bytes, Mapping[str, Array]] = {}
        self._constraints = tuple(constraint for constraint in constraints if constraint.metric in given)

    def _values(self, rows: Rows) -> Mapping[str, Array]:
        """The scorer's, kept for the rows that are asked about next: a proposal asks for violation, costs and descriptors in turn."""
        key = rows.tobytes()
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = self._scorer.values(rows)
        return self._kept[key]

    def canonical(self, rows: Rows) -> Rows:
        """See `Domain.canonical`."""
        return self._space.canonical_rows(rows)

    def violation(self, rows: Rows) -> Array:
        """Largest excess over a bound, as a share of the bound; on the target where that is the least."""
        if not self._constraints:
            return np.zeros(len(rows))
        every = [self._values(rows), *(each.values(rows) for each in self._scorer.others)]
        return np.asarray(np.min([self._excess(values, len(rows)) for values in every], axis=0))

    def _excess(self, values: Mapping[str, Array], count: int) -> Array:
        worst = np.zeros(count)
        for constraint in self._constraints:
            excess = values[constraint.metric] / constraint.bound - 1.0
            worst = np.maximum(worst, excess if constraint.kind == "max" else -excess)
        return worst

    def costs(self, rows: Rows) -> KnownCosts:
        """Values of the known objectives, and the errors of those that are predicted."""
        values = self._values(rows)
        found = np.stack([values[name] for name in self._metrics], axis=1) if self._metrics else np.zeros((len(rows), 0))
        error = min(self._scorer.half_width / BAND_Z, OWN_ERROR)
        std = np.zeros_like(found)
        for column, name in enumerate(self._metrics):
            if name in ("latency_s", "energy_j"):
                std[:, column] = error * found[:, column]
        return KnownCosts(found, std)

    def descriptors(self, rows: Rows) -> Array:
        """Logarithms of the scorer's other metrics: counts of work, weights and memory."""
        values = self._values(rows)
        return np.log(np.maximum(np.stack([values[name] for name in self._described], axis=1), 1e-12))

    def row(self, params: Params) -> Rows:
        """See `Domain.row`."""
        try:
            found: Rows = self._space.encode([self._space.canonical(params)])[0]
        except SpaceError as exc:
            raise StudyError(f"the study is of another space: {exc}") from exc
        return found

    def params(self, row: Rows) -> dict[str, Any]:
        """See `Domain.params`."""
        return {gene.name: gene.choices[max(int(index), 0)] for gene, index in zip(self._space.genes, row, strict=True)}
