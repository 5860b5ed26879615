"""Numbers, objectives, constraints and candidates: each refuses what cannot be, naming it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.architecture import Architecture
from nas.errors import InputError
from nas.metrics import OBJECTIVES, UNITS, Candidate, Constraint, Metric, Objective
from nas.target import Target
from tests.report.strategies import metrics, numbers

ARCH = Architecture("tiny", (("s1.depth", 2),))
TARGET = Target("raspberrypi4", "onnxruntime", "1.22", "fp32", 1)


@given(metrics("s"))
def test_json_and_back(metric: Metric) -> None:
    assert Metric.from_dict(json.loads(json.dumps(metric.to_dict()))) == metric


def test_json_holds_what_is_set_only() -> None:
    assert Metric(0.9, "1", "supernet", std=0.01).to_dict() == {"value": 0.9, "std": 0.01, "unit": "1", "source": "supernet"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"value": math.nan}, "finite number, got nan"),
        ({"value": math.inf}, "finite number, got inf"),
        ({"source": "guessed"}, "source must be one of counted, .*, got 'guessed'"),
        ({"std": -0.1}, "finite and not negative, got -0.1"),
        ({"std": math.nan}, "got nan"),
        ({"std": math.inf}, "got inf"),
        ({"low": 0.5, "high": math.inf}, "must be finite and hold its value, got 0.5 <= 1.0 <= inf"),
        ({"low": 0.5}, "both ends, got low=0.5, high=None"),
        ({"low": 1.1, "high": 2.0}, "hold its value, got 1.1 <= 1.0 <= 2.0"),
        ({"low": math.nan, "high": 2.0}, "hold its value, got nan"),
        ({"sd": 0.1}, "may have std, low, high, scope; got .*'sd'"),
        ({"value": "fast"}, "value, std, low and high are numbers, .* got .*'fast'"),
        ({"std": [0.1]}, r"are numbers, .* got .*\[0.1\]"),
    ],
)
def test_metrics_that_cannot_be_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Metric.from_dict({"value": 1.0, "unit": "s", "source": "predicted", **changes})


def test_a_metric_without_a_source_is_refused() -> None:
    with pytest.raises(InputError, match=r"value, unit and source, .* got \['unit', 'value'\]"):
        Metric.from_dict({"value": 1.0, "unit": "s"})


@given(numbers, numbers)
def test_a_smaller_loss_is_better(one: float, other: float) -> None:
    assert (OBJECTIVES["accuracy"].loss(one) < OBJECTIVES["accuracy"].loss(other)) == (one > other)
    assert (OBJECTIVES["latency"].loss(one) < OBJECTIVES["latency"].loss(other)) == (one < other)


def test_objectives_are_metrics_that_have_a_unit() -> None:
    assert {objective.metric for objective in OBJECTIVES.values()} <= set(UNITS)
    with pytest.raises(InputError, match="unknown metric 'speed': known are accuracy_search"):
        Objective("speed", "maximize")


@given(st.floats(1e-9, 1e9), numbers)
def test_constraints_are_bounds(bound: float, value: float) -> None:
    assert Constraint("latency_s", bound).holds(value) == (value <= bound)
    assert Constraint("accuracy_search", bound, "min").holds(value) == (value >= bound)


@pytest.mark.parametrize(
    ("metric", "bound", "word"), [("speed", 1.0, "'speed'"), ("params", 0.0, "got 0"), ("params", math.inf, "got inf")]
)
def test_constraints_that_cannot_be_are_refused(metric: str, bound: float, word: str) -> None:
    with pytest.raises(InputError, match=word):
        Constraint(metric, bound)


def test_a_candidate_is_its_architecture_on_its_target() -> None:
    known = {"latency_s": Metric(0.01, "s", "predicted")}
    candidate = Candidate(ARCH, TARGET, known)
    known["energy_j"] = Metric(0.1, "J", "modelled", scope="board")
    assert set(candidate.metrics) == {"latency_s"}
    with pytest.raises(TypeError):
        candidate.metrics["energy_j"] = known["energy_j"]  # type: ignore[index]
    assert candidate.id == TARGET.candidate_id(ARCH.arch_id)
    assert candidate.id.startswith(ARCH.arch_id)


@pytest.mark.parametrize(
    ("name", "unit", "word"), [("latency_s", "ms", "'latency_s' must be in s, got 'ms'"), ("latency", "s", "'latency' must be in nothing")]
)
def test_candidates_keep_to_the_units(name: str, unit: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        Candidate(ARCH, TARGET, {name: Metric(1.0, unit, "predicted")})
