"""Checkpoints of a training: whole or absent, the last two kept, so that a damaged one costs a part of the training and not all of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nas.errors import ModelFileError
from nas.models.weights import load_weights, save_weights

__all__ = ["Checkpoints"]

KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints in a folder of their own, step-<number>.safetensors: tensors, with the rest of the state as JSON in the same file."""

    folder: Path

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Writes one and drops all but the last two.

        Raises:
            InputError: the disk is full or cannot be written to; the checkpoints before it are as they were.
        """
        save_weights(self.folder / f"step-{step:09d}.safetensors", tensors, {"schema": 1, "step": step, **state})
        for path in self._paths()[KEPT:]:
            path.unlink(missing_ok=True)

    def newest(self) -> tuple[dict[str, Tensor], dict[str, Any], Path] | None:
        """Tensors, state and file of the newest that can be read; None where there is none.

        Raises:
            ModelFileError: there are some, and none can be read.
        """
        problem: ModelFileError | None = None
        for path in self._paths():
            try:
                tensors, state = load_weights(path)
            except ModelFileError as exc:
                problem = problem or exc
                continue
            return tensors, state, path
        if problem is not None:
            raise ModelFileError(f"{problem}: delete it to train anew") from problem
        return None

    def seconds(self) -> float:
        """Of training until the newest; 0 where there is none.

        Raises:
            ModelFileError: as `newest`.
        """
        newest = self.newest()
        return 0.0 if newest is None else float(newest[1]["seconds"])

    def clear(self) -> None:
        """Deletes all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _paths(self) -> list[Path]:
        """The newest first."""
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)
