"""A smaller training set of the same data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import DataError
from nas.training.data import ImageData, load_data
from nas.training.split import subset

from .pictures import counts, keys


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
