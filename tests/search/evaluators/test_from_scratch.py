"""Networks that train by themselves: each once, for as long as they keep up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nas.architecture import Architecture
from nas.config import HalvingRecipe, TrainRecipe
from nas.errors import TrainingError
from nas.search.evaluators import Evaluator, EvaluatorContext, from_scratch, open_evaluator
from nas.testing import EvaluatorContract
from tests.spaces import make_space

RECIPE = TrainRecipe(batch_size=32, lr=0.1, augment=False, flip=False)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> EvaluatorContext:
    """Networks of 8 x 8 digits, rungs at one and two epochs, no supernet."""
    stage = {"out_chs": 16, "depth": [1, 2], "kernel_size": [3, 5], "expand_ratio": [1, 2], "stride": 2}
    cache = tmp_path_factory.mktemp("trained")
    halving = HalvingRecipe(epochs=2, factor=2)
    return EvaluatorContext(make_space(stages=[stage]), "digits", 0, cache, None, threads=1, recipe=RECIPE, halving=halving)


@pytest.fixture(scope="module")
def opened(training: EvaluatorContext) -> Evaluator:
    return open_evaluator("train", training)


class TestTrainingEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, opened: Evaluator) -> Evaluator:
        return opened

    @pytest.fixture
    def archs(self, training: EvaluatorContext) -> list[Architecture]:
        return [training.space.smallest, training.space.largest, training.space.sample(3)]


def test_it_learns_and_says_how_long(training: EvaluatorContext) -> None:
    evaluation = open_evaluator("train", training).evaluate([training.space.largest])[0]
    assert evaluation.metrics["accuracy_search"].value > 0.4  # chance is .1
    assert evaluation.metrics["accuracy_search"].source == "trained"
    assert evaluation.metrics["train_epochs"].value in (1, 2)
    assert evaluation.seconds > 0


def test_nothing_trains_twice_in_whatever_process(training: EvaluatorContext, monkeypatch: pytest.MonkeyPatch) -> None:
    archs = [training.space.smallest, training.space.largest]
    before = open_evaluator("train", training).evaluate(archs)
    monkeypatch.setattr(from_scratch, "train", None)  # to call it would fail
    again = open_evaluator("train", dataclasses.replace(training, threads=None)).evaluate(archs)
    assert again == before
    with pytest.raises(TypeError):
        open_evaluator("train", dataclasses.replace(training, data_seed=1)).evaluate(archs)


def test_those_that_fall_behind_are_halted(training: EvaluatorContext, tmp_path: Path) -> None:
    """Everybody is compared with networks that know everything already and cost nothing."""
    context = dataclasses.replace(training, cache=tmp_path)
    evaluator = open_evaluator("train", context)
    arch = context.space.sample(5)
    evaluator.evaluate([context.space.smallest])
    (home,) = (tmp_path / "trained").iterdir()
    for name in "abc":
        step = {"epochs": 1, "correct": 360, "images": 360, "seconds": 1.0}
        (home / f"{name}.json").write_text(json.dumps({"schema": 1, "macs": 1, "steps": [step], "done": True}))
    assert evaluator.evaluate([arch])[0].metrics["train_epochs"].value == 1
    names = {"a", "b", "c", arch.arch_id, context.space.smallest.arch_id}
    assert {path.name for path in home.iterdir()} == {f"{name}.json" for name in names}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("after", [1, 2])
def test_a_training_that_was_killed_goes_on_to_the_same_result(
    training: EvaluatorContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    arch = training.space.sample(7)
    whole = open_evaluator("train", dataclasses.replace(training, cache=tmp_path / "whole")).evaluate([arch])[0]
    assert whole.metrics["train_epochs"].value == 2
    train, calls = from_scratch.train, 0

    def killed(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        done = train(*arguments, **options)  # type: ignore[arg-type]
        if calls == after:
            raise Killed
        return done

    cut = dataclasses.replace(training, cache=tmp_path / "cut")
    monkeypatch.setattr(from_scratch, "train", killed)
    with pytest.raises(Killed):
        open_evaluator("train", cut).evaluate([arch])
    monkeypatch.setattr(from_scratch, "train", train)
    assert open_evaluator("train", cut).evaluate([arch])[0].metrics == whole.metrics
    assert not [path for path in (tmp_path / "cut").rglob("*.safetensors") if path.is_file()]


def test_what_diverges_says_so_and_leaves_nothing(training: EvaluatorContext, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"lr": 1e30, "grad_clip": 1e30})
    evaluator = open_evaluator("train", dataclasses.replace(training, recipe=recipe, cache=tmp_path))
    for _ in range(2):
        with pytest.raises(TrainingError, match="try a smaller one"):
            evaluator.evaluate([training.space.smallest])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
