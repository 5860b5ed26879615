"""Answers of a teacher are asked for once."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.config import TrainRecipe
from nas.errors import StoppedError
from nas.models.network import Network
from nas.training.answers import answers, kept_answers
from nas.training.batches import tensors
from nas.training.data import ImageData
from nas.training.teacher import NetworkTeacher
from tests.spaces import make_space


class Counting:
    """A teacher that finds all classes equally likely, and counts the images that it is asked of."""

    lanes, at_once = 1, 100

    def __init__(self, identity: str = "a") -> None:
        self.identity = identity
        self.asked = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return torch.full((len(images), 10), 0.1)


def test_a_teacher_is_asked_once_of_the_same_images(digits: ImageData, tmp_path: Path) -> None:
    teacher, images = Counting(), len(digits.train)
    plain, mirroring = TrainRecipe(flip=False), TrainRecipe(flip=True)
    for _ in range(2):
        assert kept_answers(teacher, digits, plain, tmp_path, lambda: False).shape == (images, 10)
    assert teacher.asked == images
    kept_answers(teacher, digits, plain.model_copy(update={"lr": 0.1}), tmp_path, lambda: False)
    assert teacher.asked == images
    kept_answers(teacher, digits, mirroring, tmp_path, lambda: False)
    assert teacher.asked == 3 * images
    kept_answers(other := Counting("b"), digits, plain, tmp_path, lambda: False)
    assert other.asked == images


def test_what_is_damaged_or_was_stopped_is_asked_again(digits: ImageData, tmp_path: Path) -> None:
    teacher, recipe = Counting(), TrainRecipe(flip=False)
    with pytest.raises(StoppedError):
        kept_answers(teacher, digits, recipe, tmp_path, lambda: teacher.asked > 0)
    first = kept_answers(teacher, digits, recipe, tmp_path, lambda: False)
    (path,) = (tmp_path / "answers").iterdir()
    path.write_bytes(b"half")
    teacher.asked = 0
    assert torch.equal(kept_answers(teacher, digits, recipe, tmp_path, lambda: False), first)
    assert teacher.asked == len(digits.train)


def test_every_image_is_answered_and_its_mirror_image(digits: ImageData) -> None:
    space = make_space()
    torch.manual_seed(0)
    network = Network(space.decode(space.largest)).eval()
    teacher = NetworkTeacher(network)
    images = torch.cat([batch for batch, _ in tensors(digits.train, digits.mean, digits.std, 500)])
    found, mirrored = (answers(teacher, digits, TrainRecipe(flip=flip)) for flip in (False, True))
    assert found.shape == (len(digits.train), 10)
    torch.testing.assert_close(found, teacher(images))
    torch.testing.assert_close(mirrored, (teacher(images) + teacher(images.flip(3))) / 2)
    assert not torch.allclose(found, mirrored)


def test_who_answers_otherwise_is_another_teacher() -> None:
    space = make_space()
    network = Network(space.decode(space.largest)).eval()
    teacher = NetworkTeacher(network)
    other = copy.deepcopy(network)
    assert NetworkTeacher(other).identity == teacher.identity
    with torch.no_grad():
        next(other.parameters()).mul_(2)
    assert NetworkTeacher(other).identity != teacher.identity
