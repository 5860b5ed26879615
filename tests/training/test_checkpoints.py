"""Checkpoints: the last two, whole, whatever happens."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from nas.errors import InputError, ModelFileError
from nas.training.checkpoints import Checkpoints

TENSORS = {"a": torch.arange(5000.0)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_is_read_and_the_last_two_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "deep")
    assert kept.newest() is None
    for step in (5, 70, 600):
        kept.save(step, {"a": torch.full((3,), float(step))}, {"seconds": step / 2})
    assert names(kept.folder) == ["step-000000070.safetensors", "step-000000600.safetensors"]
    found = kept.newest()
    assert found is not None
    tensors, state, path = found
    assert tensors["a"].tolist() == [600.0] * 3
    assert state == {"schema": 1, "step": 600, "seconds": 300.0}
    assert path.name == "step-000000600.safetensors"
    assert kept.seconds() == 300.0
    kept.clear()
    assert kept.newest() is None
    assert kept.seconds() == 0.0
    kept.clear()


def test_a_damaged_one_costs_a_part_only(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for step in (1, 2):
        kept.save(step, TENSORS, {})
    newest = tmp_path / "step-000000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:-10])
    found = kept.newest()
    assert found is not None
    assert found[1]["step"] == 1
    (tmp_path / "step-000000001.safetensors").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"step-000000002\.safetensors: not a weights file of ours.*: delete it to train anew"):
        kept.newest()


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Writing more fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_ones_before(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for step in (1, 2):
        kept.save(step, TENSORS, {})
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with files_of_at_most(8192), pytest.raises(InputError, match=r"cannot write .*step-000000003.*free some space"):
        kept.save(3, TENSORS, {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole
    found = kept.newest()
    assert found is not None
    assert found[1]["step"] == 2
    kept.save(3, TENSORS, {})
    assert names(tmp_path) == ["step-000000002.safetensors", "step-000000003.safetensors"]
