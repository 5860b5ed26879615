"""Weights as safetensors: tensors and a little text, no code. The home of safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nas.errors import ModelFileError
from nas.files import write_atomic_with

__all__ = ["load_weights", "save_weights"]


def save_weights(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Writes tensors and `state` (anything that JSON holds) into one file, atomically.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; a file that was there is as it was.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(contiguous, temporary, metadata={"state": json.dumps(dict(state))})
        except SafetensorError as exc:  # also where the disk is full
            raise OSError(str(exc)) from exc

    write_atomic_with(path, write)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of `save_weights`.

    Raises:
        ModelFileError: the file is absent, truncated or not ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata["state"])  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as exc:
        raise ModelFileError(f"{path}: not a weights file of ours: {exc}") from exc
