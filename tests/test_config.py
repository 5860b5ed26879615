"""The configuration: one place with defaults; what cannot be is refused by its key."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.config import MeasureProtocol, SearchConfig, TrainRecipe, check_config, default_recipe, default_space
from nas.errors import InputError
from nas.metrics import Constraint
from nas.space import space_names

BASE: dict[str, Any] = {"study": "a", "devices": ["raspberrypi4"], "space": "mobilenet_tiny", "data": "digits"}

recipes = st.builds(
    TrainRecipe,
    epochs=st.integers(1, 99),
    lr=st.floats(1e-6, 10),
    momentum=st.floats(0, 0.99),
    distill_weight=st.floats(0, 1),
    augment=st.booleans(),
)
configs = st.builds(
    SearchConfig,
    study=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    devices=st.sampled_from([("raspberrypi4",), ("raspberrypi4", "host")]),
    space=st.sampled_from(["mobilenet_tiny", "my spaces/wide.yaml"]),
    data=st.sampled_from(["digits", "../photos.zip"]),
    trials=st.integers(1, 10**6),
    time_budget_s=st.none() | st.floats(1, 1e6),
    objectives=st.sampled_from([("accuracy", "latency"), ("accuracy", "params", "energy")]),
    constraints=st.sampled_from([(), (Constraint("latency_s", 0.025), Constraint("accuracy_search", 0.9, "min"))]),
    seed=st.integers(0, 2**32 - 1),
    recipe=recipes,
    measure=st.builds(MeasureProtocol, windows=st.integers(2, 9), window_s=st.floats(0.01, 1)),
)


@settings(max_examples=50)
@given(configs)
def test_json_and_back(config: SearchConfig) -> None:
    assert check_config(json.loads(config.model_dump_json())) == config


def test_defaults_are_made_for_the_data() -> None:
    assert default_space("digits") == "mobilenet_tiny"
    assert {default_space("digits"), default_space("photos.zip")} <= set(space_names())
    assert not default_recipe("digits").flip
    assert default_recipe("photos.zip").flip
    config = check_config(BASE)
    assert (config.objectives, config.workers, config.seed) == (("accuracy", "latency"), 1, 0)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"trials": 0}, "trials: .*greater than or equal to 1, got 0"),
        ({"trials": -5}, "trials: .*got -5"),
        ({"trial": 5}, "trial: .*got 5"),
        ({"study": "../up"}, "study: .*got '../up'"),
        ({"study": ""}, "study: .*got ''"),
        ({"study": "MLflow"}, "study: .*choose another name, got 'MLflow'"),
        ({"devices": []}, "devices: "),
        ({"devices": ["host", "host"]}, "a device is named twice: host, host"),
        ({"precision": "fp64"}, "precision: .*got 'fp64'"),
        ({"objectives": ["accuracy", "speed"]}, "objectives: unknown objective 'speed': known are accuracy, latency"),
        ({"objectives": ["latency", "accuracy"]}, "objectives: .*accuracy first.*got latency, accuracy"),
        ({"objectives": ["accuracy"]}, "objectives: .*at least one cost"),
        ({"objectives": ["accuracy", "macs", "macs"]}, "objectives: .*each once"),
        ({"constraints": [{"metric": "speed", "bound": 1.0}]}, "constraints.0: constraint on unknown metric 'speed'"),
        ({"constraints": [{"metric": "params", "bound": -3.0}]}, "constraints.0: the bound of params must be a positive number, got -3"),
        (
            {"constraints": [{"metric": "params", "bound": 9, "kind": "min"}]},
            "constraints: a search cannot keep min params: it can keep min",
        ),
        (
            {"constraints": [{"metric": "accuracy_test", "bound": 0.9, "kind": "min"}]},
            "constraints: a search cannot keep min accuracy_test",
        ),
        ({"time_budget_s": 0}, "time_budget_s: .*got 0"),
        ({"time_budget_s": math.inf}, "time_budget_s: .*got inf"),
        ({"finalists": 0}, "finalists: .*got 0"),
        ({"workers": 0}, "workers: .*got 0"),
        ({"seed": -1}, "seed: .*got -1"),
        ({"seed": 2**32}, "seed: .*less than 4294967296, got 4294967296"),
        ({"recipe": {"lr": 0}}, "recipe.lr: .*got 0"),
        ({"recipe": {"lr": math.inf}}, "recipe.lr: .*got inf"),
        ({"recipe": {"learning_rate": 1}}, "recipe.learning_rate: .*got 1"),
        ({"recipe": {"batch_size": 1}}, "recipe.batch_size: .*got 1"),
        ({"measure": {"windows": 1}}, "measure.windows: .*got 1"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word) as refused:
        check_config({**BASE, **changes})
    assert "\n" not in str(refused.value)


def test_a_configuration_does_not_change() -> None:
    config = check_config(BASE)
    with pytest.raises(ValidationError, match="frozen"):
        config.trials = 5  # type: ignore[misc]


def test_threads_of_earlier_versions_are_read() -> None:
    assert check_config({**BASE, "threads": None}).threads == check_config(BASE).threads == ()
    assert check_config({**BASE, "threads": 2}).threads == (2,)
    assert check_config({**BASE, "threads": [1, 4]}).threads == (1, 4)
    for threads, word in ((0, "greater than or equal to 1"), ([1, 1], "named twice")):
        with pytest.raises(InputError, match=word):
            check_config({**BASE, "threads": threads})


@pytest.mark.parametrize(
    ("asked", "has_teacher", "weight"), [(None, False, 0.0), (None, True, 0.7), (0.3, False, 0.3), (0.3, True, 0.3), (0.0, True, 0.0)]
)
def test_finalists_learn_from_a_teacher_that_somebody_named(asked: float | None, has_teacher: bool, weight: float) -> None:
    recipe = TrainRecipe(distill_weight=0.7, finetune_distill_weight=asked)
    assert recipe.of_finalists(has_teacher=has_teacher).distill_weight == weight
