"""Several devices as one, with the shipped predictors of two boards."""

from __future__ import annotations

import numpy as np
import pytest

from nas.errors import InputError
from nas.hardware.profile import load_profile
from nas.metrics import Constraint
from nas.search.fleet import FleetScorer, Joint
from nas.search.scoring import Scorer
from nas.space import load_space

BOARDS = ("raspberrypi4", "pixel3")


@pytest.fixture(scope="module")
def members() -> list[Scorer]:
    space, found = load_space("mobilenet_tiny"), []
    for name in BOARDS:
        profile = load_profile(name)
        target = profile.target()
        found.append(Scorer(space, target, profile.predictor(target), profile.energy_model(target, [])))
    return found


@pytest.mark.parametrize("joint", ["worst", "mean"])
def test_figures_are_the_worst_or_the_mean_of_the_devices(members: list[Scorer], joint: Joint) -> None:
    fleet, over = FleetScorer(members, joint), {"worst": np.max, "mean": np.mean}[joint]
    rows = fleet.space.sample_rows(200, np.random.default_rng(0))
    values, each = fleet.values(rows), [member.values(rows) for member in members]
    for name in values:
        assert values[name] == pytest.approx(over([one[name] for one in each], axis=0))
    for row, arch in enumerate(fleet.space.decode_rows(rows[:5])):
        metrics, alone = fleet.metrics(arch), [member.metrics(arch) for member in members]
        assert metrics.keys() == values.keys()
        for name, metric in metrics.items():
            assert metric.value == pytest.approx(values[name][row])
            assert metric.source == alone[0][name].source
        latency = metrics["latency_s"]
        assert latency.low == pytest.approx(over([one["latency_s"].low for one in alone]))
        assert latency.high == pytest.approx(over([one["latency_s"].high for one in alone]))
        assert metrics["energy_j"].scope
        assert all(f"{name} {1e3 * one['latency_s'].value:.4g} ms" in fleet.words(arch) for name, one in zip(BOARDS, alone, strict=True))


def test_a_bound_on_the_worst_holds_on_every_device(members: list[Scorer]) -> None:
    fleet = FleetScorer(members, "worst")
    low, high = fleet.explore((), 0).ranges["latency_s"]
    bound = (Constraint("latency_s", (low * high) ** 0.5),)
    feasible = fleet.explore(bound, 0)
    assert 0 < feasible.share < 1
    for member in members:
        assert member.meets(feasible.rows, bound).all()


def test_other_devices_give_another_digest(members: list[Scorer]) -> None:
    digests = [FleetScorer(some, joint).digest for some in (members, members[::-1]) for joint in ("worst", "mean")]
    assert len({*digests, *(member.digest for member in members)}) == 6
    assert FleetScorer(members, "mean").digest == digests[1]


def test_one_device_is_no_fleet(members: list[Scorer]) -> None:
    with pytest.raises(InputError, match="two devices or more, got raspberrypi4"):
        FleetScorer(members[:1], "worst")
