"""What a configuration means before anything is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import InputError
from nas.preparation import start_of
from nas.space import load_space
from nas.training.data import load_data


def test_a_search_starts_from_a_whole_network(tmp_path: Path) -> None:
    data, path = load_data("digits", 16, 0), tmp_path / "architecture.json"
    space = load_space("mobilenet_tiny").with_data(data.in_chs, data.num_classes)
    arch = replace(space.largest, widths=(("s1.b2.mid", 48),))
    path.write_text(json.dumps({"architecture": arch.to_dict(), "blocks": [block.to_dict() for block in space.decode(arch)]}))
    with pytest.raises(InputError, match=f"it was pruned.*name that of {space.largest.arch_id}"):
        start_of(str(path), space, data)
    path.write_text(json.dumps({"blocks": [block.to_dict() for block in space.decode(space.largest)]}))
    assert start_of(str(path), space, data) == space.largest
