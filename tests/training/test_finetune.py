"""Fine-tuning: it may help, it may not hurt on search-validation."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from nas.config import TrainRecipe
from nas.errors import StoppedError, TrainingError
from nas.models.network import Network, recalibrate
from nas.training.batches import normalise, tensors
from nas.training.data import ImageData, ImageSet, load_data
from nas.training.evaluate import accuracy
from nas.training.finetune import calibration_images, finetune
from tests.spaces import make_space

STAGE = {"out_chs": 16, "depth": 2, "kernel_size": 3, "expand_ratio": 2, "stride": 2}
SPACE = make_space(stages=[STAGE])
RECIPE = TrainRecipe(batch_size=64, finetune_epochs=4, finetune_lr=0.2, flip=False, augment=False)


def score(network: Network, data: ImageData) -> int:
    return accuracy(network, tensors(data.search_validation, data.mean, data.std, 512))[0]


def build(data: ImageData, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    network = Network(SPACE.decode(SPACE.largest))
    recalibrate(network, calibration_images(data))
    return network


@pytest.fixture(scope="module")
def trained(digits: ImageData) -> tuple[dict[str, torch.Tensor], int]:
    """Weights that know most digits, and how many."""
    network = build(digits)
    result = finetune(network, None, digits, RECIPE, 0)
    assert result is not None
    assert result.epochs == RECIPE.finetune_epochs
    assert not network.training
    known = score(network, digits)
    assert known > 250  # of 360
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}, known


def restored(data: ImageData, trained: tuple[dict[str, torch.Tensor], int]) -> Network:
    network = build(data)
    network.load_state_dict(trained[0])
    return network


@pytest.mark.parametrize(("lr", "seed"), [(0.003, 0), (0.05, 1), (0.5, 2), (2.0, 3)])
def test_it_never_makes_search_validation_worse(
    few_digits: ImageData, trained: tuple[dict[str, torch.Tensor], int], lr: float, seed: int
) -> None:
    network = restored(few_digits, trained)
    recipe = RECIPE.model_copy(update={"finetune_lr": lr, "finetune_epochs": 2})
    result = finetune(network, None, few_digits, recipe, seed)
    after = score(network, few_digits)
    assert after >= trained[1]
    assert not network.training
    if result is None:
        assert all(torch.equal(tensor, trained[0][name]) for name, tensor in network.state_dict().items())
    else:
        assert not all(torch.equal(tensor, trained[0][name]) for name, tensor in network.state_dict().items())


def test_what_does_not_help_is_undone(few_digits: ImageData, trained: tuple[dict[str, torch.Tensor], int]) -> None:
    network = restored(few_digits, trained)
    assert finetune(network, None, few_digits, RECIPE.model_copy(update={"finetune_lr": 3.0}), 0) is None
    assert score(network, few_digits) == trained[1]


def test_no_epochs_leave_all_as_it_is(few_digits: ImageData, trained: tuple[dict[str, torch.Tensor], int]) -> None:
    network = restored(few_digits, trained)
    assert finetune(network, None, few_digits, RECIPE.model_copy(update={"finetune_epochs": 0}), 0) is None
    assert all(torch.equal(tensor, trained[0][name]) for name, tensor in network.state_dict().items())


def test_a_teacher_of_another_resolution_teaches(trained: tuple[dict[str, torch.Tensor], int]) -> None:
    """With labels that are all wrong and a loss that is the teacher's alone, the student learns what the teacher knows."""
    larger = load_data("digits", 12, 0)
    wrong = dataclasses.replace(larger, train=ImageSet(larger.train.images, (larger.train.labels + 1) % 10))
    space = make_space(resolution=12, stages=[STAGE])
    teacher = Network(SPACE.decode(SPACE.largest)).eval()
    teacher.load_state_dict(trained[0])
    torch.manual_seed(1)
    student, misled = (Network(space.decode(space.largest)) for _ in range(2))
    misled.load_state_dict(student.state_dict())
    for network in (student, misled):
        recalibrate(network, calibration_images(larger))
    recipe = RECIPE.model_copy(update={"distill_weight": 1.0, "finetune_epochs": 8})
    assert finetune(student, teacher, wrong, recipe, 0) is not None
    finetune(misled, None, wrong, recipe, 0)
    assert score(student, larger) > 120 > 72 > score(misled, larger)
    assert all(torch.equal(tensor, trained[0][name]) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_it_repeats(few_digits: ImageData) -> None:
    networks = [build(few_digits) for _ in range(2)]
    for network in networks:
        finetune(network, None, few_digits, RECIPE.model_copy(update={"finetune_epochs": 1, "augment": True}), 7)
    assert all(torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n in networks), strict=True))


def test_stop_and_divergence_are_passed_on(few_digits: ImageData) -> None:
    with pytest.raises(StoppedError):
        finetune(build(few_digits), None, few_digits, RECIPE, 0, stop=lambda: True)
    with pytest.raises(TrainingError, match="try a smaller one"):
        finetune(build(few_digits), None, few_digits, RECIPE.model_copy(update={"finetune_lr": 1e30, "grad_clip": 1e30}), 0)


def test_calibration_sees_training_images_as_they_are_each_once(digits: ImageData) -> None:
    batches = calibration_images(digits)
    images = torch.cat(batches)
    known = normalise(digits.train.images, digits.mean, digits.std)
    key: Any = lambda tensor: sorted(row.numpy().tobytes() for row in tensor.contiguous())  # noqa: E731
    assert key(images) == key(known)
    assert [len(batch) for batch in batches] == [216, 216, 216, 216, 213]


@pytest.mark.parametrize("count", [2, 255, 256, 257, 513])
def test_no_batch_of_one_image_decides_the_statistics(digits: ImageData, count: int) -> None:
    """Cumulative averages weigh batches alike, and one pixel of one image has no variance at all."""
    data = dataclasses.replace(digits, train=ImageSet(digits.train.images[:count], digits.train.labels[:count]))
    assert sum(map(len, calibration_images(data))) == count
    assert min(map(len, calibration_images(data))) >= min(count, 128)
    shrunk = make_space(resolution=8, stem={"out_chs": 8, "stride": 4}, stages=[STAGE])
    recalibrate(Network(shrunk.decode(shrunk.largest)), calibration_images(data))
