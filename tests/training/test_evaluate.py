"""Accuracy counted image by image, and its standard error."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nas.cost import count
from nas.errors import TrainingError
from nas.models.network import Network, recalibrate
from nas.training.batches import normalise
from nas.training.data import ImageData, ImageSet
from nas.training.evaluate import accuracy, accuracy_metric, calibration_images, images_at_once
from tests.spaces import make_space, shipped


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


def test_calibration_sees_training_images_as_they_are_each_once(digits: ImageData) -> None:
    batches = calibration_images(digits)
    images = torch.cat(batches)
    known = normalise(digits.train.images, digits.mean, digits.std)
    key: Any = lambda tensor: Counter(row.numpy().tobytes() for row in tensor.contiguous())  # noqa: E731
    assert key(images) <= key(known)
    assert [len(batch) for batch in batches] == [64] * 16


@pytest.mark.parametrize("count", [2, 255, 256, 257, 513])
def test_no_batch_of_one_image_decides_the_statistics(digits: ImageData, count: int) -> None:
    """Cumulative averages weigh batches alike, and one pixel of one image has no variance at all."""
    data = dataclasses.replace(digits, train=ImageSet(digits.train.images[:count], digits.train.labels[:count]))
    assert sum(map(len, calibration_images(data))) == count
    assert min(map(len, calibration_images(data))) >= min(count, 32)
    stage = {"out_chs": 16, "depth": 2, "kernel_size": 3, "expand_ratio": 2, "stride": 2}
    shrunk = make_space(resolution=8, stem={"out_chs": 8, "stride": 4}, stages=[stage])
    recalibrate(Network(shrunk.decode(shrunk.largest)), calibration_images(data))


def test_images_at_once_leave_the_largest_layer_in_the_cache() -> None:
    for name in ("mobilenet_cifar", "mobilenet_tiny", "mobilenetv3"):
        space = shipped(name)
        for arch in (space.smallest, space.largest):
            blocks = space.decode(arch)
            at_once = images_at_once(blocks)
            assert 1 <= at_once <= 256
            assert at_once == 1 or at_once * count(blocks).peak_activation_bytes <= 16 * 2**20
