"""Fits a `LatencyPredictor` to measured latencies: an additive model, a correction where cross-validation says that it helps, a band."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.architecture import BlockSpec
from nas.errors import InputError
from nas.hardware.additive import solve
from nas.hardware.correction import Correction, fit_correction
from nas.hardware.features import FEATURES, op_shape
from nas.hardware.predictor import LatencyPredictor, Origin
from nas.ops import lower

__all__ = ["FEWEST_FOR_BAND", "FEWEST_ROWS", "fit", "out_of_fold", "shape_ranges"]

FEWEST_ROWS = 4
"""Fewer measurements cannot be cross-validated."""
_RIDGES = (5e-6, 5e-5, 5e-4, 5e-3, 5e-2)  # per row, in relative units
_COVERAGE = 0.9
FEWEST_FOR_BAND = 9
"""The largest of n errors covers n / (n + 1) of new rows: fewer cannot tell a 90 % band."""
_WORST_RATIO = 0.1
_NEGLIGIBLE = 1e-4  # mean log residual: nothing is left to correct


def shape_ranges(networks: Iterable[Sequence[BlockSpec]]) -> tuple[tuple[str, float, float], ...]:
    """(name, low, high) of `features.op_shape` over all operators of measured networks."""
    seen: dict[str, list[int]] = {}
    for blocks in networks:
        for op in lower(blocks):
            for name, value in op_shape(op).items():
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
    """Non-negative least squares pulled toward the prior (`nas.hardware.additive`), with a Gaussian process on its log residuals
    (`nas.hardware.correction`) where that lowers the out-of-fold error.

    The ridge is chosen by cross-validation over `groups`; the out-of-fold log residuals of what was chosen give the conformal 90 % band
    (Vovk et al. 2005, Algorithmic Learning in a Random World). Repeatable: there is no chance in it.

    Args:
        features: (n, n_features), of networks, or of differences between networks (which get no correction).
        latency_s: (n,), measured, seconds, of the same.
        prior: what was known before; gives threads and speed-up too, and the band that fewer than 9 rows do not narrow.
        ranges: of the measured operators, from `shape_ranges`.
        groups: (n,), rows that are left out together; ten interleaved folds (or one a row) by default.

    Raises:
        InputError: fewer than 4 rows, shapes that do not fit, latencies that are not positive.
    """
    features, latency_s = np.asarray(features, dtype=np.float64), np.asarray(latency_s, dtype=np.float64)
    n = len(latency_s)
    if n < FEWEST_ROWS or features.shape != (n, len(FEATURES)):
        raise InputError(f"a fit needs at least {FEWEST_ROWS} rows of {len(FEATURES)} features, got {features.shape} for {n} latencies")
    if not (np.isfinite(latency_s).all() and (latency_s > 0).all()):
        raise InputError(f"measured latencies must be positive, got {latency_s.min()}")
    folds = np.arange(n) % min(10, n) if groups is None else np.asarray(groups)
    residuals = {ridge: out_of_fold(features, latency_s, prior, folds, ridge) for ridge in _RIDGES}
    ridge = min(_RIDGES, key=lambda ridge: float(np.abs(residuals[ridge]).mean()))
    solution = solve(features, latency_s, np.array(prior.coefficients), ridge)
    predicted_s, errors, correction = features @ solution.coefficients, residuals[ridge], None
    networks = bool((features[:, -1] == 1.0).all())  # and not differences between them
    if networks and np.abs(errors).mean() > _NEGLIGIBLE:
        corrected = out_of_fold(features, latency_s, prior, folds, ridge, corrected=True)
        if np.abs(corrected).mean() < np.abs(errors).mean():
            errors = corrected
            correction = fit_correction(features, np.log(latency_s / predicted_s))
            predicted_s = _corrected(predicted_s, features, correction)
    origins: tuple[Origin, ...] = tuple("fitted" if known else "chip" for known in solution.identified)
    return dataclasses.replace(
        prior,
        coefficients=tuple(map(float, solution.coefficients)),
        origins=origins,
        half_width=_conformal(np.abs(errors), prior.half_width),
        ranges=ranges,
        unseen=tuple(name for name, column in zip(FEATURES, features.T, strict=True) if not column.any()),
        measurements=n,
        quality=(
            ("out_of_fold_mape", float(np.abs(np.expm1(errors)).mean())),
            ("in_fold_mape", float(np.abs(predicted_s / latency_s - 1.0).mean())),
            ("ridge", ridge),
        ),
        source=source,
        licence=licence,
        correction=correction,
    )


def _conformal(errors: NDArray[np.float64], known: float) -> float:
    """Half-width that covers 90 % of new rows: the ceil(.9 (n + 1))-th smallest error. Where n is too small for it, no error is: the
    largest, and not less than `known`, the half-width of the prior.
    """
    rank = math.ceil(_COVERAGE * (len(errors) + 1))
    half_width = float(np.sort(errors)[rank - 1]) if rank <= len(errors) else max(float(errors.max()), known)
    return max(half_width, 0.01)


def out_of_fold(
    features: NDArray[np.float64],
    latency_s: NDArray[np.float64],
    prior: LatencyPredictor,
    folds: NDArray[np.intp],
    ridge: float,
    corrected: bool = False,
) -> NDArray[np.float64]:
    """log(predicted / measured), shape (n,), each row predicted by a fit without its fold.

    Args:
        corrected: with a correction, for rows that are networks.
    """
    residuals = np.zeros(len(latency_s))
    for fold in np.unique(folds):
        held = folds == fold
        coefficients = solve(features[~held], latency_s[~held], np.array(prior.coefficients), ridge).coefficients
        predicted_s = features[held] @ coefficients
        if corrected:
            correction = fit_correction(features[~held], np.log(latency_s[~held] / (features[~held] @ coefficients)))
            predicted_s = _corrected(predicted_s, features[held], correction)
        # A difference of two networks can be predicted below zero: as bad as a tenth of what was measured.
        residuals[held] = np.log(np.maximum(predicted_s / latency_s[held], _WORST_RATIO))
    return residuals


def _corrected(predicted_s: NDArray[np.float64], features: NDArray[np.float64], correction: Correction) -> NDArray[np.float64]:
    return predicted_s * np.exp(correction.log_factor(features @ np.array(correction.weights)))
