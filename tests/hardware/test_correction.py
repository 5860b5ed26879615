from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from nas.errors import ProfileError
from nas.hardware.correction import Correction, fit_correction
from nas.hardware.features import FEATURES

GOOD = Correction(0.1, (0.0,) * len(FEATURES), 0.2)


def rows(n: int, seed: int = 0) -> np.ndarray:
    """Features of made-up networks: five of them vary."""
    features = np.zeros((n, len(FEATURES)))
    features[:, 1:6] = np.random.default_rng(seed).uniform(1e6, 9e6, (n, 5))
    features[:, -1] = 1.0
    return features


def test_it_learns_what_is_log_linear() -> None:
    features, others = rows(40), rows(30, 1)
    slope = np.zeros(len(FEATURES))
    slope[[1, 4]] = 4e-8, -2e-8
    middle = float((features @ slope).mean())
    fitted = fit_correction(features, features @ slope - middle)
    predicted = fitted.log_factor(others @ np.array(fitted.weights))
    wanted = np.clip(others @ slope - middle, -fitted.limit, fitted.limit)
    np.testing.assert_allclose(predicted, wanted, atol=0.02)


def test_noise_is_not_learnt() -> None:
    noise = np.random.default_rng(3).normal(0, 0.05, 30)
    fitted = fit_correction(rows(30), noise)
    assert np.abs(fitted.log_factor(rows(200, 5) @ np.array(fitted.weights))).mean() < 0.03


def test_it_never_goes_beyond_what_was_measured() -> None:
    features = rows(20)
    fitted = fit_correction(features, 5e-8 * (features[:, 2] - features[:, 2].mean()))
    far = 1e3 * rows(10)
    assert np.abs(fitted.log_factor(far @ np.array(fitted.weights))).max() <= fitted.limit + 1e-12
    assert fitted.limit <= np.abs(5e-8 * (features[:, 2] - features[:, 2].mean())).max() * 1.1


def test_features_that_do_not_vary_have_no_weight() -> None:
    fitted = fit_correction(rows(10), np.linspace(-0.1, 0.1, 10))
    assert {name for name, weight in zip(FEATURES, fitted.weights, strict=True) if weight} == set(FEATURES[1:6])


@pytest.mark.parametrize(
    ("change", "word"),
    [({"weights": (1.0,)}, "weights"), ({"intercept": math.nan}, "finite"), ({"limit": -1.0}, "limit"), ({"limit": 3.0}, "limit")],
)
def test_values_check_themselves(change: dict[str, object], word: str) -> None:
    with pytest.raises(ProfileError, match=word):
        dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]
