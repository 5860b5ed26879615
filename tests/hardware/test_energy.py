from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from nas.errors import InputError, ProfileError
from nas.hardware.energy import OTHER_PRECISION_SPREAD, EnergyPredictor, PowerTimesLatency, fit_energy
from nas.hardware.energy_file import energy_from_dict, energy_to_dict, load_energy, save_energy
from nas.hardware.facts import Power
from nas.hardware.profile import DeviceProfile, load_profile, parse_profile
from nas.hardware.roofline import CoreFacts, roofline
from nas.metrics import Metric
from nas.space import load_space
from nas.target import Target
from tests.hardware.test_fitting import networks

CORE = CoreFacts(1.5e9, 4.0, 4.6e9)
PRIOR = roofline(CORE)


def joules(count: int) -> tuple[np.ndarray, np.ndarray]:
    """2 W and 5 mJ an inference, and the latencies."""
    latency_s = np.array([PRIOR.predict(net).value for net in networks(count)])
    return 2.0 * latency_s + 0.005, latency_s


def fitted(count: int = 40) -> EnergyPredictor:
    energy_j, latency_s = joules(count)
    return fit_energy(networks(count), energy_j, latency_s, PRIOR, "board", "hwmon", "a test")


def test_watts_times_latency_has_the_band_of_both() -> None:
    power = Power(watts={0: 2.0, 4: 6.0}, spread=1.5, source="a test")
    found = PowerTimesLatency(power, 2).predict((), Metric(0.1, "s", "predicted", low=0.08, high=0.12))
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 4 * 0.08 / 1.5, 4 * 0.12 * 1.5))
    assert (found.unit, found.source, found.scope) == ("J", "modelled", "board")
    bare = PowerTimesLatency(power, 4).predict((), Metric(0.1, "s", "measured"))
    assert (bare.low, bare.value, bare.high) == pytest.approx((0.4, 0.6, 0.9))


def test_another_precision_has_a_wider_band() -> None:
    power = Power(watts={0: 2.0, 4: 6.0}, source="a test")
    latency = Metric(0.1, "s", "predicted")
    assert PowerTimesLatency(power, 4, "int8").predict((), latency).high == pytest.approx(0.6 * OTHER_PRECISION_SPREAD)


def test_measured_joules_are_learned_and_say_what_they_cover() -> None:
    found = fitted()
    energy_j, latency_s = joules(60)
    for net, wanted, seconds in list(zip(networks(60), energy_j, latency_s, strict=True))[40:]:
        metric = found.predict(net, Metric(float(seconds), "s", "predicted"))
        assert metric.value == pytest.approx(wanted, rel=0.02)
        assert (metric.unit, metric.source, metric.scope) == ("J", "predicted", "board")
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low < metric.value < metric.high
    assert min(found.model.coefficients) > 0


def test_folding_is_predicting() -> None:
    space = load_space("mobilenet_tiny")
    archs = space.decode_rows(space.sample_rows(6, 0))
    index = space.block_index(space.encode(archs))
    latency_s = np.array([PRIOR.predict(space.decode(arch)).value for arch in archs])
    power = PowerTimesLatency(Power(watts={0: 2.0, 4: 6.0}, source="a test"), 1)
    for model in (fitted(), power):
        one_by_one = [
            model.predict(space.decode(arch), Metric(seconds, "s", "predicted")).value
            for arch, seconds in zip(archs, latency_s, strict=True)
        ]
        assert model.fold(space.blocks)(index, latency_s) == pytest.approx(one_by_one)


def test_too_few_joules_are_refused() -> None:
    with pytest.raises(InputError, match="3 networks have a measured energy"):
        fit_energy(networks(3), *joules(3), PRIOR, "board", "hwmon", "a test")
    with pytest.raises(ProfileError, match="what its joules cover"):
        EnergyPredictor(PRIOR, "", "hwmon")


def test_the_file_holds_joules_their_scope_and_their_meter(tmp_path: Path) -> None:
    path = tmp_path / "energy.json"
    save_energy(fitted(), path)
    assert load_energy(path) == fitted()
    data = json.loads(path.read_text())
    assert (data["unit"], data["scope"], data["meter"], data["metric_source"]) == ("J", "board", "hwmon", "predicted")
    assert "seconds" not in json.dumps(data)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"schema": 2}, "newer"), ({"kind": "latency_predictor"}, "kind must be energy_predictor"), ({"scope": ""}, "scope: a joule"),
        ({"meter": None}, "meter: a joule"), ({"coefficients": {"macs_stem": {"seconds": 1.0}}}, "has joules and origin"),
        ({"half_width": -1.0}, "half_width"), ({"odd": 1}, "odd"),
    ],
)  # fmt: skip
def test_bad_files_are_named(change: dict[str, object], word: str) -> None:
    with pytest.raises(ProfileError, match=word):
        energy_from_dict({**energy_to_dict(fitted(8)), **change}, "energy.json")


def profile_of(folder: Path, **changes: object) -> DeviceProfile:
    """raspberrypi5, changed; None takes a key away."""
    shipped = load_profile("raspberrypi5").model_dump(mode="json", by_alias=True, exclude_none=True)
    return parse_profile({key: value for key, value in {**shipped, **changes}.items() if value is not None}, folder, "a test")


def test_a_profile_prefers_what_was_measured(tmp_path: Path) -> None:
    profile = profile_of(tmp_path)
    one, four = (Target("raspberrypi5", "onnxruntime", "unknown", "fp32", threads) for threads in (1, 4))
    model = profile.energy_model(one)
    assert model is not None
    assert model.scope == "core rail, net of idle"
    board = profile.energy_model(four)
    assert board is not None
    assert board.scope == "board"
    # What is compared has one scope.
    together = profile.energy_model(one, [four])
    assert together is not None
    assert together.scope == "board"
    save_energy(fitted(), profile.energy_path(one))
    assert isinstance(profile.energy_model(one), EnergyPredictor)
    assert isinstance(profile.energy_model(one, [four]), PowerTimesLatency)
    save_energy(dataclasses.replace(fitted(), scope="rail"), profile.energy_path(four))
    assert isinstance(profile.energy_model(one, [four]), PowerTimesLatency)


def test_a_profile_without_power_data_has_no_energy(tmp_path: Path) -> None:
    profile = profile_of(tmp_path, power=None, measured_power=None)
    assert profile.energy_model(Target("raspberrypi5", "onnxruntime", "unknown", "fp32", 1)) is None


def test_watts_net_of_idle_are_zero_at_rest() -> None:
    assert Power(scope="core rail, net of idle", watts={0: 0, 1: 1.4}, source="a test").is_net
    with pytest.raises(ValueError, match="net of idle are 0"):
        Power(scope="core rail, net of idle", watts={0: 0.2, 1: 1.4}, source="a test")
    with pytest.raises(ValueError, match="positive"):
        Power(watts={0: 0.0, 1: 1.4}, source="a test")
    assert Power(watts={0: 2.0, 1: 4.0}, spread=1.5, source="a test").limit_w == pytest.approx(18.0)
    assert Power(watts={0: 2.0, 1: 4.0}, spread=2.5, source="a guess by class").limit_w is None
    assert Power(watts={0: 2.0, 1: 4.0}, most_w=9.0, source="a test").limit_w == 9.0


def test_a_few_joules_do_not_narrow_the_band() -> None:
    assert fitted(8).model.half_width >= PRIOR.half_width
    assert fitted(9).model.half_width < PRIOR.half_width
