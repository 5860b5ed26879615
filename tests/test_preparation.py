"""What a configuration means before anything is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.config import check_config
from nas.errors import InputError
from nas.events import Event
from nas.preparation import prepare, start_of
from nas.space import load_space
from nas.training.data import load_data
from tests.training.pictures import grow


def test_a_search_starts_from_a_whole_network(tmp_path: Path) -> None:
    data, path = load_data("digits", 16, 0), tmp_path / "architecture.json"
    space = load_space("mobilenet_tiny").with_data(data.in_chs, data.num_classes)
    arch = replace(space.largest, widths=(("s1.b2.mid", 48),))
    path.write_text(json.dumps({"architecture": arch.to_dict(), "blocks": [block.to_dict() for block in space.decode(arch)]}))
    with pytest.raises(InputError, match=f"it was pruned.*name that of {space.largest.arch_id}"):
        start_of(str(path), space, data)
    path.write_text(json.dumps({"blocks": [block.to_dict() for block in space.decode(space.largest)]}))
    assert start_of(str(path), space, data) == space.largest


def test_workers_elsewhere_find_the_images_and_few_of_them_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos, told = grow(tmp_path / "photos", {"a": 60, "b": 60}), list[Event]()
    config = check_config({"study": "few", "devices": ("raspberrypi4",), "space": "mobilenet_tiny", "data": str(photos)})
    prepared = prepare(config, Path("runs"), told.append, lambda: False)
    assert prepared.cache == (tmp_path / "runs/.cache").resolve()
    (warning,) = [event.text for event in told if event.kind == "warning"]
    assert warning.startswith("84 training images in batches of 128 are 1 step(s) an epoch, 20 in all")


def test_nobody_is_warned_of_a_few_steps_from_given_weights(tmp_path: Path) -> None:
    photos, told = grow(tmp_path / "photos", {"a": 60, "b": 60}), list[Event]()
    values = {"study": "few", "devices": ("raspberrypi4",), "space": "mobilenet_tiny", "data": str(photos), "weights": "w.safetensors"}
    prepare(check_config(values), tmp_path / "runs", told.append, lambda: False)
    assert [event.text for event in told if event.kind == "warning"] == []
