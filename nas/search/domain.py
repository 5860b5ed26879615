"""What a sampler may ask about points it has not paid for: which exist, which are allowed, what they cost, what describes them.

Points are integer rows: the index of each gene's choice, -1 where the gene does not exist. A whole pool is asked about at once.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from nas.errors import InputError, StudyError

__all__ = ["Array", "Domain", "Function", "KnownCosts", "ParamDomain", "Rows"]

Rows = NDArray[np.int16]
Array = NDArray[np.float64]
Params = Mapping[str, Any]
Function = Callable[[Params], float | tuple[float, float]]

LEVELS = 32
"""Values that a float or a long integer range is cut into: finer ones differ by less than what a Gaussian process tells apart."""
REMEMBERED = 200_000
"""Points whose costs are kept, about 50 MB; beyond it they are computed again."""


@dataclass(frozen=True, slots=True)
class KnownCosts:
    """Costs that need no evaluation.

    Attributes:
        values: (n, known objectives), as the study's objectives are told; NaN where a point has none and cannot be asked for.
        std: one standard error of each, same units, (n, known objectives); 0 where it is exact.
    """

    values: Array
    std: Array


class Domain(Protocol):
    """The points that can be asked for.

    Attributes:
        names: of the parameters.
        sizes: how many choices each gene has.
        known: for each known cost, which objective of the study it is.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    known: tuple[int, ...]

    def canonical(self, rows: Rows) -> Rows:
        """Rows with -1 for genes that do not exist in them; equal points become equal rows."""
        ...

    def violation(self, rows: Rows) -> Array:
        """By how much canonical rows break the constraints that are free to check, (n,): 0 where they meet all, inf where unusable."""
        ...

    def costs(self, rows: Rows) -> KnownCosts:
        """Of canonical rows."""
        ...

    def descriptors(self, rows: Rows) -> Array:
        """Numbers that describe canonical rows to a model, besides the genes and the known costs, (n, d)."""
        ...

    def row(self, params: Params) -> Rows:
        """The canonical row of a trial's parameters, (genes,).

        Raises:
            StudyError: they are not of this domain.
        """
        ...

    def params(self, row: Rows) -> dict[str, Any]:
        """A value for every parameter, of genes that do not exist too."""
        ...


class ParamDomain:
    """A domain of Optuna distributions and plain functions of the parameters.

    Args:
        space: distribution of every parameter. Floats and integer ranges of more than 32 values are cut into 32 levels.
        costs: by index of the objective, a function of the parameters that gives its value, or value and standard error. One that raises
            or gives no finite number says that the point cannot be used; that is said once, with a count.
        constraints: functions of the parameters, <= 0 where the constraint is met.
        canonical: the parameters that matter, given all; without it all matter. Points that differ in others only are one point.
        descriptors: numbers that describe a point to the model, always as many.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        costs: Mapping[int, Function] | None = None,
        constraints: Sequence[Callable[[Params], float]] = (),
        canonical: Callable[[Params], Params] | None = None,
        descriptors: Callable[[Params], Sequence[float]] | None = None,
    ) -> None:
        self.names = tuple(space)
        self._choices = tuple(_choices(name, distribution) for name, distribution in space.items())
        self._floats = frozenset(
            name for name, distribution in space.items() if isinstance(distribution, FloatDistribution | IntDistribution)
        )
        self.sizes = tuple(len(choices) for choices in self._choices)
        ordered = sorted((costs or {}).items())
        self.known = tuple(objective for objective, _ in ordered)
        self._functions = tuple(function for _, function in ordered)
        self._constraints, self._canonical, self._descriptors = tuple(constraints), canonical, descriptors
        self._seen: dict[bytes, tuple[list[float], list[float], float]] = {}
        self._refused: tuple[int, str] = (0, "")
        self._is_said = False

    def canonical(self, rows: Rows) -> Rows:
        """See `Domain.canonical`."""
        if self._canonical is None:
            return rows
        found = rows.copy()
        for row in found:
            kept = self._canonical(self.params(row))
            for column, name in enumerate(self.names):
                row[column] = self._index(column, kept[name]) if name in kept else -1
        return found

    def violation(self, rows: Rows) -> Array:
        """See `Domain.violation`."""
        found = np.array([self._look(row)[2] for row in rows], dtype=np.float64)
        if self._refused[0] and not self._is_said:
            self._is_said = True
            count, example = self._refused
            warnings.warn(
                f"costs or constraints of {count} of the first {len(rows)} points are no finite numbers ({example}): "
                "such points count as infeasible",
                stacklevel=2,
            )
        return found

    def costs(self, rows: Rows) -> KnownCosts:
        """See `Domain.costs`."""
        found = [self._look(row) for row in rows]
        shape = (len(rows), len(self.known))
        return KnownCosts(np.array([f[0] for f in found]).reshape(shape), np.array([f[1] for f in found]).reshape(shape))

    def descriptors(self, rows: Rows) -> Array:
        """Place of each number in its range, 0..1 (-1 where it does not exist), then what `descriptors` gives."""
        numeric = [column for column, name in enumerate(self.names) if name in self._floats]
        places = np.where(rows >= 0, rows / np.maximum(np.array(self.sizes) - 1, 1), -1.0)[:, numeric]
        if self._descriptors is None:
            return np.asarray(places, dtype=np.float64)
        given = [list(self._descriptors(self._active(row))) for row in rows]
        return np.column_stack([places, np.array(given, dtype=np.float64).reshape(len(rows), -1)])

    def row(self, params: Params) -> Rows:
        """See `Domain.row`."""
        if set(params) != set(self.names):
            raise StudyError(f"the study has parameters {', '.join(sorted(params))}, the sampler {', '.join(sorted(self.names))}")
        row = np.array([self._index(column, params[name]) for column, name in enumerate(self.names)], dtype=np.int16)
        found: Rows = self.canonical(row[None])[0]
        return found

    def params(self, row: Rows) -> dict[str, Any]:
        """See `Domain.params`."""
        return {name: choices[max(int(i), 0)] for name, choices, i in zip(self.names, self._choices, row, strict=True)}

    def _active(self, row: Rows) -> dict[str, Any]:
        return {name: choices[int(i)] for name, choices, i in zip(self.names, self._choices, row, strict=True) if i >= 0}

    def _index(self, column: int, value: Any) -> int:
        choices = self._choices[column]
        if self.names[column] in self._floats:
            low, high = min(choices), max(choices)
            if not low - 1e-9 * abs(low) <= value <= high + 1e-9 * abs(high):
                raise StudyError(f"the study has {self.names[column]} {value!r}, the sampler's range is {low:g} to {high:g}")
            return int(np.argmin(np.abs(np.array(choices, dtype=np.float64) - value)))
        if value not in choices:
            raise StudyError(f"the study has {self.names[column]} {value!r}, the sampler's choices are {', '.join(map(str, choices))}")
        return choices.index(value)

    def _look(self, row: Rows) -> tuple[list[float], list[float], float]:
        key = row.tobytes()
        found = self._seen.get(key)
        if found is None:
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            found = self._seen[key] = self._compute(self._active(row))
        return found

    def _compute(self, params: dict[str, Any]) -> tuple[list[float], list[float], float]:
        values, errors = [], []
        try:
            for function in self._functions:
                given = function(params)
                value, std = given if isinstance(given, tuple) else (given, 0.0)
                values.append(float(value))
                errors.append(float(std))
            slacks = [float(constraint(params)) for constraint in self._constraints]
        except Exception as exc:  # a user's function may raise anything
            return self._refuse(f"{type(exc).__name__}: {exc}")
        if not all(math.isfinite(number) for number in (*values, *errors, *slacks)) or min(errors, default=0.0) < 0:
            return self._refuse(f"values {values}, standard errors {errors}, constraints {slacks}")
        return values, errors, max(0.0, *slacks) if slacks else 0.0

    def _refuse(self, reason: str) -> tuple[list[float], list[float], float]:
        self._refused = (self._refused[0] + 1, self._refused[1] or reason)
        return [math.nan] * len(self.known), [0.0] * len(self.known), math.inf


def _choices(name: str, distribution: BaseDistribution) -> tuple[Any, ...]:
    """The values of a parameter that can be asked for, from small to large."""
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    if isinstance(distribution, IntDistribution):
        values = range(distribution.low, distribution.high + 1, distribution.step)
        if len(values) <= LEVELS:
            return tuple(values)
        spaced = np.geomspace if distribution.log else np.linspace
        rounded = {round((v - distribution.low) / distribution.step) for v in spaced(distribution.low, distribution.high, LEVELS)}
        return tuple(distribution.low + distribution.step * step for step in sorted(rounded))
    if isinstance(distribution, FloatDistribution):
        if distribution.step is not None:
            count = math.floor((distribution.high - distribution.low) / distribution.step + 1e-9) + 1
            steps = range(count) if count <= LEVELS else sorted({round(s) for s in np.linspace(0, count - 1, LEVELS)})
            return tuple(distribution.low + distribution.step * step for step in steps)
        spaced = np.geomspace if distribution.log else np.linspace
        return tuple(
            dict.fromkeys(
                float(v) for v in np.clip(spaced(distribution.low, distribution.high, LEVELS), distribution.low, distribution.high)
            )
        )
    raise InputError(f"parameter {name}: {type(distribution).__name__} is no distribution that can be sampled from")
