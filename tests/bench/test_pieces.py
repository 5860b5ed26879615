"""What a part found is kept; other inputs begin anew."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path

import pytest

from nas.bench.pieces import Pieces, Row
from nas.errors import InputError, StoppedError


def test_a_part_is_done_once(tmp_path: Path) -> None:
    done: list[str] = []

    def part() -> Row:
        done.append("part")
        return {"network": "a", "accuracy": 0.9, "met": True}

    first = Pieces.of(tmp_path, {"weights": "1"}).once("int8-a", part)
    again = Pieces.of(tmp_path, {"weights": "1"}).once("int8-a", part)
    assert first == again == {"network": "a", "accuracy": 0.9, "met": True}
    assert len(done) == 1
    Pieces.of(tmp_path, {"weights": "1"}).once("int8-b", part)
    assert len(done) == 2


def test_other_inputs_are_another_folder_and_the_old_one_goes(tmp_path: Path) -> None:
    old = Pieces.of(tmp_path, {"weights": "1"})
    old.once("x", dict)
    new = Pieces.of(tmp_path, {"weights": "2"})
    assert old.folder != new.folder
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [new.folder]


def test_another_machine_goes_on_from_the_shared_file(tmp_path: Path) -> None:
    shared = tmp_path / "docs" / "x.json"
    here = Pieces.of(tmp_path / "here", {"recipe": (1, 2)}, shared)
    here.once("a", lambda: {"accuracy": 0.9})
    there = Pieces.of(tmp_path / "there", {"recipe": (1, 2)}, shared)
    assert there.once("a", lambda: pytest.fail("made again")) == {"accuracy": 0.9}
    there.once("b", lambda: {"points": [1, 2]})
    told = json.loads(shared.read_text())
    assert told["pieces"] == {"a": {"accuracy": 0.9}, "b": {"points": [1, 2]}}
    assert told["inputs"] == {"recipe": [1, 2]}


def test_what_was_not_shared_before_it_ended_is_shared_by_the_next_run(tmp_path: Path) -> None:
    shared = tmp_path / "x.json"
    Pieces.of(tmp_path / "here", {}).once("a", lambda: {"n": 1})
    assert not shared.exists()
    Pieces.of(tmp_path / "here", {}, shared)
    assert json.loads(shared.read_text())["pieces"] == {"a": {"n": 1}}


def test_shared_pieces_of_other_inputs_are_not_lost(tmp_path: Path) -> None:
    shared = tmp_path / "x.json"
    old = Pieces.of(tmp_path / "here", {"epochs": 14}, shared)
    old.once("a", lambda: {"n": 1})
    with pytest.raises(InputError, match=r"x\.json: its 1 pieces are of another epochs \(14 then, 15 now\)"):
        Pieces.of(tmp_path / "here", {"epochs": 15}, shared)
    assert old.folder.is_dir()
    shared.write_text("{}")
    with pytest.raises(InputError, match="no pieces of a benchmark"):
        Pieces.of(tmp_path / "here", {"epochs": 14}, shared)


def test_a_run_may_be_limited_to_some_new_pieces(tmp_path: Path) -> None:
    for run in range(2):
        pieces = Pieces.of(tmp_path, {}, new=2)
        for done in range(2 * run):
            pieces.once(f"p{done}", lambda: pytest.fail("made again"))
        pieces.once(f"p{2 * run}", dict)
        pieces.once(f"p{2 * run + 1}", dict)
        with pytest.raises(StoppedError, match=f"goes on with p{2 * run + 2}"):
            pieces.once(f"p{2 * run + 2}", dict)
    assert len(Pieces.of(tmp_path, {}, new=1).once("p0", lambda: pytest.fail("made again"))) == 0


def _who(name: str) -> dict[str, str | int]:
    return {"name": name, "process": os.getpid()}


def test_pieces_that_are_missing_are_made_side_by_side(tmp_path: Path) -> None:
    pieces = Pieces.of(tmp_path, {})
    pieces.once("b", lambda: {"name": "known"})
    made = pieces.all_once({name: partial(_who, name) for name in "abc"}, 2)
    assert [each["name"] for each in made] == ["a", "known", "c"]
    assert os.getpid() not in {made[0]["process"], made[2]["process"]}
    assert pieces.once("c", lambda: pytest.fail("made again")) == made[2]


def test_no_more_are_made_side_by_side_than_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="goes on with c"):
        Pieces.of(tmp_path, {}, new=2).all_once({name: partial(_who, name) for name in "abcd"}, 2)
    assert sorted(path.stem for path in tmp_path.glob("*/?.json")) == ["a", "b"]


def _broken() -> dict[str, int]:
    raise InputError("no images")


def _endless() -> dict[str, int]:
    time.sleep(600)
    return {}


def test_one_that_cannot_be_made_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        Pieces.of(tmp_path, {}).all_once({"a": _broken, "b": _endless}, 2)
