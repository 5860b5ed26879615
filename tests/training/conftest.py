"""Digits at their own size, and few of them."""

from __future__ import annotations

import dataclasses

import pytest

from nas.training.data import ImageData, ImageSet, load_data


@pytest.fixture(scope="session")
def digits() -> ImageData:
    return load_data("digits", 8, seed=0)


@pytest.fixture(scope="session")
def few_digits(digits: ImageData) -> ImageData:
    """128 to train on."""
    return dataclasses.replace(digits, train=ImageSet(digits.train.images[:128], digits.train.labels[:128]))
