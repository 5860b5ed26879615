"""What is known before anything is evaluated: a pool of points, the range of each known cost, the scales of a model's features.

All of it is a pure function of the domain and the seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.errors import InfeasibleError
from nas.search.domain import Array, Domain, Rows
from nas.search.gaussian_process import Features

__all__ = ["Ground"]

POOL = 2048
"""Points drawn to learn ranges and scales: their quantiles are known within 2 %."""
FEWEST = 64
"""Feasible points that a pool should have; where draws find fewer, they are sought by descent on the violation."""
SWEEPS = 2
"""Passes over the genes when the end of a cost's range is sought: costs are nearly sums over genes, for which one is enough."""
LISTED = 2048
"""A space of no more points is listed whole instead of sampled: as many are scored for a proposal anyway."""
LISTED_AT_LAST = 200_000
"""A space of no more points is listed before it is called exhausted."""


class Ground:
    """A domain with a pool of its feasible points.

    Args:
        signs: of each known cost: 1 where it is minimised, -1 where it is maximised.

    Raises:
        InfeasibleError: no point that meets the constraints was found.
    """

    def __init__(self, domain: Domain, signs: Sequence[float], seed: int) -> None:
        self.domain = domain
        self.sizes = np.array(domain.sizes, dtype=np.int64)
        self._signs = np.array(signs, dtype=np.float64)
        rng = np.random.default_rng([seed, 2**31])
        self.pool = self._feasible_pool(rng)
        values = domain.costs(self.pool).values
        self._is_log = (values > 0).all(axis=0) if len(values) else np.zeros(0, dtype=np.bool_)
        if len(domain.known):
            ends = np.concatenate([self._end(column, sign) for column in range(len(domain.known)) for sign in (1.0, -1.0)])
            self.pool = _unique(np.concatenate([self.pool, ends]))
            values = domain.costs(self.pool).values
            self._is_log = (values > 0).all(axis=0)
        losses = self._losses(values)
        self._low, self._width = losses.min(axis=0), np.ptp(losses, axis=0)
        self._width = np.where(self._width > 0, self._width, 1.0)
        described = self._described(self.pool)
        self._center = described.mean(axis=0)
        spread = described.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1.0)

    # --- rows -------------------------------------------------------------------------------------------------------------------

    def draw(self, count: int, rng: np.random.Generator) -> Rows:
        """Feasible points among `count` uniform draws."""
        rows = self.domain.canonical((rng.random((count, len(self.sizes))) * self.sizes).astype(np.int16))
        return self.kept(rows)

    def kept(self, rows: Rows) -> Rows:
        """Those of canonical rows that are feasible."""
        return rows[self.domain.violation(rows) == 0] if len(rows) else rows

    def filled(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Rows with a random choice for genes that do not exist: what they would be if a change woke them."""
        drawn = (rng.random(rows.shape) * self.sizes).astype(np.int16)
        return np.where(rows >= 0, rows, drawn)

    def mutants(self, parents: Rows, count: int, rng: np.random.Generator) -> Rows:
        """Feasible points among `count` mutations: one gene that exists is changed for sure, and 1.5 others on average."""
        chosen = parents[rng.integers(len(parents), size=count)]
        genes = len(self.sizes)
        change = rng.random(chosen.shape) < 1.5 / genes
        weights = rng.random(chosen.shape) * ((chosen >= 0) & (self.sizes > 1))
        change[np.arange(count), np.argmax(weights, axis=1)] = True
        step = 1 + (rng.random(chosen.shape) * (self.sizes - 1)).astype(np.int16)
        full = self.filled(chosen, rng)
        return self.kept(self.domain.canonical(np.where(change, (full + step) % self.sizes, full).astype(np.int16)))

    def neighbours(self, parents: Rows, rng: np.random.Generator) -> Rows:
        """Feasible points that differ from a parent in one gene."""
        full = self.filled(parents, rng)
        found = []
        for row, shape in zip(full, parents, strict=True):
            columns = np.repeat(np.arange(len(self.sizes)), self.sizes - 1)
            steps = np.concatenate([np.arange(1, size) for size in self.sizes]) if len(columns) else np.zeros(0, dtype=np.int64)
            exist = shape[columns] >= 0
            columns, steps = columns[exist], steps[exist]
            near = np.repeat(row[None], len(columns), axis=0)
            near[np.arange(len(columns)), columns] = (row[columns] + steps) % self.sizes[columns]
            found.append(near)
        return self.kept(_unique(self.domain.canonical(np.concatenate(found).astype(np.int16))))

    @cached_property
    def size(self) -> int:
        """Points of the space before genes are found not to exist: an upper bound."""
        return math.prod(int(size) for size in self.sizes)

    @cached_property
    def everything(self) -> Rows | None:
        """All feasible points, in the order of their genes; None where they are too many to list."""
        if self.size > LISTED_AT_LAST:
            return None
        rows = np.array(list(itertools.product(*(range(size) for size in self.sizes))), dtype=np.int16).reshape(-1, len(self.sizes))
        return self.kept(_unique(self.domain.canonical(rows)))

    @property
    def is_small(self) -> bool:
        return self.size <= LISTED

    # --- what they cost and how they look -----------------------------------------------------------------------------------------

    def costs(self, rows: Rows) -> tuple[Array, Array]:
        """Known costs as losses and their standard errors, over their range on the pool, logarithms where all are positive."""
        known = self.domain.costs(rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(self._is_log, known.std / np.abs(known.values), known.std)
        return self.scaled(known.values), np.asarray(relative / self._width)

    def scaled(self, values: Array) -> Array:
        """Values of the known objectives, (n, known), as losses over their range on the pool: 0 best, 1 worst."""
        return np.asarray((self._losses(values) - self._low) / self._width)

    def features(self, rows: Rows) -> Features:
        """What a Gaussian process sees of canonical rows: genes, descriptors and known costs, standardised on the pool."""
        offsets = np.concatenate([[0], np.cumsum(self.sizes + 1)[:-1]]).astype(np.int64)
        onehot = np.zeros((len(rows), int((self.sizes + 1).sum())))
        np.put_along_axis(onehot, offsets + rows + 1, 1.0, axis=1)
        return Features(onehot, (self._described(rows) - self._center) / self._spread)

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """The gene of each one-hot column; a gene's first column says that it does not exist."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes + 1)

    def _described(self, rows: Rows) -> Array:
        return np.column_stack([self.domain.descriptors(rows), self.scaled(self.domain.costs(rows).values)])

    def _losses(self, values: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(self._is_log, np.log(values), values) * self._signs)

    # --- the pool ---------------------------------------------------------------------------------------------------------------

    def _feasible_pool(self, rng: np.random.Generator) -> Rows:
        if self.is_small and self.everything is not None:
            found = self.everything
        else:
            rows = self.domain.canonical((rng.random((POOL, len(self.sizes))) * self.sizes).astype(np.int16))
            violation = self.domain.violation(rows)
            found = _unique(rows[violation == 0])
            if len(found) < FEWEST:
                found = self._sought(rows[np.argsort(violation, kind="stable")[:16]], found, rng)
        if not len(found):
            raise InfeasibleError("no point that meets the constraints was found", POOL, {})
        return found

    def _sought(self, nearest: Rows, found: Rows, rng: np.random.Generator) -> Rows:
        """Where few draws are feasible: descent on the violation from the nearest ones, then mutations of what it found."""
        reached = np.concatenate([self._descended(row[None], self.domain.violation) for row in nearest])
        found = _unique(np.concatenate([found, self.kept(reached)]))
        for _ in range(8):
            if not len(found) or len(found) >= FEWEST:
                break
            found = _unique(np.concatenate([found, self.mutants(found, 4 * FEWEST, rng)]))
        return found

    def _end(self, column: int, sign: float) -> Rows:
        """The feasible point with the smallest (sign 1) or largest value of a known cost that sweeps over the genes find, (1, genes)."""

        def loss(rows: Rows) -> Array:
            values = sign * self.domain.costs(rows).values[:, column]
            return np.where((self.domain.violation(rows) == 0) & np.isfinite(values), values, np.inf)

        return self._descended(self.pool[int(np.argmin(loss(self.pool)))][None], loss)

    def _descended(self, start: Rows, loss: Callable[[Rows], Array]) -> Rows:
        best = start
        for column in [*range(len(self.sizes))] * SWEEPS:
            tried = np.repeat(np.maximum(best, 0), self.sizes[column], axis=0)
            tried[:, column] = np.arange(self.sizes[column])
            tried = np.concatenate([best, self.domain.canonical(tried)])
            best = tried[int(np.argmin(loss(tried)))][None]
        return best


def _unique(rows: Rows) -> Rows:
    return np.unique(rows, axis=0) if len(rows) else rows
