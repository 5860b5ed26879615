from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from nas.architecture import BlockSpec
from nas.errors import InputError, ProfileError
from nas.hardware.correction import Correction
from nas.hardware.features import FEATURES, network_features
from nas.hardware.predictor import CHIP_HALF_WIDTH, LatencyPredictor, SpeedUp
from nas.ops import Op, lower
from tests.hardware.strategies import networks

FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
INSIDE = BlockSpec("b", "mbconv", 16, 16, 16, 3, 1, "relu", mid_chs=48, expand=True)
OUTSIDE = dataclasses.replace(INSIDE, in_size=112)
WITH_SE = dataclasses.replace(INSIDE, se_chs=8)


@FIXTURE
@given(network=networks)
def test_latency_is_features_times_coefficients(predictor: LatencyPredictor, network: tuple[BlockSpec, ...]) -> None:
    metric = predictor.predict(network)
    assert metric.value == pytest.approx(float(network_features(network) @ np.array(predictor.coefficients)), rel=1e-9)
    assert metric.unit == "s"
    assert metric.source == "predicted"
    assert metric.low is not None
    assert metric.high is not None
    assert 0 < metric.low < metric.value < metric.high
    assert sum(predictor.predict_blocks(network)) + predictor.constant_seconds()[0] == pytest.approx(metric.value, rel=1e-9)


@FIXTURE
@given(network=networks)
def test_rows_agree_with_single_networks(predictor: LatencyPredictor, network: tuple[BlockSpec, ...]) -> None:
    blocks = tuple(dict.fromkeys(network))
    index = np.array([[*(blocks.index(block) for block in network), -1], [0, *[-1] * len(network)]])
    for threads in (1, 2, 4):
        rows = np.array(predictor.predict_rows(blocks, index, threads))
        singles = [predictor.predict(network, threads), predictor.predict([blocks[0]], threads)]
        np.testing.assert_allclose(rows, np.array([(m.value, m.low, m.high) for m in singles]).T, rtol=1e-9)


def test_what_is_outside_the_range_is_flagged_and_its_band_is_wider(predictor: LatencyPredictor) -> None:
    inside, outside = predictor.predict([INSIDE]), predictor.predict([OUTSIDE])
    assert predictor.in_range([INSIDE])
    assert not predictor.in_range([OUTSIDE])
    assert inside.high is not None
    assert outside.high is not None
    assert math.log(inside.high / inside.value) == pytest.approx(predictor.half_width)
    # As unsure, in logs, as the sizes are far away: 112 pixels where 32 were measured; half of that where the coefficients are decided.
    share = predictor.outside_share([OUTSIDE])
    assert math.log(outside.high / outside.value) == pytest.approx(math.hypot(predictor.half_width, share * math.log(112 / 32)))
    decided = dataclasses.replace(predictor, measurements=100).predict([OUTSIDE])
    assert decided.high is not None
    assert math.log(decided.high / decided.value) == pytest.approx(math.hypot(predictor.half_width, share * math.log(112 / 32) / 2))
    # A few milliseconds outside among many inside do not flag a network.
    assert predictor.in_range([INSIDE] * 500 + [OUTSIDE])


def half(predictor: LatencyPredictor, op: Op) -> float:
    metric = predictor.predict([op])
    assert metric.high is not None
    return math.log(metric.high / metric.value)


def test_doubt_grows_with_the_distance_to_a_limit_and_with_what_was_not_decided(predictor: LatencyPredictor) -> None:
    sizes = (32, 33, 64, 256, 1024, 4096)
    halves = [half(predictor, Op("conv", 16, 48, size, size)) for size in sizes]
    assert halves[0] == pytest.approx(predictor.half_width)
    assert halves[1] < 1.05 * halves[0]
    assert halves == sorted(halves)
    assert halves[-1] <= math.hypot(predictor.half_width, math.log(10)) + 1e-9
    undecided = dataclasses.replace(predictor, origins=tuple("chip" for _ in FEATURES))
    assert half(undecided, Op("conv", 16, 48, 32, 32)) == pytest.approx(halves[0])
    assert half(undecided, Op("conv", 16, 48, 256, 256)) == pytest.approx(
        math.sqrt(predictor.half_width**2 + math.log(8) ** 2 + CHIP_HALF_WIDTH**2), rel=1e-3
    )


def test_operators_never_measured_count_as_outside(predictor: LatencyPredictor) -> None:
    assert predictor.outside_share([INSIDE]) == 0
    assert 0 < predictor.outside_share([WITH_SE]) < 1


def test_a_head_beyond_all_measured_ones_is_outside(predictor: LatencyPredictor) -> None:
    usual, large = Op("linear", 1280, 1000, 1, 1), Op("linear", 1280, 21841, 1, 1)
    assert predictor.in_range([usual])
    assert half(predictor, usual) == pytest.approx(predictor.half_width)
    assert not predictor.in_range([large])
    assert half(predictor, large) > math.log(5)
    # Where the measured heads are known, those decide.
    small = dataclasses.replace(predictor, ranges=(*predictor.ranges, ("linear.macs", 640.0, 960.0)))
    assert not small.in_range([usual])
    wide = dataclasses.replace(predictor, ranges=(*predictor.ranges, ("linear.macs", 640.0, 1e8)))
    assert wide.in_range([large])


def test_a_predictor_without_measurements_is_never_in_range_and_keeps_its_band(predictor: LatencyPredictor) -> None:
    guess = dataclasses.replace(predictor, ranges=(), measurements=0, half_width=math.log(3))
    metric = guess.predict([INSIDE])
    assert not guess.in_range([INSIDE])
    assert metric.high == pytest.approx(3 * metric.value)


def test_threads_divide_by_the_speed_up_and_widen_the_band(predictor: LatencyPredictor) -> None:
    one, two, four = (predictor.predict([INSIDE], threads) for threads in (1, 2, 4))
    assert four.value == pytest.approx(one.value / 1.68)
    assert four.value < two.value < one.value
    assert four.high is not None
    assert one.high is not None
    assert four.high / four.value > one.high / one.value
    with pytest.raises(InputError, match="8"):
        predictor.predict([INSIDE], 8)
    with pytest.raises(InputError, match="known for 1 thread"):
        dataclasses.replace(predictor, speedup=None).predict([INSIDE], 2)


def test_amdahl_meets_what_is_known() -> None:
    known = SpeedUp(4, 1.68, 1.51, 2.03)
    assert known.at(1) == (1.0, 1.0, 1.0)
    assert known.at(4) == pytest.approx((1.68, 1.51, 2.03))
    assert 1.3 < known.at(2)[0] < 1.45


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"coefficients": (1e-9,)}, "coefficients"),
        ({"coefficients": (0.0,) * len(FEATURES)}, "macs_stem"),
        ({"coefficients": (math.nan,) * len(FEATURES)}, "nan"),
        ({"origins": ("guessed",) * len(FEATURES)}, "guessed"),
        ({"half_width": 0.0}, "half_width"),
        ({"threads": 0}, "threads"),
        ({"threads": 2}, "speed-up"),
        ({"ranges": (("stem.in_size", 5.0, 4.0),)}, "stem.in_size"),
        ({"unseen": ("macs_sea",)}, "macs_sea"),
    ],
)
def test_values_check_themselves(predictor: LatencyPredictor, change: dict[str, object], word: str) -> None:
    with pytest.raises(ProfileError, match=word):
        dataclasses.replace(predictor, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [(1, 1.0, 1.0, 1.0), (4, 0.9, 0.8, 1.1), (4, 1.5, 1.6, 1.7), (4, 3.0, 2.0, 5.0)])
def test_speed_ups_check_themselves(numbers: tuple[int, float, float, float]) -> None:
    with pytest.raises(ProfileError, match="speed-up"):
        SpeedUp(*numbers)


CORRECTION = Correction(-0.05, tuple(1e-9 * (index % 3 - 1) for index in range(len(FEATURES))), 0.15)


@FIXTURE
@given(network=networks)
def test_a_correction_is_the_same_on_both_paths(predictor: LatencyPredictor, network: tuple[BlockSpec, ...]) -> None:
    corrected = dataclasses.replace(predictor, correction=CORRECTION)
    blocks = tuple(dict.fromkeys(network))
    index = np.array([[*(blocks.index(block) for block in network), -1]])
    for threads in (1, 4):
        metric = corrected.predict(network, threads)
        np.testing.assert_allclose(
            np.array(corrected.predict_rows(blocks, index, threads))[:, 0], (metric.value, metric.low, metric.high), rtol=1e-9
        )
    plain = predictor.predict(network)
    assert abs(math.log(corrected.predict(network).value / plain.value)) <= CORRECTION.limit + 1e-9
    shares = np.array(corrected.predict_blocks(network)) / np.array(predictor.predict_blocks(network))
    np.testing.assert_allclose(shares, corrected.predict(network).value / plain.value, rtol=1e-9)


def test_a_correction_fades_outside_the_range(predictor: LatencyPredictor) -> None:
    constant = dataclasses.replace(predictor, correction=Correction(0.1, (0.0,) * len(FEATURES), 0.1))
    assert constant.predict([INSIDE]).value == pytest.approx(math.exp(0.1) * predictor.predict([INSIDE]).value)
    # As far away as a factor of three, it is gone.
    assert constant.predict([OUTSIDE]).value == pytest.approx(predictor.predict([OUTSIDE]).value)
    near = dataclasses.replace(INSIDE, in_size=40)
    assert 1.0 < constant.predict([near]).value / predictor.predict([near]).value < math.exp(0.1)


@FIXTURE
@given(network=networks)
def test_operators_give_what_their_blocks_give_band_included(predictor: LatencyPredictor, network: tuple[BlockSpec, ...]) -> None:
    for each in (predictor, dataclasses.replace(predictor, correction=CORRECTION)):
        blocks, ops = each.predict(network), each.predict(lower(network))
        assert (ops.value, ops.low, ops.high) == pytest.approx((blocks.value, blocks.low, blocks.high), rel=1e-9)
        assert each.outside_share(lower(network)) == pytest.approx(each.outside_share(network))


def test_operators_in_no_block_are_outside(predictor: LatencyPredictor) -> None:
    measured = Op("conv", 16, 48, 16, 16, act="relu")
    assert predictor.outside_share([measured]) == 0
    assert predictor.outside_share([dataclasses.replace(measured, in_size=112, out_size=112)]) > 0.9
    for kind in ("copy", "resize", "elementwise"):
        assert predictor.outside_share([Op(kind, 16, 16, 16, 16)]) > 0.9  # type: ignore[arg-type]
