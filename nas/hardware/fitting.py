"""Fits a `LatencyPredictor` to measured latencies: non-negative least squares, pulled toward what was known before."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.architecture import BlockSpec
from nas.errors import InputError, MissingExtraError
from nas.hardware.features import FEATURES, block_shape
from nas.hardware.predictor import LatencyPredictor, Origin

__all__ = ["fit", "out_of_fold", "shape_ranges"]

# Operators that no measurement had behave like these: how well kernels use the multipliers, and what dispatch costs, are the runtime's.
# What is bound by memory (bytes) or by the vector units (activations) has none: bandwidth and clock are facts of the chip.
_LIKE = {
    "macs_stem": "macs_pointwise",
    "macs_grouped": "macs_pointwise",
    "macs_depthwise3": "macs_depthwise5",
    "macs_depthwise5": "macs_depthwise3",
    "macs_depthwise7": "macs_depthwise5",
    "macs_se": "macs_pointwise",
    "macs_linear": "macs_pointwise",
    "count_shuffle": "count_conv",
    "count_se": "count_conv",
    "count_head": "count_conv",
}
_RIDGES = (5e-6, 5e-5, 5e-4, 5e-3, 5e-2)  # per row, in relative units
# No coefficient falls below this share of its scaled prior: an operator is never free.
_FLOOR = 0.3
# Share of a coefficient that the data (not the prior) decide, from which on it counts as fitted.
_IDENTIFIED = 0.5
_COVERAGE = 0.9
_WORST_RATIO = 0.1


def shape_ranges(networks: Iterable[Sequence[BlockSpec]]) -> tuple[tuple[str, float, float], ...]:
    """(name, low, high) of `features.block_shape` over all blocks of measured networks."""
    seen: dict[str, list[int]] = {}
    for blocks in networks:
        for block in blocks:
            for name, value in block_shape(block).items():
                seen.setdefault(name, []).append(value)
    return tuple((name, float(min(values)), float(max(values))) for name, values in sorted(seen.items()))


def fit(
    features: NDArray[np.float64],
    latency_s: NDArray[np.float64],
    prior: LatencyPredictor,
    ranges: tuple[tuple[str, float, float], ...],
    groups: NDArray[np.intp] | None = None,
    source: str = "",
    licence: str = "",
) -> LatencyPredictor:
    """Non-negative least squares on relative errors, with a ridge toward the prior's coefficients times one scale.

    The ridge is chosen by cross-validation over `groups`; its out-of-fold log residuals give the conformal 90 % band
    (Vovk et al. 2005, Algorithmic Learning in a Random World). A coefficient counts as fitted when the diagonal of the model
    resolution matrix (Menke 1989, Geophysical Data Analysis, ch. 4) is at least a half.

    Args:
        features: (n, n_features), of networks, or of differences between networks.
        latency_s: (n,), measured, seconds, of the same.
        prior: what was known before; gives threads and speed-up too.
        ranges: of the measured blocks, from `shape_ranges`.
        groups: (n,), rows that are left out together; ten interleaved folds (or one a row) by default.

    Raises:
        InputError: fewer than 4 rows, shapes that do not fit, latencies that are not positive.
    """
    features, latency_s = np.asarray(features, dtype=np.float64), np.asarray(latency_s, dtype=np.float64)
    n = len(latency_s)
    if n < 4 or features.shape != (n, len(FEATURES)):
        raise InputError(f"a fit needs at least 4 rows of {len(FEATURES)} features, got {features.shape} for {n} latencies")
    if not (np.isfinite(latency_s).all() and (latency_s > 0).all()):
        raise InputError(f"measured latencies must be positive, got {latency_s.min()}")
    folds = np.arange(n) % min(10, n) if groups is None else np.asarray(groups)
    residuals = {ridge: out_of_fold(features, latency_s, prior, folds, ridge) for ridge in _RIDGES}
    ridge = min(_RIDGES, key=lambda ridge: float(np.abs(residuals[ridge]).mean()))
    coefficients, identified = _solve(features, latency_s, np.array(prior.coefficients), ridge)
    errors = np.abs(residuals[ridge])
    origins: tuple[Origin, ...] = tuple("fitted" if known else "chip" for known in identified)
    return dataclasses.replace(
        prior,
        coefficients=tuple(map(float, coefficients)),
        origins=origins,
        half_width=_conformal(errors),
        ranges=ranges,
        unseen=tuple(name for name, column in zip(FEATURES, features.T, strict=True) if not column.any()),
        measurements=n,
        quality=(
            ("out_of_fold_mape", float(np.abs(np.expm1(residuals[ridge])).mean())),
            ("in_fold_mape", float(np.abs(features @ coefficients / latency_s - 1.0).mean())),
            ("ridge", ridge),
        ),
        source=source,
        licence=licence,
    )


def _conformal(errors: NDArray[np.float64]) -> float:
    """Half-width that covers 90 % of new rows: the ceil(.9 (n + 1))-th smallest error, the largest where n is too small for it."""
    rank = min(math.ceil(_COVERAGE * (len(errors) + 1)), len(errors))
    return max(float(np.sort(errors)[rank - 1]), 0.01)


def out_of_fold(
    features: NDArray[np.float64], latency_s: NDArray[np.float64], prior: LatencyPredictor, folds: NDArray[np.intp], ridge: float
) -> NDArray[np.float64]:
    """log(predicted / measured), shape (n,), each row predicted by a fit without its fold."""
    residuals = np.zeros(len(latency_s))
    for fold in np.unique(folds):
        held = folds == fold
        coefficients, _ = _solve(features[~held], latency_s[~held], np.array(prior.coefficients), ridge)
        # A difference of two networks can be predicted below zero: as bad as a tenth of what was measured.
        residuals[held] = np.log(np.maximum(features[held] @ coefficients / latency_s[held], _WORST_RATIO))
    return residuals


def _solve(
    features: NDArray[np.float64], latency_s: NDArray[np.float64], prior: NDArray[np.float64], ridge: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Coefficients, seconds per unit, and which of them the data identify; each (n_features,)."""
    relative = features / latency_s[:, None]
    scaled = prior / np.median(relative @ prior)
    factors, identified = _pull(relative * scaled, ridge)
    coefficients = factors * scaled
    for name, like in _LIKE.items():
        index, other = FEATURES.index(name), FEATURES.index(like)
        if not features[:, index].any() and identified[other]:
            coefficients[index] *= factors[other]
    return coefficients, identified


def _pull(design: NDArray[np.float64], ridge: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """min ||design f - 1||^2 + n ridge ||f - 1||^2 over f >= _FLOOR: factors on the prior, and which are identified."""
    try:
        from scipy.optimize import nnls
    except ModuleNotFoundError as exc:
        raise MissingExtraError("scipy", "search") from exc
    n, width = design.shape
    weight = n * ridge
    stacked = np.vstack([design, math.sqrt(weight) * np.eye(width)])
    wanted = np.concatenate([np.ones(n), np.full(width, math.sqrt(weight))])
    above_floor, _ = nnls(stacked, wanted - _FLOOR * stacked.sum(axis=1))
    resolution = 1.0 - weight * np.diag(np.linalg.inv(stacked.T @ stacked))
    return above_floor + _FLOOR, resolution >= _IDENTIFIED
