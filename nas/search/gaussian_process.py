"""A Gaussian process over architectures: choices by weighted Hamming distance, descriptors by weighted squared distance.

    k(x, x') = u exp(-sum_j a_j [g_j != g'_j]) + v sum_j a_j [g_j = g'_j] / sum_j a_j + w exp(-sum_k b_k (d_k - d'_k)^2 / 2)

The first part is the categorical kernel of SMAC (Hutter et al. 2011, doi:10.1007/978-3-642-25566-3_40, section 4.1), which can tell any two
networks apart; the second is a sum of effects of single genes; the third says that networks with like descriptors have like accuracy.
The shares u, v and w add up to 1. Signal variance and mean have closed forms and are profiled out; the other parameters maximise the
marginal likelihood (Rasmussen & Williams 2006, equation 2.30) times a prior that keeps each near its start where the data say nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

__all__ = ["Features", "GaussianProcess", "Kernel", "default_kernel", "fit_kernel"]

Array = NDArray[np.float64]

PRIOR_STD = 1.0
"""Of the logarithm of each weight: a factor of e either way is one standard deviation, a factor of 10 takes evidence."""
SHARE_STD = 1.5
"""Of the logits of the three parts: any of them may be nearly all, or nearly nothing."""
NOISE_START, NOISE_STD = 0.05, 1.5
"""Noise variance over signal variance: an accuracy's own noise is a few per cent of the variance between networks; weakly held."""
NOISE_LEAST = 1e-4
STEPS = 40
"""Iterations of the optimiser at most."""


@dataclass(frozen=True, slots=True)
class Features:
    """Networks as the kernel sees them.

    Attributes:
        onehot: of the genes, inactive being a choice like any other, (n, sum of choices).
        descriptors: standardised, (n, d).
    """

    onehot: Array
    descriptors: Array

    def __getitem__(self, rows: NDArray[np.intp] | list[int] | slice) -> Features:
        return Features(self.onehot[rows], self.descriptors[rows])

    def __len__(self) -> int:
        return len(self.onehot)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Parameters of the kernel.

    Attributes:
        genes: a_j for each column of `Features.onehot` (a gene's columns share one), (sum of choices,).
        descriptors: b_k, (d,).
        share, additive: u and v.
        noise: variance of the noise over that of the signal.
    """

    genes: Array
    descriptors: Array
    share: float
    noise: float
    additive: float = 0.0

    def parts(self, left: Features, right: Features) -> tuple[Array, Array, Array]:
        """The three kernels before they are weighted, (n, m) each. A gene has exactly one 1 in a row."""
        equal = (left.onehot * self.genes) @ right.onehot.T
        total = float((left.onehot[:1] @ self.genes).sum()) if len(left) else 0.0
        choices = equal - total
        np.exp(np.minimum(choices, 0.0, out=choices), out=choices)
        equal /= max(total, 1e-12)
        a, b = left.descriptors * np.sqrt(self.descriptors), right.descriptors * np.sqrt(self.descriptors)
        like = a @ b.T
        like *= -2.0
        like += (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
        np.maximum(like, 0.0, out=like)
        like *= -0.5
        return choices, np.exp(like, out=like), equal

    def __call__(self, left: Features, right: Features) -> Array:
        """Correlation of the signal at two sets of networks, (n, m)."""
        choices, like, add = self.parts(left, right)
        choices *= self.share
        like *= 1.0 - self.share - self.additive
        add *= self.additive
        choices += like
        choices += add
        return choices


def default_kernel(groups: NDArray[np.intp], descriptors: int) -> Kernel:
    """Before there are data: two networks that differ in all genes or by one standard deviation in all descriptors are hardly alike.

    Args:
        groups: the gene of each one-hot column.
    """
    genes = int(groups.max()) + 1 if len(groups) else 0
    return Kernel(np.full(len(groups), 2.0 / max(1, genes)), np.full(descriptors, 1.0 / max(1, descriptors)), 1 / 3, NOISE_START, 1 / 3)


def fit_kernel(features: Features, values: Array, groups: NDArray[np.intp]) -> Kernel:
    """Parameters that maximise the posterior; deterministic, and from the same start whatever was fitted before."""
    start = default_kernel(groups, features.descriptors.shape[1])
    genes = int(groups.max()) + 1 if len(groups) else 0
    first = np.array([int(np.flatnonzero(groups == gene)[0]) for gene in range(genes)], dtype=np.intp)
    center = np.concatenate([np.log(start.genes[first]), np.log(start.descriptors), [0.0, 0.0, math.log(NOISE_START)]])
    spread = np.concatenate([np.full(len(center) - 3, PRIOR_STD), [SHARE_STD, SHARE_STD, NOISE_STD]])

    def unpack(point: Array) -> Kernel:
        weights = np.exp(point[:-3])
        e = np.exp([point[-2], point[-3], 0.0])
        e /= e.sum()
        return Kernel(weights[:genes][groups], weights[genes:], e[0], NOISE_LEAST + math.exp(point[-1]), e[1])

    def loss(point: Array) -> tuple[float, Array]:
        value, gradient = _negative_log_posterior(unpack(point), features, values, groups, genes)
        off = (point - center) / spread
        return value + 0.5 * float(off @ off), gradient + off / spread

    bounds = [(c - 4 * s, c + 4 * s) for c, s in zip(center, spread, strict=True)]
    found = minimize(loss, center, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return unpack(found.x)


def _negative_log_posterior(kernel: Kernel, features: Features, values: Array, groups: NDArray[np.intp], genes: int) -> tuple[float, Array]:
    """Profiled negative log marginal likelihood and its gradient by (log a, log b, logit w, log noise)."""
    n = len(values)
    choices, like, add = kernel.parts(features, features)
    rest = 1.0 - kernel.share - kernel.additive
    k = kernel.share * choices + rest * like + kernel.additive * add
    k[np.diag_indices(n)] += kernel.noise
    lower = cholesky(k, lower=True, check_finite=False)
    inverse = cho_solve((lower, True), np.eye(n), check_finite=False)
    log_det = 2.0 * float(np.log(np.diag(lower)).sum())
    ones = inverse.sum(axis=1)
    mean = float(ones @ values) / float(ones.sum())
    residual = values - mean
    alpha = inverse @ residual
    signal = max(float(residual @ alpha) / n, 1e-12)
    value = 0.5 * (n * math.log(signal) + log_det)
    # d value = 1/2 tr((K^-1 - alpha alpha' / signal) dK): the profiled parameters contribute nothing at their optimum.
    outer = 0.5 * (inverse - np.outer(alpha, alpha) / signal)
    by_choices = outer * choices * kernel.share
    same = ((by_choices @ features.onehot) * features.onehot).sum(axis=0)
    by_gene = np.bincount(groups, same, minlength=genes) if genes else np.zeros(0)
    weights = np.zeros(genes)
    weights[groups] = kernel.genes
    gene_gradient = -(by_choices.sum() - by_gene) * weights
    total = max(weights.sum(), 1e-12)
    same = ((outer @ features.onehot) * features.onehot).sum(axis=0)
    by_gene = np.bincount(groups, same, minlength=genes) if genes else np.zeros(0)
    gene_gradient = gene_gradient + kernel.additive * weights / total * (by_gene - float((outer * add).sum()))
    by_like = outer * like * rest
    d = features.descriptors
    squares = 2.0 * (by_like.sum(axis=1) @ d**2) - 2.0 * ((by_like @ d) * d).sum(axis=0)
    descriptor_gradient = -0.5 * squares * kernel.descriptors
    t = np.array([float((outer * x).sum()) for x in (choices, add, like)])
    w = np.array([kernel.share, kernel.additive, rest])
    g = w * (t - w @ t)
    noise_gradient = float(np.trace(outer)) * (kernel.noise - NOISE_LEAST)
    return value, np.concatenate([gene_gradient, descriptor_gradient, [g[1], g[0], noise_gradient]])


class GaussianProcess:
    """The posterior of a kernel given values. Immutable.

    Args:
        values: (n,), any scale.
    """

    def __init__(self, kernel: Kernel, features: Features, values: Array) -> None:
        n = len(values)
        self.kernel, self._features = kernel, features
        k = kernel(features, features)
        k[np.diag_indices(n)] += kernel.noise
        self._lower = cholesky(k, lower=True, check_finite=False)
        weights = cho_solve((self._lower, True), np.stack([values, np.ones(n)], axis=1), check_finite=False)
        self._mean = float(weights[:, 0].sum() / weights[:, 1].sum())
        self._alpha = weights[:, 0] - self._mean * weights[:, 1]
        # With few values the sample says little of the variance: one value of variance 1 is added, the scale of normal scores.
        self._signal = (float((values - self._mean) @ self._alpha) + 1.0) / (n + 1)

    def mean(self, features: Features) -> Array:
        """Mean of the signal, (m,): much cheaper than `predict`."""
        return np.asarray(self._mean + self.kernel(features, self._features) @ self._alpha)

    def predict(self, features: Features) -> tuple[Array, Array]:
        """Mean and standard deviation of the signal, without the noise of an evaluation, (m,) each."""
        cross = self.kernel(features, self._features)
        mean = self._mean + cross @ self._alpha
        solved = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        variance = self._signal * np.maximum(1.0 - (solved**2).sum(axis=0), 1e-6)
        return mean, np.sqrt(variance)
