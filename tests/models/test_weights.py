"""Weights on the disk: what is written is read, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas.errors import InputError, ModelFileError
from nas.models.supernet import Supernet
from nas.models.weights import load_weights, save_weights
from tests.spaces import make_space

STATE = {"schema": 1, "step": 7, "note": "é", "seconds": 1.5}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    space = make_space()
    supernet = Supernet(space.blocks)  # its convolutions are channels_last, so not contiguous
    save_weights(tmp_path / "deep" / "weights.safetensors", supernet.state_dict(), STATE)
    tensors, state = load_weights(tmp_path / "deep" / "weights.safetensors")
    assert state == STATE
    assert tensors.keys() == supernet.state_dict().keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in supernet.state_dict().items())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["weights.safetensors"]


def whole(path: Path) -> bytes:
    save_weights(path, {"a": torch.arange(100.0)}, STATE)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "weights.safetensors"
    content = whole(path)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelFileError, match=r"weights\.safetensors: not a weights file of ours"):
        load_weights(path)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for metadata in (None, {"format": "pt"}, {"state": "{"}):
        save_file({"a": torch.zeros(3)}, path, metadata=metadata)
        with pytest.raises(ModelFileError, match="not a weights file of ours"):
            load_weights(path)
    path.write_bytes(b"a pickle of somebody's")
    with pytest.raises(ModelFileError):
        load_weights(path)


def test_a_file_that_is_absent_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(ModelFileError, match="not a weights file of ours"):
            load_weights(path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        save_weights(tmp_path / "file" / "weights.safetensors", {"a": torch.zeros(3)}, STATE)
