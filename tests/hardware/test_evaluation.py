from __future__ import annotations

import numpy as np
import pytest

from nas.errors import InputError
from nas.hardware.evaluation import Evaluation, cross_validate, predict_features
from nas.hardware.features import network_features
from nas.hardware.fitting import fit, shape_ranges
from nas.hardware.roofline import CoreFacts, roofline
from tests.hardware.test_fitting import networks, true_latency

CORE = CoreFacts(1.5e9, 4.0, 4.6e9)


def test_figures() -> None:
    measured = np.array([1.0, 2.0, 4.0, 8.0])
    found = Evaluation(measured, measured * np.array([1.0, 1.04, 0.92, 1.3]), 0.9 * measured, 1.35 * measured)
    assert found.summary() == pytest.approx({
        "mape": (0.04 + 0.08 + 0.3) / 4, "within_5_percent": 0.5, "within_10_percent": 0.75, "spearman": 1.0, "kendall": 1.0,
        "band_coverage": 1.0, "band_half_width": float(np.median([0.35, 1.35 / 1.04 - 1, 1.35 / 0.92 - 1, 1.35 / 1.3 - 1])),
    })  # fmt: skip


def test_bands_decide_what_is_covered() -> None:
    ones = np.ones(3)
    found = Evaluation(ones, ones * 1.2, np.array([1.1, 1.0, 0.5]), ones * 1.3)
    assert found.covered.tolist() == [False, True, True]


def test_values_that_do_not_hold_together() -> None:
    ones = np.ones(3)
    for arrays in ((ones, ones, ones, np.ones(2)), (ones, ones, 2 * ones, 3 * ones), (-ones, ones, ones, ones)):
        with pytest.raises(InputError, match="evaluation"):
            Evaluation(*arrays)


def test_nothing_is_predicted_by_a_fit_that_saw_it() -> None:
    features = np.array([network_features(net) for net in networks(20)])
    latency_s = true_latency(features)
    honest = cross_validate(features, latency_s, roofline(CORE))
    assert honest.summary()["mape"] < 0.06
    wrong = latency_s.copy()
    wrong[7] *= 3
    assert cross_validate(features, wrong, roofline(CORE)).predicted_s[7] < 1.5 * latency_s[7]


def test_features_predict_what_blocks_do() -> None:
    nets = networks(12)
    features = np.array([network_features(net) for net in nets])
    fitted = fit(features, true_latency(features) ** 0.9, roofline(CORE), shape_ranges(nets))
    metrics = [fitted.predict(net) for net in nets]
    assert not any(fitted.outside_share(net) for net in nets)
    np.testing.assert_allclose(
        np.array(predict_features(fitted, features)).T, [(metric.value, metric.low, metric.high) for metric in metrics], rtol=1e-9
    )


def test_too_few_say_how_many() -> None:
    features = np.array([network_features(net) for net in networks(4)])
    with pytest.raises(InputError, match=r"at least 5 .* got 4"):
        cross_validate(features, true_latency(features), roofline(CORE))
