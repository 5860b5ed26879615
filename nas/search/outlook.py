"""What evaluating a point would be worth: models of the objectives that are not known, the front so far, and the gain to expect.

Modelled objectives are turned into normal scores of their ranks before a Gaussian process sees them (Gaussian copula; Salinas et al. 2020,
arXiv:1909.13595): neither their scale nor the tail of bad points matters then, and the front is measured on those scores.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from nas.search import pareto
from nas.search.domain import Array, Rows
from nas.search.gaussian_process import Features, GaussianProcess, Kernel, default_kernel, fit_kernel
from nas.search.ground import Ground
from nas.search.improvement import Front, shortfall

__all__ = ["Evidence", "Kernels", "Outlook", "normal_scores"]

TRAINED = 256
"""Points a Gaussian process is given at most: half nearest the front, half spread over the rest. Its cost grows with the square."""
LOOKED_AT = 512
"""Evaluated points at most, the nearest to the front, of which the model's word is asked: the front by expected losses is among them."""
FITTED = 160
"""Points that a kernel is fitted on at most: more hardly move a dozen of parameters."""
FIRST_FIT, REFIT = 8, 1.15
"""Numbers of points at which the kernel is fitted: a seventh more data hardly moves its parameters."""
REFERENCE = 0.9
"""Quantile of the losses seen that is the reference of a modelled objective: the worst tenth is of no interest and moves nothing."""
MARGIN = 0.1
"""How far the reference of a cost lies beyond its range, so that its ends count (Ishibuchi et al. 2018, doi:10.1162/evco_a_00226)."""
NODES = 4
"""Draws over uncertain costs, stratified: the gain is nearly linear in a cost within its error."""
CAUTION = 2.0
"""Factor on the standard deviation of a modelled objective when a gain is expected. A kernel fitted to few points believes too much of
what it has seen, all the more as points were chosen where it hoped, and expected improvement then stays where it is (Bull 2011,
arXiv:1101.3501: with estimated parameters it may never converge). Chosen among 1, 1.5, 2 and 2.5 on the problems P1 and P3 of
`nas bench search`, which are development problems for that reason; P2 had no part in it."""
EXACT = 1e-6
"""Relative difference up to which a told cost is the known one: the same number, saved and read again."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the study holds, in order of trial numbers.

    Attributes:
        rows: evaluated points, (n, genes).
        losses: objectives of each as told, but minimised, (n, objectives).
        pending: points under evaluation, (p, genes).
        barred: points that failed, (b, genes).
    """

    rows: Rows
    losses: Array
    pending: Rows
    barred: Rows


def normal_scores(values: Array) -> Array:
    """Normal quantiles of the ranks of values (n,); ties share one."""
    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)))


def cost_scores(values: Array) -> Array:
    """Standardised logarithms of positive values (n,): ratios count, as for costs that are known."""
    logs = np.log(values)
    return np.asarray((logs - logs.mean()) / max(float(logs.std()), 1e-12))


class Kernels:
    """Fitted kernels, kept while they serve: each is a pure function of the first so many points of a study."""

    MOST = 8

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._kept: OrderedDict[bytes, Kernel] = OrderedDict()

    def default(self) -> Kernel:
        return default_kernel(self._ground.groups, self._ground.features(self._ground.pool[:1]).descriptors.shape[1])

    def fitted(self, rows: Rows, losses: Array) -> Kernel:
        """For losses (n,) at rows (n, genes)."""
        if len(rows) < FIRST_FIT:
            return self.default()
        count = int(FIRST_FIT * REFIT ** math.floor(math.log(len(rows) / FIRST_FIT) / math.log(REFIT) + 1e-9) + 1e-9)
        rows, losses = rows[:count], losses[:count]
        key = hashlib.sha256(rows.tobytes() + losses.tobytes()).digest()
        if key not in self._kept:
            some = np.unique(np.linspace(0, count - 1, min(count, FITTED)).round().astype(int))
            self._kept[key] = fit_kernel(self._ground.features(rows[some]), normal_scores(losses)[some], self._ground.groups)
        self._kept.move_to_end(key)
        while len(self._kept) > self.MOST:
            self._kept.popitem(last=False)
        return self._kept[key]


class _Modelled:
    """An objective that only evaluations tell: two Gaussian processes over its normal scores, one with a fitted kernel, one with the kernel
    that nothing was fitted for. The first is sharper; the second has written no region off, so their mean keeps looking everywhere.

    Pending points count as evaluated with their expected value (Ginsbourger et al. 2010, doi:10.1007/978-3-642-10701-6_6, section 4.1).

    Args:
        chosen: evaluated points that the models are given.
        features: of those, then of the pending ones.
    """

    def __init__(
        self, kernels: Kernels, evidence: Evidence, losses: Array, features: Features, chosen: NDArray[np.intp], *, is_cost: bool,
        worst: float | None = None,
    ) -> None:  # fmt: skip
        told, pending = features[: len(chosen)], features[len(chosen) :]
        scores = cost_scores(losses) if is_cost else normal_scores(losses)
        self.reference = float(scores.max() + MARGIN * np.ptp(scores)) if is_cost else float(np.quantile(scores, REFERENCE))
        if worst is not None and (losses <= worst).any():
            self.reference = min(self.reference, float(scores[losses <= worst].max()))
        self.models = []
        for kernel in (kernels.fitted(evidence.rows, losses), kernels.default()):
            model = GaussianProcess(kernel, told, scores[chosen])
            if len(pending):
                model = GaussianProcess(kernel, features, np.concatenate([scores[chosen], model.mean(pending)]))
            self.models.append(model)

    def mean(self, features: Features) -> Array:
        """Of the mixture, (n,)."""
        return np.asarray(np.mean([model.mean(features) for model in self.models], axis=0))

    def predict(self, features: Features) -> tuple[Array, Array]:
        """Mean and standard deviation of the mixture."""
        means, stds = zip(*(model.predict(features) for model in self.models), strict=True)
        mean = np.mean(means, axis=0)
        return mean, np.sqrt(np.mean([std**2 + (m - mean) ** 2 for m, std in zip(means, stds, strict=True)], axis=0))


class Outlook:
    """The front so far and what new points would add.

    Args:
        signs: of each objective, 1 where it is minimised, -1 where it is maximised.
        rng: for draws over uncertain costs.
        worst: largest loss of the first modelled objective that counts; None where any may. It waits until a point reaches it.

    Attributes:
        members: rows of the front, pending points included, (m, genes).
        volume: of the front, in the units of `gain`.
    """

    def __init__(
        self, ground: Ground, kernels: Kernels, evidence: Evidence, signs: Array, rng: np.random.Generator, worst: float | None = None
    ) -> None:
        self._ground = ground
        known = np.array(ground.domain.known, dtype=np.intp)
        unknown = [column for column in range(len(signs)) if column not in ground.domain.known]
        self._correction = _Correction(ground, kernels, evidence, ground.scaled(evidence.losses[:, known] * signs[known]))
        nearest = _nearest(self._correction.costs, evidence.losses[:, unknown[0]] if unknown else np.zeros(len(evidence.rows)))
        chosen = _chosen(nearest)
        features = ground.features(np.concatenate([evidence.rows[chosen], evidence.pending]))
        # The first is the dear one; others that are minimised and positive are costs that have to be learned.
        are_costs = [column != unknown[0] and signs[column] > 0 and bool((evidence.losses[:, column] > 0).all()) for column in unknown]
        modelled = [
            _Modelled(
                kernels, evidence, evidence.losses[:, column], features, chosen, is_cost=is_cost,
                worst=worst if column == unknown[0] else None,
            )
            for column, is_cost in zip(unknown, are_costs, strict=True)
        ]  # fmt: skip
        self._loss, self._others = (modelled[0] if modelled else None), modelled[1:]
        looked_at = np.sort(nearest[:LOOKED_AT])
        rows = np.concatenate([evidence.rows[looked_at], evidence.pending])
        features = ground.features(rows)
        pending = self._correction.at(evidence.pending, features[len(looked_at) :])
        costs = np.concatenate([self._correction.costs[looked_at], pending[0]])
        costs_std = np.concatenate([self._correction.std[looked_at], pending[1]])
        for other in self._others:
            mean, std = other.predict(features)
            is_told = np.arange(len(rows)) < len(looked_at)
            costs, costs_std = np.column_stack([costs, mean]), np.column_stack([costs_std, np.where(is_told, 0.0, std)])
        top = [1.0 + MARGIN] * len(known) + [other.reference for other in self._others]
        if self._loss is not None:
            # Expected, not told: a lucky evaluation would hide what lies behind it.
            losses, reference = self._loss.mean(features), np.array([self._loss.reference, *top])
        else:
            losses, costs, costs_std, reference = costs[:, 0], costs[:, 1:], costs_std[:, 1:], np.array(top)
        self.volume = pareto.hypervolume(np.column_stack([losses, costs]), list(reference))
        self.members = rows[pareto.front(np.column_stack([losses, costs]))]
        self._fronts = []
        is_uncertain = bool(costs_std.any() or self._correction.is_uncertain or self._others)
        self._nodes = _nodes(costs.shape[1], rng) if is_uncertain else np.zeros((1, costs.shape[1]))
        for _ in self._nodes:
            drawn = costs + costs_std * rng.standard_normal(costs.shape) if len(self._nodes) > 1 else costs
            self._fronts.append(Front(losses, drawn, reference))

    def gain(self, rows: Rows, caution: float = CAUTION) -> Array:
        """Expected hypervolume improvement of points, (n,): over normal scores of modelled objectives times ranges of known ones.

        Args:
            caution: factor on the standard deviation of the modelled loss.
        """
        features = self._ground.features(rows)
        costs, stds = self._correction.at(rows, features)
        for other in self._others:
            mean, std = other.predict(features)
            costs, stds = np.column_stack([costs, mean]), np.column_stack([stds, std])
        if self._loss is None:
            predictions = [(costs[:, 0], np.maximum(stds[:, 0], 1e-9))]
            costs, stds = costs[:, 1:], stds[:, 1:]
        else:
            predictions = [(mean, caution * std) for mean, std in (model.predict(features) for model in self._loss.models)]
        total = np.zeros(len(rows))
        for node, front in zip(self._nodes, self._fronts, strict=True):
            expected = sum(shortfall(front.levels, mean, std) for mean, std in predictions)
            total += front.gain(np.asarray(expected), costs + stds * node)
        return total / (len(self._nodes) * len(predictions))


class _Correction:
    """Known costs as far as they can be known: where a study tells others than the function says, what it told is right, and a Gaussian
    process learns the difference for all other points; where it tells the same, told costs are as uncertain as all.

    Args:
        told: scaled, (n, known).

    Attributes:
        costs, std: of evaluated points, (n, known).
    """

    def __init__(self, ground: Ground, kernels: Kernels, evidence: Evidence, told: Array) -> None:
        self._ground = ground
        said, std = ground.costs(evidence.rows)
        told = np.where(np.isfinite(told), told, said)
        difference = told - said
        is_right = np.abs(difference).max(axis=0, initial=0.0) > EXACT
        self.is_uncertain = bool(std.any() or is_right.any())
        self.costs, self.std = np.where(is_right, told, said), np.where(is_right, 0.0, std)
        self._models: dict[int, tuple[GaussianProcess, float]] = {}
        if not is_right.any():
            return
        some = np.unique(np.linspace(0, len(told) - 1, min(len(told), TRAINED)).round().astype(int))
        features = ground.features(evidence.rows[some])
        for column in np.flatnonzero(is_right):
            scale = float(np.sqrt(np.mean(difference[:, column] ** 2)))
            self._models[int(column)] = GaussianProcess(kernels.default(), features, difference[some, column] / scale), scale

    def at(self, rows: Rows, features: Features) -> tuple[Array, Array]:
        """Costs and standard errors of any points, over their range."""
        costs, std = self._ground.costs(rows)
        for column, (model, scale) in self._models.items():
            mean, error = model.predict(features)
            costs[:, column] += scale * mean
            std[:, column] = scale * error
        return costs, std


def _nearest(costs: Array, losses: Array) -> NDArray[np.intp]:
    """Evaluated points by how much better the best is that costs no more: first those on the front."""
    scores = normal_scores(losses) if len(losses) else losses
    best = pareto.front(np.column_stack([scores, costs]))
    at_most = (costs[:, None] >= costs[None, best]).all(axis=2)
    gap = scores - np.min(np.where(at_most, scores[None, best], np.inf), axis=1, initial=np.inf)
    return np.argsort(gap, kind="stable")


def _chosen(nearest: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which evaluated points a model is given."""
    if len(nearest) <= TRAINED:
        return np.arange(len(nearest))
    near, rest = nearest[: TRAINED // 2], np.sort(nearest[TRAINED // 2 :])
    spread = rest[np.linspace(0, len(rest) - 1, TRAINED - TRAINED // 2).round().astype(int)]
    return np.sort(np.concatenate([near, spread]))


def _nodes(dimensions: int, rng: np.random.Generator) -> Array:
    """Normal draws, (NODES, dimensions), stratified in each dimension."""
    strata = ndtri((np.arange(NODES) + 0.5) / NODES)
    return np.array([rng.permutation(strata) for _ in range(dimensions)]).reshape(dimensions, NODES).T
