"""Accuracy counted image by image, and its standard error."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nas.errors import TrainingError
from nas.training.evaluate import accuracy, accuracy_metric


def batches(*counts: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(count, 3, generator=generator), torch.randint(3, (count,), generator=generator)) for count in counts]


def test_every_image_counts_once() -> None:
    """The network gives its input back: right where the largest value is at the label."""
    found = batches(7, 5, 1)
    expected = sum(int(max(range(3), key=row.tolist().__getitem__) == label) for x, y in found for row, label in zip(x, y, strict=True))
    assert accuracy(nn.Identity(), found) == (expected, 13)
    assert 0 < expected < 13


def test_outputs_that_are_not_finite_are_refused() -> None:
    (images, labels), *_ = batches(4)
    images[2, 1] = math.nan
    with pytest.raises(TrainingError, match="not finite"):
        accuracy(nn.Identity(), [(images, labels)])


def test_no_images_are_refused() -> None:
    with pytest.raises(TrainingError, match="at least one image"):
        accuracy(nn.Identity(), [])


@given(st.integers(1, 10**6).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_standard_error_is_that_of_laplaces_rule(numbers: tuple[int, int]) -> None:
    correct, total = numbers
    metric = accuracy_metric(correct, total, "supernet")
    assert metric.value == correct / total
    right, wrong = correct + 1, total - correct + 1
    assert metric.std == pytest.approx(math.sqrt(right * wrong / (total + 2) ** 3), rel=1e-9)
    assert metric.std > 0
    assert (metric.unit, metric.source) == ("1", "supernet")


def test_the_standard_error_by_hand() -> None:
    metric = accuracy_metric(8, 10, "trained")
    assert metric.std == pytest.approx(math.sqrt(0.75 * 0.25 / 12))
    assert metric.source == "trained"
    # A perfect score on few images is not called certain.
    assert accuracy_metric(10, 10, "trained").std == pytest.approx(math.sqrt(11 / 12 * 1 / 12 / 12))
