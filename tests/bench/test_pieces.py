"""What a part found is kept; other inputs begin anew."""

from __future__ import annotations

from pathlib import Path

from nas.bench.pieces import Pieces, Row


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
