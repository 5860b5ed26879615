from __future__ import annotations

import pytest

from nas.errors import InputError
from nas.hardware.ceiling import Ceiling, Peaks, ceiling, peaks
from nas.hardware.profile import load_profile
from nas.metrics import Metric
from nas.space import reference_blocks
from nas.target import Target

ONE = Target("raspberrypi4", "onnxruntime", "unknown", "fp32", 1)


def test_peaks_are_those_of_the_busy_cores() -> None:
    chip = load_profile("raspberrypi4").chip
    assert peaks(chip, 1).macs_per_s == pytest.approx(6e9)
    assert peaks(chip, 4).macs_per_s == peaks(chip, 16).macs_per_s == pytest.approx(24e9)
    assert "sbc-bench" in peaks(chip, 1).source


def test_shares_say_what_is_wasted() -> None:
    found = Ceiling(ONE, 6e8, 4.6e8, Metric(0.2, "s", "measured"), Peaks(6e9, 4.6e9, "a test"))
    assert (found.macs_per_s, found.bytes_per_s, found.least_s) == pytest.approx((3e9, 2.3e9, 0.1))
    data = found.to_dict()
    assert data["efficiency"] == pytest.approx(0.5)
    assert data["compute_share"] == data["memory_share"] == pytest.approx(0.5)
    assert Ceiling(ONE, 6e8, 9e8, Metric(0.2, "s", "measured"), Peaks(6e9, 4.6e9, "a test")).bound == "memory"


def test_a_real_network_stays_beneath_the_roof() -> None:
    profile = load_profile("raspberrypi4")
    blocks = reference_blocks("mobilenet_v2")
    found = ceiling(blocks, ONE, profile.predictor(ONE).predict(blocks), profile.chip)
    assert found.macs == pytest.approx(300.8e6, rel=0.01)
    assert 0.05 < found.least_s / found.latency.value < 1.0
    int8 = Target("raspberrypi4", "onnxruntime", "unknown", "int8", 1)
    assert ceiling(blocks, int8, found.latency, profile.chip).moved_bytes == pytest.approx(found.moved_bytes / 4)


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(InputError, match="needs seconds"):
        Ceiling(ONE, 1.0, 1.0, Metric(0.2, "J", "modelled", scope="board"), Peaks(1.0, 1.0, "a test"))
