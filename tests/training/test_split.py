"""Which images are drawn into which set, and a smaller training set of the same data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import DataError
from nas.training.data import ImageData, load_data
from nas.training.split import subset

from .pictures import counts, grow, keys, sets


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", 8, seed=0)


@given(count=st.integers(10, 900), seed=st.integers(0, 3))
def test_classes_are_balanced_and_only_train_changes(digits: ImageData, count: int, seed: int) -> None:
    fewer = subset(digits, count, seed)
    assert len(fewer.train) == sum(counts(fewer.train)) == count
    assert max(counts(fewer.train)) - min(counts(fewer.train)) <= 1
    assert keys(fewer.train) <= keys(digits.train)
    assert (fewer.test, fewer.search_validation) == (digits.test, digits.search_validation)


def test_it_is_the_same_again_and_known_as_another(digits: ImageData) -> None:
    one, again, other, more = (subset(digits, count, seed) for count, seed in ((100, 0), (100, 0), (100, 1), (101, 0)))
    assert np.array_equal(one.train.images, again.train.images)
    assert one.fingerprint == again.fingerprint
    assert len({each.fingerprint for each in (digits, one, other, more)}) == 4
    assert len({each.train.fingerprint for each in (digits, one, other, more)}) == 4
    assert one.name == "digits, 100 training images"
    assert one.train.origin.startswith("100 of 1077, as many of each class, drawn by seed 0")
    scaled = one.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(one.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize("count", [9, 1077])
def test_more_than_there_are_or_fewer_than_classes_are_refused(digits: ImageData, count: int) -> None:
    with pytest.raises(
        DataError, match=rf"{count} balanced training images of digits need \d+ of class '\d', which has \d+: ask for 10 to"
    ):
        subset(digits, count, 0)


def test_the_split_of_a_seed_stays_what_it_is(digits: ImageData) -> None:
    """Recorded figures and trained supernets are found by it."""
    assert digits.fingerprint == "c43dbac9649355aced4f36a1e52d1265"
    assert [each.fingerprint for each in sets(digits)] == ["fbb0d427c70a9354", "8f4b460c02351351", "d2d9a1bd04186752"]


def test_copies_of_a_file_count_as_one(tmp_path: Path) -> None:
    """100 different files of one class; 20 of the other, each of them five times."""
    root = grow(tmp_path, {"a": 100, "b": 20})
    for path in sorted((root / "b").iterdir()):
        for number in range(4):
            shutil.copy(path, path.with_name(f"{path.stem}-{number}.png"))
    for seed in range(3):
        data = load_data(str(root), 8, seed)
        assert [counts(part) for part in sets(data)] == [[70, 70], [15, 15], [15, 15]]
        assert data.duplicates == 0


def test_a_file_with_many_copies_empties_no_set(tmp_path: Path) -> None:
    root = grow(tmp_path, {"a": 60, "b": 11})
    for number in range(200):
        shutil.copy(root / "b" / "0000.png", root / "b" / f"copy{number}.png")
    for seed in range(6):
        data = load_data(str(root), 8, seed)
        assert all(min(counts(part)) >= 1 and len(counts(part)) == 2 for part in sets(data))
        assert [len(keys(part)) for part in sets(data)] == [49, 11, 11]
