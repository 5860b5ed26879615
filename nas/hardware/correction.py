"""What the additive model gets wrong in the same way for all networks with more of something: a Gaussian process on its log residuals.

Its kernel is linear in the standardised features, so its posterior mean is a weight a feature and a constant: it folds into the block
table as the additive model does, and a file of it holds a handful of numbers. A squared-exponential kernel beside the linear one was
no better on any held-out device (`nas.bench.predictor`), and could not be folded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.errors import ProfileError
from nas.hardware.features import FEATURES

__all__ = ["Correction", "fit_correction"]

# Noise over signal variance. They are averaged by marginal likelihood: with ten networks the best one alone is a lottery.
_NOISES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
_WINSOR = 3.0  # robust standard deviations of the residuals: labels beyond it teach no more than it


@dataclass(frozen=True, slots=True)
class Correction:
    """log(latency / additive model) as a linear function of the features.

    Attributes:
        intercept: of features that are all 0.
        weights: (n_features,), per unit.
        limit: largest absolute value on the measured networks; it never goes beyond.
    """

    intercept: float
    weights: tuple[float, ...]
    limit: float

    def __post_init__(self) -> None:
        if len(self.weights) != len(FEATURES):
            raise ProfileError(f"a correction has {len(FEATURES)} weights, got {len(self.weights)}")
        if not all(map(math.isfinite, (self.intercept, *self.weights))):
            raise ProfileError("a correction's intercept and weights must be finite numbers")
        if not (math.isfinite(self.limit) and 0 <= self.limit <= 2):
            raise ProfileError(f"a correction's limit must be 0 to 2, got {self.limit}")

    def log_factor(self, linear: NDArray[np.float64]) -> NDArray[np.float64]:
        """The log of the factor, (n,), from features @ weights, (n,), of networks inside the range."""
        return np.clip(self.intercept + linear, -self.limit, self.limit)


def fit_correction(features: NDArray[np.float64], log_ratio: NDArray[np.float64]) -> Correction:
    """Posterior mean of a Gaussian process with kernel 1 + z z' / d on log residuals, averaged over noise levels.

    Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, ch. 2 and 5; the signal's variance is integrated out at its
    most likely value.

    Args:
        features: (n, n_features), of measured networks.
        log_ratio: (n,), log(measured / additive model).
    """
    n = len(log_ratio)
    spread = _WINSOR * (1.4826 * float(np.median(np.abs(log_ratio))) + 1e-9)
    target = np.clip(log_ratio, -spread, spread)
    middle, width = features.mean(axis=0), features.std(axis=0)
    varies = width > 1e-9 * np.abs(middle)
    width = np.where(varies, width, 1.0)
    standard = np.where(varies, (features - middle) / width, 0.0)
    dimensions = max(int(varies.sum()), 1)
    values, vectors = np.linalg.eigh(1.0 + standard @ standard.T / dimensions)
    projected = vectors.T @ target
    likelihoods, alphas = [], []
    for noise in _NOISES:
        variances = np.maximum(values, 0.0) + noise
        amplitude = float((projected**2 / variances).mean()) + 1e-30
        likelihoods.append(-0.5 * (n * math.log(amplitude) + float(np.log(variances).sum())))
        alphas.append(vectors @ (projected / variances))
    share = np.exp(np.array(likelihoods) - max(likelihoods))
    alpha = (share / share.sum()) @ np.array(alphas)  # (n,)
    weights = np.where(varies, standard.T @ alpha / dimensions / width, 0.0)
    intercept = float(alpha.sum() - middle @ weights)
    limit = float(np.abs(intercept + features @ weights).max())
    return Correction(intercept, tuple(map(float, weights)), min(limit, 2.0))
