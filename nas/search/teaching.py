"""Answers of teachers, kept in the cache: every finalist of a study learns from the same ones, and so does a resume."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from nas.config import TrainRecipe
from nas.errors import ModelFileError
from nas.models.weights import load_weights, save_weights
from nas.training.data import ImageData
from nas.training.teacher import Teacher, answers

__all__ = ["kept_answers"]


def kept_answers(teacher: Teacher, data: ImageData, recipe: TrainRecipe, cache: Path, stop: Callable[[], bool]) -> Tensor:
    """`nas.training.teacher.answers`, asked for once for a teacher, images and whether they are mirrored.

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
