"""A network trained by itself: repeatable, ended early or hurried, and honest about it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nas.bench.alone import train_alone
from nas.config import default_recipe
from nas.space import load_space
from nas.training.data import ImageData, load_data
from nas.training.split import subset

RECIPE = default_recipe("digits")


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return subset(load_data("digits", 16, seed=0), 400, 0)


def test_a_training_is_repeatable_and_asks_after_each_epoch_but_the_last(digits: ImageData) -> None:
    space, asked = load_space("mobilenet_tiny"), list[list[float]]()
    blocks = space.with_data(1, 10).decode(space.smallest)

    def never(curve: Sequence[float]) -> bool:
        asked.append(list(curve))
        return False

    one = train_alone(blocks, digits, RECIPE, 0, 3)
    other = train_alone(blocks, digits, RECIPE, 0, 3, is_hopeless=never)
    assert (one.accuracy_test, one.accuracy_validation) == (other.accuracy_test, other.accuracy_validation)  # looking changes nothing
    assert (one.curve, one.epochs, one.complete) == ((), 3, True)
    assert [len(curve) for curve in asked] == [1, 2]
    assert other.curve == tuple(asked[-1])
    assert one.accuracy_test != train_alone(blocks, digits, RECIPE, 1, 3).accuracy_test


def test_one_that_is_hopeless_or_late_says_so(digits: ImageData) -> None:
    space = load_space("mobilenet_tiny")
    blocks = space.with_data(1, 10).decode(space.smallest)
    ended = train_alone(blocks, digits, RECIPE, 0, 5, is_hopeless=lambda curve: len(curve) == 2)
    assert (ended.epochs, len(ended.curve), ended.complete) == (2, 2, False)
    hurried = train_alone(blocks, digits, RECIPE, 0, 1000, budget_s=0.5)
    assert hurried.epochs < 1000
    assert not hurried.complete
