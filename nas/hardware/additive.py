"""Non-negative least squares on relative errors, pulled toward what was known before: family by family, then feature by feature.

A prior tells the ratios inside a family (multiply-adds, bytes, operators) well and those between families badly: at batch 1 on a GPU
dispatch is nearly everything. So each family has a scale of its own, hardly held, and each coefficient is held to its family's scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.errors import MissingExtraError
from nas.hardware.features import FAMILIES, FEATURES

__all__ = ["Additive", "solve"]

# Operators that no measurement had behave like these: how well kernels use the multipliers, and what dispatch costs, are the runtime's.
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
# What is bound by memory or by the vector units has none: bandwidth and clock are facts of the chip, so that what nobody measured of
# them costs its family's scale, but no more than these facts say.
_OF_THE_CHIP = ("bytes", "elements")
_FAMILY_NAMES = tuple(dict.fromkeys(FAMILIES))
_MEMBERS = np.array([[float(family == name) for name in _FAMILY_NAMES] for family in FAMILIES])  # (n_features, n_families)
_FAMILY_RIDGE = 0.01  # of the families' scales, in units of the features' ridge
_FLOOR = 0.05  # no coefficient falls below this share of its family's scale: an operator is never free
_FAMILY_FLOOR = 1e-3  # and no family's scale below this share of the prior's
# Share of a coefficient that the data (not the prior) decide, from which on it counts as fitted.
_IDENTIFIED = 0.5
# Rows that miss by more than this many robust standard deviations count less (Huber 1964, Ann. Math. Stat. 35): a network measured
# while the machine was busy must not bend the others.
_HUBER = 2.0
_NOISE = 0.003  # of a label at best, relative
_REWEIGHTINGS = 3


@dataclass(frozen=True, slots=True)
class Additive:
    """A solution.

    Attributes:
        coefficients: (n_features,), seconds per unit, all positive.
        identified: (n_features,), which of them the data decide rather than the prior.
    """

    coefficients: NDArray[np.float64]
    identified: NDArray[np.bool_]


def solve(features: NDArray[np.float64], latency_s: NDArray[np.float64], prior: NDArray[np.float64], ridge: float) -> Additive:
    """Coefficients for measured latencies.

    min sum_i q_i (d_i f - 1)^2 + n ridge (||f - M g||^2 + .01 ||g - 1||^2) over f >= .05 M g, g >= .001, with d_i the row's features
    times the prior (scaled to the median) over its latency, g the families' scales, M who is in which, q_i Huber's weights.

    Args:
        features: (n, n_features).
        latency_s: (n,), positive.
        prior: (n_features,), positive.
        ridge: per row, in relative units.
    """
    relative = features / latency_s[:, None]
    scaled = prior / np.median(relative @ prior)
    factors, identified = _pull(relative * scaled, ridge)
    unseen = np.asarray(~features.any(axis=0))
    chip = unseen & np.array([family in _OF_THE_CHIP for family in FAMILIES])
    factors[chip] = np.minimum(factors[chip], 1.0)
    for name, like in _LIKE.items():
        index, other = FEATURES.index(name), FEATURES.index(like)
        if unseen[index] and identified[other]:
            factors[index] = factors[other]
    return Additive(factors * scaled, identified)


def _pull(design: NDArray[np.float64], ridge: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Factors on the prior (n_features,), and which of them are identified.

    Solved for u = f - floor M g >= 0 and v = g - family floor >= 0.
    """
    try:
        from scipy.optimize import nnls
    except ModuleNotFoundError as exc:
        raise MissingExtraError("scipy", "search") from exc
    n, width = design.shape
    families = _MEMBERS.shape[1]
    root, family_root = math.sqrt(n * ridge), math.sqrt(n * ridge * _FAMILY_RIDGE)
    pull = np.block([
        [root * np.eye(width), -root * (1 - _FLOOR) * _MEMBERS],
        [np.zeros((families, width)), family_root * np.eye(families)],
    ])  # fmt: skip
    pulled_to = np.concatenate([np.zeros(width), np.full(families, family_root)])
    rows = np.hstack([design, _FLOOR * design @ _MEMBERS])
    weights = np.ones(n)
    for _ in range(_REWEIGHTINGS + 1):
        root_weights = np.sqrt(weights)
        stacked = np.vstack([rows * root_weights[:, None], pull])
        wanted = np.concatenate([root_weights, pulled_to]) - _FAMILY_FLOOR * stacked[:, width:].sum(axis=1)
        above, _ = nnls(stacked, wanted)
        scales = above[width:] + _FAMILY_FLOOR
        factors = above[:width] + _FLOOR * _MEMBERS @ scales
        errors = np.abs(design @ factors - 1.0)
        spread = 1.4826 * float(np.median(errors)) + _NOISE
        weights = np.minimum(1.0, _HUBER * spread / np.maximum(errors, 1e-12))
    return factors, _resolution(design, n * ridge) >= _IDENTIFIED


def _resolution(design: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Diagonal of the model resolution matrix (Menke 1989, Geophysical Data Analysis, ch. 4): the data's share of each coefficient."""
    # Integrating the families' scales out leaves this covariance of the factors under the prior, in units of 1 / weight.
    covariance = np.eye(design.shape[1]) + _MEMBERS @ _MEMBERS.T / _FAMILY_RIDGE
    information = design.T @ design
    share: NDArray[np.float64] = np.diag(np.linalg.solve(information + weight * np.linalg.inv(covariance), information))
    return share
