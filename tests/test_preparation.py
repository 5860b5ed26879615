"""What is told before a search."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import InputError
from nas.preparation import Estimate, start_of
from nas.space import load_space
from nas.training.data import load_data


def test_finalists_that_devices_share_are_not_counted_twice() -> None:
    one = Estimate({"supernet": 60.0, "search": 30.0, "finalists": 120.0}, 10 * 2**20)
    assert one.event().text == "This will take about 3.5 minutes (supernet 1.0, search 0.5, finalists 2.0) and 10 MiB of disk"
    two = Estimate({"supernet": 60.0, "search": 30.0, "finalists": 240.0}, 10 * 2**20, shared_s=120.0)
    assert two.event().text == (
        "This will take about 3.5 to 5.5 minutes (supernet 1.0, search 0.5, finalists 2.0 to 4.0) and 10 MiB of disk; devices share "
        "finalists where one serves both"
    )
    assert two.event().fields["estimate_s"] == 330.0


def test_a_search_starts_from_a_whole_network(tmp_path: Path) -> None:
    data, path = load_data("digits", 16, 0), tmp_path / "architecture.json"
    space = load_space("mobilenet_tiny").with_data(data.in_chs, data.num_classes)
    arch = replace(space.largest, widths=(("s1.b2.mid", 48),))
    path.write_text(json.dumps({"architecture": arch.to_dict(), "blocks": [block.to_dict() for block in space.decode(arch)]}))
    with pytest.raises(InputError, match=f"it was pruned.*name that of {space.largest.arch_id}"):
        start_of(str(path), space, data)
    path.write_text(json.dumps({"blocks": [block.to_dict() for block in space.decode(space.largest)]}))
    assert start_of(str(path), space, data) == space.largest
