"""A data set that is not what it was: in which way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.training.changes import describe_change, difference
from nas.training.data import ImageData, load_data

from .pictures import grow, png


def test_differences_are_counted_and_named() -> None:
    before, after = {"a": 1, "b": 1, "c": 1, "d": 1}, {"b": 1, "c": 2, "e": 1, "f": 1, "g": 1}
    assert difference(before, after) == "3 files added (e, f, ...), 2 removed (a, d), 1 changed (c)"
    assert difference({"a": 1}, {}) == "1 file removed (a)"
    assert difference(before, before) == ""


def add(root: Path) -> None:
    (root / "train" / "a" / "new.png").write_bytes(png(77))


def swap(root: Path) -> None:
    (root / "train" / "b" / "0002.png").write_bytes(png(78))


def move(root: Path) -> None:
    shutil.move(root / "test" / "a" / "0001.png", root / "test" / "b" / "moved.png")


CASES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "added": (add, "1 file added (train/a/new.png)", "train a had 11 images and has 12"),
    "changed": (swap, "1 file changed (train/b/0002.png)", "as many images of each class as before, but other ones"),
    "moved": (
        move,
        "1 file added (test/b/moved.png), 1 removed (test/a/0001.png)",
        "test a had 3 images and has 2, test b had 3 images and has 4",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("remembered", [True, False])
def test_what_changed_is_told_from_the_cache_or_from_the_record(tmp_path: Path, case: str, remembered: bool) -> None:
    change, by_file, by_count = CASES[case]
    root, cache = grow(tmp_path / "set", {"train/a": 12, "train/b": 12, "test/a": 3, "test/b": 3}), tmp_path / "cache"

    def load() -> ImageData:
        return load_data(str(root), 8, 0, cache if remembered else None)

    before = load()
    change(root)
    after = load()
    assert after.fingerprint != before.fingerprint
    assert describe_change(cache, before.to_dict(), after.to_dict()) == (by_file if remembered else by_count)


def test_records_of_older_studies_are_not_stumbled_over(tmp_path: Path) -> None:
    assert describe_change(tmp_path, {"fingerprint": "0"}, {"fingerprint": "1"}) == "as many images of each class as before, but other ones"
