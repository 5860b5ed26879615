"""How well a predictor does on networks that its fit has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.errors import InputError, MissingExtraError
from nas.hardware.features import FEATURES
from nas.hardware.fitting import FEWEST_ROWS, fit
from nas.hardware.predictor import LatencyPredictor

__all__ = ["Evaluation", "cross_validate", "predict_features"]

_FOLDS = 10


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measured and predicted latencies of the same networks, seconds, each (n,)."""

    measured_s: NDArray[np.float64]
    predicted_s: NDArray[np.float64]
    low_s: NDArray[np.float64]
    high_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.measured_s, self.predicted_s, self.low_s, self.high_s)}
        if len(shapes) != 1 or self.measured_s.ndim != 1:
            raise InputError(f"an evaluation needs four arrays of one length, got {sorted(shapes)}")
        if not ((self.measured_s > 0).all() and (self.low_s <= self.predicted_s).all() and (self.predicted_s <= self.high_s).all()):
            raise InputError("an evaluation needs positive measurements, and bands that hold their predictions")

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Whether the band holds the measurement, (n,)."""
        return (self.low_s <= self.measured_s) & (self.measured_s <= self.high_s)

    def within(self, share: float) -> float:
        """Share of the networks whose prediction is at most that far from the measurement, relative."""
        return float(np.mean(np.abs(self.predicted_s / self.measured_s - 1.0) <= share))

    def summary(self) -> dict[str, float | None]:
        """mape, within_5_percent, within_10_percent, spearman, kendall, band_coverage, band_half_width (relative, median). The correlations
        are None where all measured or all predicted latencies are equal: nothing is ranked.
        """
        try:
            from scipy.stats import kendalltau, spearmanr
        except ModuleNotFoundError as exc:
            raise MissingExtraError("scipy", "search") from exc
        is_ranked = min(np.ptp(self.measured_s), np.ptp(self.predicted_s)) > 0
        return {
            "mape": float(np.mean(np.abs(self.predicted_s / self.measured_s - 1.0))),
            "within_5_percent": self.within(0.05),
            "within_10_percent": self.within(0.10),
            "spearman": float(spearmanr(self.predicted_s, self.measured_s).statistic) if is_ranked else None,
            "kendall": float(kendalltau(self.predicted_s, self.measured_s).statistic) if is_ranked else None,
            "band_coverage": float(self.covered.mean()),
            "band_half_width": float(np.median(self.high_s / self.predicted_s - 1.0)),
        }


def predict_features(
    predictor: LatencyPredictor, features: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Value, low and high, seconds, each (n,), of networks inside the range given as their features (n, n_features)."""
    linear = None if predictor.correction is None else features @ np.array(predictor.correction.weights)
    return predictor.band(features @ np.array(predictor.coefficients), np.zeros(len(features)), predictor.threads, linear)


def cross_validate(features: NDArray[np.float64], latency_s: NDArray[np.float64], prior: LatencyPredictor) -> Evaluation:
    """Each network predicted, band included, by a whole fit (its own choices of ridge and correction too) without its fold of ten.

    Args:
        features: (n, n_features), of networks.
        latency_s: (n,), measured, seconds.

    Raises:
        InputError: fewer rows than leave enough for a fit.
    """
    n = len(latency_s)
    if n <= FEWEST_ROWS or features.shape != (n, len(FEATURES)):
        raise InputError(f"an evaluation needs at least {FEWEST_ROWS + 1} measured networks, got {n}: nas measure adds some")
    folds = np.arange(n) % min(_FOLDS, n)
    predicted = np.zeros((3, n))
    for fold in np.unique(folds):
        held = folds == fold
        predicted[:, held] = predict_features(fit(features[~held], latency_s[~held], prior, ()), features[held])
    return Evaluation(np.asarray(latency_s), *predicted)
