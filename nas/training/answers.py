"""What teachers say of the training images: asked once, for all epochs, all finalists and every resume."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from nas.config import TrainRecipe
from nas.errors import ModelFileError, StoppedError
from nas.models.lanes import each_on_a_thread
from nas.models.weights import load_weights, save_weights
from nas.training.batches import Batch, tensors
from nas.training.data import ImageData
from nas.training.teacher import Teacher

__all__ = ["answers", "kept_answers"]


def answers(teacher: Teacher, data: ImageData, recipe: TrainRecipe, stop: Callable[[], bool] | None = None) -> Tensor:
    """What a teacher says of each training image as it is; where the recipe mirrors images, the mean of what it says of both.

    Asked once, for all epochs and all that learn from it: a forward pass of a large teacher takes nearly as long as a training step of a
    small network (docs/evaluators.md).

    Returns:
        probabilities, float32 (images, classes), in the order of the training images.

    Raises:
        StoppedError: `stop` said so.
    """
    mirrored = recipe.augment and recipe.flip

    def ask(batch: Batch) -> Tensor:
        if stop is not None and stop():
            raise StoppedError("stopped while the teacher was asked")
        images, _ = batch
        found = teacher(images)
        return (found + teacher(images.flip(3))) / 2 if mirrored else found

    return torch.cat(each_on_a_thread(lambda: ask, tensors(data.train, data.mean, data.std, teacher.at_once), teacher.lanes))


def kept_answers(teacher: Teacher, data: ImageData, recipe: TrainRecipe, cache: Path, stop: Callable[[], bool]) -> Tensor:
    """`answers`, asked for once for a teacher, images and whether they are mirrored.

    Raises:
        StoppedError: `stop` said so.
        InputError: they cannot be written.
    """
    asked = f"{teacher.identity} {data.fingerprint} {recipe.augment and recipe.flip}"
    path = cache / "answers" / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.safetensors"
    with suppress(ModelFileError):  # none yet, or damaged
        return load_weights(path)[0]["answers"]
    found = answers(teacher, data, recipe, stop)
    save_weights(path, {"answers": found}, {"schema": 1})
    return found
