from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from nas.architecture import BlockSpec
from nas.errors import InputError
from nas.hardware.features import FEATURES, network_features
from nas.hardware.fitting import fit, out_of_fold, shape_ranges
from nas.hardware.roofline import CoreFacts, roofline

CORE = CoreFacts(1.5e9, 4.0, 4.6e9)


def networks(n: int) -> list[tuple[BlockSpec, ...]]:
    """Small networks of relu blocks with 3x3 and 5x5 kernels."""
    rng = np.random.default_rng(0)
    nets = []
    for _ in range(n):
        blocks = [BlockSpec("stem", "conv", 3, 16, 32, 3, 1, "relu")]
        for size in (32, 16, 8):
            for _ in range(rng.integers(1, 4)):
                expand, chs = int(rng.integers(1, 7)), 8 * int(rng.integers(2, 6))
                kernel, stride = int(rng.choice((3, 5))), int(rng.integers(1, 3))
                blocks.append(
                    BlockSpec(
                        "b", "mbconv", chs, chs, size, kernel, stride, "relu", mid_chs=chs * expand, expand=True, residual=stride == 1
                    )
                )
        nets.append(tuple(blocks))
    return nets


@pytest.fixture(scope="module")
def nets() -> list[tuple[BlockSpec, ...]]:
    return networks(60)


def true_latency(features: np.ndarray) -> np.ndarray:
    """A device four times as fast as the roofline, kernels unlike it."""
    factors = np.random.default_rng(1).uniform(0.15, 0.5, len(FEATURES))
    return features @ (factors * np.array(roofline(CORE).coefficients))


def test_a_fit_finds_the_device(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])
    latency_s = true_latency(features) * np.exp(np.random.default_rng(2).normal(0, 0.015, len(nets)))
    fitted = fit(features[:20], latency_s[:20], roofline(CORE), shape_ranges(nets[:20]), source="made up")
    metrics = [fitted.predict(net) for net in nets[20:]]
    errors = np.array([metric.value for metric in metrics]) / latency_s[20:] - 1
    assert np.abs(errors).mean() < 0.04
    low, high = np.array([metric.low for metric in metrics]), np.array([metric.high for metric in metrics])
    # 90 % on average over fits; a single one of 20 networks has a standard deviation of 7 %.
    assert np.mean((low <= latency_s[20:]) & (latency_s[20:] <= high)) >= 0.7
    assert fitted.measurements == 20
    assert fitted.half_width < math.log(1.3)
    assert all(fitted.in_range(net) for net in nets[:20])


def test_what_was_never_measured_is_flagged_and_never_zero(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])
    prior = roofline(CORE)
    fitted = fit(features, true_latency(features), prior, shape_ranges(nets))
    origin = dict(zip(FEATURES, fitted.origins, strict=True))
    seconds = dict(zip(FEATURES, fitted.coefficients, strict=True))
    assert {"macs_depthwise7", "macs_se", "elements_hardswish", "elements_silu", "bytes_scale"} <= set(fitted.unseen)
    assert all(origin[name] == "chip" for name in fitted.unseen)
    assert origin["macs_pointwise"] == origin["macs_depthwise3"] == origin["macs_depthwise5"] == "fitted"
    assert min(fitted.coefficients) > 0
    # 7x7 keeps its ratio to 5x5.
    chip = dict(zip(FEATURES, prior.coefficients, strict=True))
    assert seconds["macs_depthwise7"] / seconds["macs_depthwise5"] == pytest.approx(chip["macs_depthwise7"] / chip["macs_depthwise5"])


def test_a_prior_of_another_speed_is_rescaled(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])[:6]
    slow = roofline(CORE)
    fast = fit(features, features @ np.array(slow.coefficients) / 10, slow, ())
    np.testing.assert_allclose(np.array(fast.coefficients) * 10, slow.coefficients, rtol=1e-6)


def test_out_of_fold_predicts_without_the_fold(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])[:12]
    latency_s = true_latency(features)
    folds = np.repeat([0, 1, 2], 4)
    before = out_of_fold(features, latency_s, roofline(CORE), folds, 1e-3)
    latency_s[folds == 1] *= 3
    after = out_of_fold(features, latency_s, roofline(CORE), folds, 1e-3)
    np.testing.assert_allclose(after[folds == 1], before[folds == 1] - math.log(3))


@pytest.mark.parametrize(("n", "latency"), [(3, 1.0), (5, 0.0), (5, math.nan), (5, -1.0)])
def test_fits_that_cannot_be(nets: list[tuple[BlockSpec, ...]], n: int, latency: float) -> None:
    features = np.array([network_features(net) for net in nets])[:n]
    with pytest.raises(InputError):
        fit(features, np.full(n, latency), roofline(CORE), ())


def test_shape_ranges_span_the_blocks(nets: list[tuple[BlockSpec, ...]]) -> None:
    ranges = {name: (low, high) for name, low, high in shape_ranges(nets)}
    assert ranges["mbconv.in_size"] == (8, 32)
    assert ranges["conv.in_chs"] == (3, 3)
    assert ranges["mbconv.kernel_size"] == (3, 5)


def test_threads_and_speed_up_are_the_prior_s(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])
    prior = dataclasses.replace(roofline(CORE), threads=4)
    assert fit(features, true_latency(features), prior, ()).thread_counts() == (4,)
