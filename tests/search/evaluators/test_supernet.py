"""Accuracy with inherited weights: repeatable, as torch itself would count it, and from files that are checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.architecture import Architecture
from nas.errors import DataError, InputError, ModelFileError
from nas.models.network import Network
from nas.models.weights import load_weights
from nas.search.evaluators import Evaluator, EvaluatorContext, open_evaluator
from nas.search.evaluators.supernet import SupernetEvaluator
from nas.testing import EvaluatorContract
from nas.training.data import load_data
from tests.search.conftest import save_supernet
from tests.spaces import make_space


@pytest.fixture(scope="module")
def opened(context: EvaluatorContext) -> SupernetEvaluator:
    found = open_evaluator("supernet", context)
    assert isinstance(found, SupernetEvaluator)
    return found


class TestSupernetEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, opened: SupernetEvaluator) -> Evaluator:
        return opened

    @pytest.fixture
    def archs(self, context: EvaluatorContext) -> list[Architecture]:
        space = context.space
        return list(dict.fromkeys([space.smallest, space.largest, *(space.sample(seed) for seed in range(2))]))


def test_accuracy_is_counted_on_search_validation(context: EvaluatorContext, opened: SupernetEvaluator) -> None:
    """The same by hand: inherited weights in a network in training mode once over all images sets its statistics."""
    arch = context.space.smallest  # 8 x 8, so images of 12 x 12 are resized
    data = load_data("digits", 12, 0)
    network = Network(context.space.decode(arch))
    network.load_state_dict(opened.extract(arch).state_dict())
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))

    def pixels(images: np.ndarray) -> torch.Tensor:
        x = (torch.from_numpy(np.array(images)).permute(0, 3, 1, 2) / 255 - mean) / std
        return F.interpolate(x, (8, 8), mode="bilinear", antialias=True)

    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(pixels(data.train.images))
        logits = network.eval()(pixels(data.search_validation.images))
    correct = int((logits.argmax(1).numpy() == data.search_validation.labels).sum())
    found = opened.evaluate([arch])[0].metrics["accuracy_search"]
    assert found.source == "supernet"
    # Averages over batches differ a little from those over all images at once.
    assert abs(found.value - correct / 360) <= 6 / 360
    assert found.value * 360 == pytest.approx(round(found.value * 360))


def test_weights_are_inherited(context: EvaluatorContext, opened: SupernetEvaluator) -> None:
    tensors, _ = load_weights(context.weights)
    network = opened.extract(context.space.largest)
    assert not network.training
    torch.testing.assert_close(network.state_dict()["body.stem.conv.weight"], tensors["model.shared.stem-conv.conv.weight"])


def test_images_of_one_size_make_one_network(context: EvaluatorContext, opened: SupernetEvaluator) -> None:
    """The largest size is not resized: the search scores what ships, bit by bit."""
    arch = context.space.largest
    both = (opened.extract(arch).state_dict(), opened.extract_for(arch, context.images(12)).state_dict())
    assert all(torch.equal(tensor, both[1][name]) for name, tensor in both[0].items())


def test_weights_of_another_space_are_refused(context: EvaluatorContext, tmp_path: Path) -> None:
    other = tmp_path / "weights.safetensors"
    save_supernet(make_space(), other)
    with pytest.raises(ModelFileError, match=r"weights\.safetensors: holds the weights of another space"):
        open_evaluator("supernet", dataclasses.replace(context, weights=other))
    other.write_bytes(other.read_bytes()[:200])
    with pytest.raises(ModelFileError, match=r"weights\.safetensors: not a weights file of ours"):
        open_evaluator("supernet", dataclasses.replace(context, weights=other))


def test_no_weights_are_refused(context: EvaluatorContext) -> None:
    with pytest.raises(InputError, match="needs the weights of a trained supernet"):
        open_evaluator("supernet", dataclasses.replace(context, weights=None))


def test_images_that_do_not_fit_into_memory_give_the_same_accuracy(
    context: EvaluatorContext, opened: SupernetEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepared once for each resolution, or anew each time."""
    archs = [context.space.smallest, context.space.largest]  # 8 x 8 and 12 x 12
    kept = [evaluation.metrics for evaluation in opened.evaluate(archs)]
    monkeypatch.setattr("nas.search.evaluators.supernet.KEPT_BYTES", 0)
    frugal = open_evaluator("supernet", context)
    assert [evaluation.metrics for evaluation in frugal.evaluate(archs)] == kept


def test_images_that_are_not_those_of_the_search_are_refused(context: EvaluatorContext) -> None:
    with pytest.raises(DataError, match="changed while the search went on"):
        open_evaluator("supernet", dataclasses.replace(context, content="another"))
