from __future__ import annotations

import numpy as np
import pytest

from nas.errors import InputError
from nas.hardware.choosing import choose
from nas.hardware.features import network_features
from tests.hardware.test_fitting import networks


def test_choices_hold_the_ends_and_are_better_than_the_first_ones() -> None:
    features = np.array([network_features(net) for net in networks(100)])
    chosen = choose(features, 12)
    assert len(set(chosen.tolist())) == 12
    size = (features / np.maximum(features.max(axis=0), 1e-30)).sum(axis=1)
    assert {int(size.argmin()), int(size.argmax())} <= set(chosen.tolist())
    np.testing.assert_array_equal(chosen, choose(features, 12))

    def information(rows: np.ndarray) -> float:
        scaled = features[rows] / np.maximum(features.max(axis=0), 1e-30)
        return float(np.linalg.slogdet(scaled.T @ scaled + 1e-3 * np.eye(features.shape[1]))[1])

    assert information(chosen) > max(information(np.random.default_rng(seed).permutation(100)[:12]) for seed in range(20))


def test_choices_spread_over_latency_and_grow_by_adding() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 1, (400, 6))
    latency_s = np.exp(rng.normal(0, 0.4, 400))  # few at the ends
    chosen = choose(features, 40, latency_s)
    low, high = np.log(latency_s).min(), np.log(latency_s).max()
    eighths = np.minimum((8 * (np.log(latency_s) - low) / (high - low)).astype(int), 7)
    assert set(eighths[chosen]) == set(eighths)
    assert len(set(chosen.tolist())) == 40
    np.testing.assert_array_equal(choose(features, 20, latency_s), chosen[:20])
    assert sorted(choose(features[:9], 9, latency_s[:9]).tolist()) == list(range(9))


@pytest.mark.parametrize("k", [1, 6])
def test_choices_that_cannot_be(k: int) -> None:
    with pytest.raises(InputError, match=str(k)):
        choose(np.ones((5, 3)), k)
