from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nas.hardware.energy import EnergyPredictor
from nas.hardware.profile import load_profile
from nas.metrics import Constraint
from nas.search import scoring
from nas.search.energy_axis import EnergyAxis, energy_axis, verdict
from nas.search.scored_domain import ScoredDomain
from nas.search.scoring import Scorer
from nas.space import load_space
from nas.target import Target

SPACE = load_space("mobilenet_tiny")
ROWS = SPACE.sample_rows(800, 0)


def of_threads(*counts: int) -> Scorer:
    profile = load_profile("raspberrypi4")
    made = []
    for threads in counts:
        target = Target("raspberrypi4", "onnxruntime", "unknown", "fp32", threads)
        made.append(Scorer(SPACE, target, profile.predictor(target), profile.energy_model(target)))
    first = made[0]
    return Scorer(SPACE, first.target, first.predictor, first.energy, made[1:])


def test_watts_times_seconds_add_nothing_on_one_target() -> None:
    axis = energy_axis(of_threads(1), ROWS)
    assert axis is not None
    assert axis.within == axis.across == pytest.approx(1.0)
    assert verdict([axis]) == "shown"
    assert axis.words("raspberrypi4", "shown").endswith("energy is shown, not searched")


def test_threads_make_it_an_axis_of_the_front() -> None:
    axis = energy_axis(of_threads(4, 2, 1), ROWS)
    assert axis is not None
    assert axis.within == pytest.approx(1.0)
    assert axis.across < 0.98
    assert axis.scored == 3 * len(ROWS)
    assert verdict([axis]) == "targets"
    assert "third axis" in axis.words("raspberrypi4", "targets")


def test_measured_joules_that_rank_otherwise_are_searched(predictor_of_joules: EnergyPredictor) -> None:
    scorer = of_threads(1)
    measured = Scorer(SPACE, scorer.target, scorer.predictor, predictor_of_joules)
    axis = energy_axis(measured, ROWS)
    assert axis is not None
    assert axis.within < 0.98
    assert verdict([axis]) == "searched"
    assert "searched too" in axis.words("raspberrypi4", "searched")


@pytest.fixture
def predictor_of_joules() -> EnergyPredictor:
    """Joules that fall with what seconds rise with, as far as an additive model can."""
    latency = of_threads(1).predictor
    turned = tuple(reversed(latency.coefficients))
    return EnergyPredictor(dataclasses.replace(latency, coefficients=turned), "board", "a test")


def test_without_power_data_or_with_too_few_nothing_is_said() -> None:
    scorer = of_threads(1)
    bare = Scorer(SPACE, scorer.target, scorer.predictor, None)
    assert energy_axis(bare, ROWS) is None
    assert "energy_j" not in bare.values(ROWS[:2])
    assert "energy_j" not in bare.metrics(SPACE.smallest)
    assert energy_axis(scorer, ROWS[:2]) is None
    known = EnergyAxis(0.5, 0.5, 1, 10)
    assert verdict([None]) == verdict([known, None]) == verdict([]) == "shown"


def test_a_bound_is_met_where_one_target_meets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one, four = of_threads(1), of_threads(4)
    both = of_threads(4, 1)
    bound = float(np.median(one.values(ROWS)["latency_s"]))
    constraints = (Constraint("latency_s", bound),)
    assert (both.meets(ROWS, constraints) == (one.meets(ROWS, constraints) | four.meets(ROWS, constraints))).all()
    assert both.meets(ROWS, constraints).sum() > one.meets(ROWS, constraints).sum()
    worst = ScoredDomain(of_threads(1, 4), (), constraints).violation(ROWS)
    assert ((worst <= 0) == both.meets(ROWS, constraints)).all()
    monkeypatch.setattr(scoring, "POOL", 1_000)
    monkeypatch.setattr(scoring, "CHUNK", 1_000)
    assert both.explore((), 0).ranges["latency_s"][0] < one.explore((), 0).ranges["latency_s"][0]
