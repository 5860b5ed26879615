from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from nas.architecture import BlockSpec
from nas.errors import InputError
from nas.hardware.evaluation import predict_features
from nas.hardware.features import FEATURES, network_features
from nas.hardware.fitting import fit, out_of_fold, shape_ranges
from nas.hardware.predictor import CHIP_HALF_WIDTH
from nas.hardware.roofline import CoreFacts, roofline
from nas.space import load_space, reference_blocks

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
    covered = []
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(nets))
        seen, rest = order[:20], order[20:]
        fitted = fit(features[seen], latency_s[seen], roofline(CORE), shape_ranges([nets[i] for i in seen]), source="made up")
        value, low, high = predict_features(fitted, features[rest])
        assert np.abs(value / latency_s[rest] - 1).mean() < 0.04
        covered.append(np.mean((low <= latency_s[rest]) & (latency_s[rest] <= high)))
    # 90 % on average over fits; a single one of 20 networks has a standard deviation of 7 %.
    assert 0.82 <= np.mean(covered) <= 0.99
    fitted = fit(features[:20], latency_s[:20], roofline(CORE), shape_ranges(nets[:20]), source="made up")
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


def test_shape_ranges_span_the_operators(nets: list[tuple[BlockSpec, ...]]) -> None:
    ranges = {name: (low, high) for name, low, high in shape_ranges(nets)}
    assert ranges["depthwise.in_size"] == (8, 32)
    assert ranges["pointwise.in_size"] == (4, 32)
    assert ranges["stem.in_chs"] == (3, 3)
    assert ranges["depthwise.kernel_size"] == (3, 5)
    head = BlockSpec("head.linear", "linear", 96, 10, 1)
    assert shape_ranges([(head,)]) == (("linear.macs", 960.0, 960.0),)


@pytest.mark.parametrize("seed", range(5))
def test_a_fit_to_tiny_networks_says_how_little_it_knows_of_large_ones(seed: int) -> None:
    space = load_space("mobilenet_tiny")
    tiny = [space.decode(arch) for arch in space.decode_rows(space.sample_rows(8, seed))]
    features = np.array([network_features(blocks) for blocks in tiny])
    # What tiny networks hardly show differs most: multiply-adds and bytes are up to four times as dear as the rest says.
    dear = [4.0 if name.startswith(("macs", "bytes")) else 1.0 for name in FEATURES]
    device = np.random.default_rng(seed).uniform(0.5, 1.0, len(FEATURES)) * dear * np.array(roofline(CORE).coefficients)
    fitted = fit(features, features @ device, roofline(CORE), shape_ranges(tiny))
    large = reference_blocks("mobilenet_v2")
    metric = fitted.predict(large)
    assert metric.low is not None
    assert metric.high is not None
    assert not fitted.in_range(large)
    assert math.log(metric.high / metric.value) > CHIP_HALF_WIDTH
    assert metric.low < float(network_features(large) @ device) < metric.high
    inside = fitted.predict(tiny[0])
    assert inside.high == pytest.approx(inside.value * math.exp(fitted.half_width))


def test_threads_and_speed_up_are_the_prior_s(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])
    prior = dataclasses.replace(roofline(CORE), threads=4)
    assert fit(features, true_latency(features), prior, ()).thread_counts() == (4,)


def test_a_device_where_dispatch_is_nearly_everything(nets: list[tuple[BlockSpec, ...]]) -> None:
    """Like a GPU at batch 1: the ratio of multiply-adds to operators is a hundred times the prior's."""
    features = np.array([network_features(net) for net in nets])
    factors = np.array([1e-2 if name.startswith(("macs", "bytes", "elements")) else 1.0 for name in FEATURES])
    latency_s = features @ (factors * np.array(roofline(CORE).coefficients))
    fitted = fit(features[:12], latency_s[:12], roofline(CORE), ())
    assert np.abs(predict_features(fitted, features[12:])[0] / latency_s[12:] - 1).mean() < 0.04
    assert min(fitted.coefficients) > 0


def test_one_wrong_label_does_not_bend_the_fit(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])
    latency_s = true_latency(features)
    wrong = latency_s.copy()
    wrong[3] *= 2
    fitted = fit(features[:25], wrong[:25], roofline(CORE), ())
    assert np.abs(predict_features(fitted, features[25:])[0] / latency_s[25:] - 1).mean() < 0.05


def test_a_correction_is_there_only_where_it_helps(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])
    additive_s = features @ np.array(roofline(CORE).coefficients)
    assert fit(features[:30], additive_s[:30], roofline(CORE), ()).correction is None
    # Each operator more makes all of them slower: what no sum of parts can say.
    operators = features[:, FEATURES.index("count_depthwise")]
    latency_s = additive_s * np.exp(0.15 * (operators - operators.mean()))
    fitted = fit(features[:40], latency_s[:40], roofline(CORE), ())
    assert fitted.correction is not None
    error = np.abs(predict_features(fitted, features[40:])[0] / latency_s[40:] - 1).mean()
    without = dataclasses.replace(fitted, correction=None)
    assert error < np.abs(predict_features(without, features[40:])[0] / latency_s[40:] - 1).mean()


def test_differences_between_networks_get_no_correction(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])
    features[:, FEATURES.index("constant")] = 0.0
    latency_s = (features @ np.array(roofline(CORE).coefficients)) ** 0.7
    assert fit(features, latency_s, roofline(CORE), ()).correction is None


def test_a_fit_is_repeatable(nets: list[tuple[BlockSpec, ...]]) -> None:
    features = np.array([network_features(net) for net in nets])[:15]
    assert fit(features, true_latency(features), roofline(CORE), ()) == fit(features, true_latency(features), roofline(CORE), ())


@pytest.mark.parametrize("n", [4, 8, 9])
def test_fewer_than_nine_networks_do_not_narrow_the_band(nets: list[tuple[BlockSpec, ...]], n: int) -> None:
    features = np.array([network_features(net) for net in nets])[:n]
    latency_s = true_latency(features)
    narrow, wide = (fit(features, latency_s, dataclasses.replace(roofline(CORE), half_width=known), ()) for known in (0.01, math.log(3)))
    # 9 errors are the first of which the largest covers 90 % of what is new.
    assert wide.half_width == (math.log(3) if n < 9 else narrow.half_width)
    assert narrow.half_width < math.log(2)
