from __future__ import annotations

import pytest

from nas.errors import InputError
from nas.hardware.ceiling import Ceiling, Peak, Peaks, ceiling, peaks
from nas.hardware.facts import Amount
from nas.hardware.profile import load_profile
from nas.metrics import Metric
from nas.space import reference_blocks
from nas.target import Target

ONE = Target("raspberrypi4", "onnxruntime", "unknown", "fp32", 1)
PEAKS = Peaks(Peak(6e9, "published", "a test"), Peak(4.6e9, "measured", "a test"))


def test_peaks_are_those_of_the_busy_cores() -> None:
    chip = load_profile("raspberrypi4").chip
    assert peaks(chip, 1).macs_per_s.value == pytest.approx(6e9)
    assert peaks(chip, 4).macs_per_s.value == peaks(chip, 16).macs_per_s.value == pytest.approx(24e9)
    assert "sbc-bench" in peaks(chip, 1).bytes_per_s.origin


def test_a_peak_is_as_sure_as_its_weakest_fact() -> None:
    assert {peaks(load_profile("raspberrypi4").chip, 1).macs_per_s.source} == {"published"}
    assert peaks(load_profile("intel-n100").chip, 1).macs_per_s.source == "modelled"  # a published clock, lanes by class
    told = load_profile("raspberrypi4").chip.model_copy(update={"memory_bytes_per_s": Amount(value=5e9, kind="measured", source="us")})
    assert peaks(told, 1).bytes_per_s == Peak(5e9, "measured", "us")
    with pytest.raises(InputError, match="positive"):
        Peak(0.0, "measured", "us")


def test_shares_say_what_is_wasted() -> None:
    found = Ceiling(ONE, 6e8, 4.6e8, Metric(0.2, "s", "measured"), PEAKS)
    assert (found.macs_per_s, found.bytes_per_s, found.least_s) == pytest.approx((3e9, 2.3e9, 0.1))
    assert (found.model_share, found.runtime_share, found.bound) == (pytest.approx(1.0), pytest.approx(0.5), "compute")
    data = found.to_dict()
    assert data["compute_share"] == data["memory_share"] == pytest.approx(0.5)
    assert data["peaks"] == {
        "macs_per_s": {"value": 6e9, "source": "published", "origin": "a test"},
        "bytes_per_s": {"value": 4.6e9, "source": "measured", "origin": "a test"},
    }


def test_the_shares_of_model_and_runtime_multiply_to_that_of_the_peak() -> None:
    found = Ceiling(ONE, 6e8, 9.2e8, Metric(0.25, "s", "measured"), PEAKS)
    assert (found.bound, found.model_share, found.runtime_share) == ("memory", pytest.approx(0.5), pytest.approx(0.8))
    assert found.model_share * found.runtime_share == pytest.approx(found.macs_per_s / 6e9)


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
        Ceiling(ONE, 1.0, 1.0, Metric(0.2, "J", "modelled", scope="board"), PEAKS)
