"""The next point to evaluate, as a pure function of what is known: the largest expected gain of hypervolume among candidates.

Candidates are random draws, mutations of the front and, from the best of them, all neighbours, round after round. The space is not listed
unless it is small.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from threadpoolctl import ThreadpoolController

from nas.errors import SpaceExhaustedError
from nas.search.domain import Array, Rows
from nas.search.gaussian_process import default_kernel
from nas.search.ground import Ground
from nas.search.outlook import Evidence, Kernels, Outlook

__all__ = ["Proposer"]

DESIGN_PER_GENE, DESIGN_LEAST, DESIGN_MOST = 2, 8, 16
"""Points that are spread before a model is asked: two a gene, as a model with a weight for each gene needs some; no more than a tenth of
the default budget of 150."""
DESIGN_PART = 512
"""Points of the pool that the spread ones are chosen from: of many points the least alike are freaks."""
FEWEST = 4
"""Evaluated points before a model is asked, however many are pending."""
DRAWS, MUTANTS, BEAM, CLIMBS = 256, 256, 6, 2
"""Candidates: random draws, mutations of the front, and rounds of all neighbours of the best ones."""
LAST_DRAWS = 4096
"""Draws, and mutations of all that is known, before a space too large to list is called exhausted."""


class Proposer:
    """Proposes points of a ground.

    Args:
        signs: of each objective of the study, 1 where it is minimised, -1 where it is maximised.
        worst: as of `Outlook`.

    Attributes:
        promise: of the last proposal: the most that a candidate was expected to add to the hypervolume, as a share of it; None before a
            model was asked.
    """

    def __init__(self, ground: Ground, signs: Array, seed: int, worst: float | None = None) -> None:
        self._ground, self._signs, self._seed, self._worst = ground, signs, seed, worst
        self._kernels = Kernels(ground)
        # Matrices of some hundred rows gain nothing from threads, which spin for cores that evaluations use.
        self._blas = ThreadpoolController().select(user_api="blas")
        self.promise: float | None = None

    def propose(self, evidence: Evidence, number: int) -> Rows:
        """The point for trial `number`, (genes,).

        Raises:
            SpaceExhaustedError: every point was asked for.
        """
        with self._blas.limit(limits=1):
            return self._proposed(evidence, number)

    def _proposed(self, evidence: Evidence, number: int) -> Rows:
        self.promise = None
        rng = np.random.default_rng([self._seed, number])
        seen = {row.tobytes() for rows in (evidence.rows, evidence.pending, evidence.barred) for row in rows}
        if len(evidence.rows) + len(evidence.pending) < len(self._design) or len(evidence.rows) < FEWEST:
            for row in (*self._design, *self._unseen(self._ground.draw(DRAWS, rng), evidence, seen, rng)):
                if row.tobytes() not in seen:
                    return np.asarray(row)
        return self._most_promising(evidence, seen, rng)

    @cached_property
    def _design(self) -> Rows:
        """The ends of each known cost, then whichever point of a random part of the pool is least like those chosen."""
        ground = self._ground
        features, (costs, _) = ground.features(ground.pool), ground.costs(ground.pool)
        kernel = default_kernel(ground.groups, features.descriptors.shape[1])
        count = min(max(DESIGN_PER_GENE * len(ground.sizes), DESIGN_LEAST), DESIGN_MOST, len(ground.pool))
        part = np.random.default_rng([self._seed, 2**31 + 1]).permutation(len(ground.pool))[:DESIGN_PART]
        ends = [int(end) for column in costs.T for end in (np.argmin(column), np.argmax(column))]
        chosen = list(dict.fromkeys(ends or [int(part[0])]))[:count]
        alike = kernel(features[chosen], features).max(axis=0)
        while len(chosen) < count:
            alike[chosen] = np.inf
            chosen.append(int(part[np.argmin(alike[part])]))
            alike = np.maximum(alike, kernel(features[chosen[-1:]], features)[0])
        return np.asarray(ground.pool[list(dict.fromkeys(chosen))])

    def _most_promising(self, evidence: Evidence, seen: set[bytes], rng: np.random.Generator) -> Rows:
        outlook = Outlook(self._ground, self._kernels, evidence, self._signs, rng, self._worst)
        candidates = self._unseen(self._candidates(outlook.members, rng), evidence, seen, rng)
        gains = outlook.gain(candidates)
        known = seen | {row.tobytes() for row in candidates}
        for _ in range(0 if self._ground.is_small else CLIMBS):
            best = candidates[np.argsort(-gains, kind="stable")[:BEAM]]
            near = _without(self._ground.neighbours(best, rng), known)
            if not len(near):
                break
            known.update(row.tobytes() for row in near)
            candidates, gains = np.concatenate([candidates, near]), np.concatenate([gains, outlook.gain(near)])
        best = candidates[np.argsort(-gains, kind="stable")[:BEAM]]
        expected = float(outlook.gain(best, caution=1.0).max())
        self.promise = expected / (outlook.volume + expected) if outlook.volume + expected > 0 else None
        return np.asarray(best[0])

    def _candidates(self, members: Rows, rng: np.random.Generator) -> Rows:
        if self._ground.is_small:
            return self._ground.pool
        return np.unique(np.concatenate([self._ground.draw(DRAWS, rng), self._ground.mutants(members, MUTANTS, rng)]), axis=0)

    def _unseen(self, rows: Rows, evidence: Evidence, seen: set[bytes], rng: np.random.Generator) -> Rows:
        """Those of `rows` that were not asked for; where there are none, others; where there are none at all, an error."""
        ground = self._ground
        fresh = _without(rows, seen)
        if not len(fresh):
            parents = np.concatenate([ground.pool, evidence.rows])
            more = np.concatenate([ground.pool, ground.draw(LAST_DRAWS, rng), ground.mutants(parents, LAST_DRAWS, rng)])
            fresh = _without(np.unique(more, axis=0), seen)
        if not len(fresh) and ground.everything is not None:
            fresh = _without(ground.everything, seen)
        if not len(fresh):
            raise SpaceExhaustedError(f"no new point meets the constraints: {len(seen)} have been tried")
        return fresh


def _without(rows: Rows, seen: set[bytes]) -> Rows:
    return rows[[row.tobytes() not in seen for row in rows]] if len(rows) else rows
