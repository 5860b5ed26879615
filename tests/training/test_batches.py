"""Batches: the same again after a resume, each image once, shifted and flipped as said, and no thread left behind."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nas.training.augmentation import NOTHING, Augmentation, draw
from nas.training.batches import Batches, normalise, part_of, tensors
from nas.training.data import ImageSet

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def numbered(count: int, size: int = 8, channels: int = 3) -> ImageSet:
    """Image i has label i and is random noise of its own."""
    images = np.random.default_rng(1).integers(0, 256, (count, size, size, channels), np.uint8)
    images.flags.writeable = False
    return ImageSet(images, np.arange(count))


def background_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_normalise_is_what_its_formula_says(channels: int) -> None:
    images = numbered(5, channels=channels).images
    mean, std = tuple(np.linspace(0.2, 0.6, channels)), tuple(np.linspace(0.1, 0.3, channels))
    out = normalise(images, mean, std)
    expected = ((images / 255 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    assert out.shape == (5, channels, 8, 8)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(out.numpy(), expected, atol=2e-6)
    with pytest.raises(ValueError, match="channels"):
        normalise(images, (0.5,) * (channels + 1), (0.5,) * (channels + 1))


SHIFTED = Augmentation(crop=True, flip=True)


def shifted(images: NDArray[np.uint8], seed: int, *, flip: bool) -> NDArray[np.uint8]:
    count, size, _, channels = images.shape
    plan = draw(Augmentation(crop=True, flip=flip), count, size, channels, np.random.default_rng(seed))
    out: NDArray[np.uint8] = plan.apply(images, np.asarray)
    return out


def test_evaluation_sees_every_image_once_in_order() -> None:
    images = numbered(11)
    batches = list(tensors(images, MEAN, STD, 4))
    assert [len(labels) for _, labels in batches] == [4, 4, 3]
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(11))
    assert torch.equal(torch.cat([x for x, _ in batches]), normalise(images.images, MEAN, STD))
    with pytest.raises(ValueError, match="batch_size"):
        list(tensors(images, MEAN, STD, 0))


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 70), batch_size=st.integers(2, 32), seed=st.integers(0, 2**40), epoch=st.integers(0, 10**6))
def test_an_epoch_is_a_shuffle_that_repeats(count: int, batch_size: int, seed: int, epoch: int) -> None:
    batches = Batches(numbered(count), MEAN, STD, batch_size, seed, SHIFTED)
    first, again = list(batches.epoch(epoch)), list(batches.epoch(epoch))
    assert len(first) == len(batches)
    labels = [label for _, y in first for label in y.tolist()]
    assert len(set(labels)) == len(labels) == count - (count % batch_size == 1)
    for (x, y), (same_x, same_y) in zip(first, again, strict=True):
        assert torch.equal(x, same_x)
        assert torch.equal(y, same_y)


def test_a_resume_in_the_middle_of_an_epoch_goes_on_with_the_same_batches() -> None:
    batches = Batches(numbered(40), MEAN, STD, 8, 5, SHIFTED)
    whole, rest = list(batches.epoch(3)), list(batches.epoch(3, start=2))
    assert len(rest) == 3
    assert all(torch.equal(x, same) for (x, _), (same, _) in zip(whole[2:], rest, strict=True))
    assert list(batches.epoch(3, start=5)) == []


def test_epochs_and_seeds_differ() -> None:
    images = numbered(64)
    orders = {
        tuple(torch.cat([y for _, y in Batches(images, MEAN, STD, 16, seed).epoch(epoch)]).tolist()) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_without_augmentation_images_stay_as_they_are() -> None:
    images = numbered(20)
    for x, y in Batches(images, MEAN, STD, 6, 0, NOTHING).epoch(0):
        assert torch.equal(x, normalise(images.images[y.numpy()], MEAN, STD))


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 40), channels=st.integers(1, 3), flip=st.booleans(), seed=st.integers(0, 1000))
def test_shifts_are_crops_of_the_mirrored_border(size: int, channels: int, flip: bool, seed: int) -> None:
    images = numbered(4, size, channels).images
    out = shifted(images, seed, flip=flip)
    pad = size // 8
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    for index, image in enumerate(out):
        crops = [padded[index, top : top + size, left : left + size] for top in range(2 * pad + 1) for left in range(2 * pad + 1)]
        if flip:
            crops += [crop[:, ::-1] for crop in crops]
        assert any(np.array_equal(image, crop) for crop in crops)


def test_about_half_is_flipped_and_every_shift_occurs() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1).repeat(2000, axis=0)
    flipped = shifted(image, 0, flip=True)[:, 4, 3, 0] > shifted(image, 0, flip=True)[:, 4, 4, 0]
    assert 0.45 < flipped.mean() < 0.55
    plain = shifted(image, 0, flip=False)[:, 4, 4, 0]
    assert set(plain.tolist()) == {row * 8 + column for row in (3, 4, 5) for column in (3, 4, 5)}


def test_leaving_early_ends_the_thread() -> None:
    epoch = Batches(numbered(64), MEAN, STD, 8, 0).epoch(0)
    next(epoch)
    assert background_threads()
    epoch.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while background_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not background_threads()


def test_an_error_in_the_background_reaches_the_consumer() -> None:
    images = numbered(16)
    broken = Batches(images, MEAN[:2], STD[:2], 8, 0)
    with pytest.raises(ValueError, match="3 channels"):
        next(broken.epoch(0))
    assert not background_threads()


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Batches(numbered(4), MEAN, STD, 1, 0)


# --- several processes, mixed labels, a GPU's way of making batches ------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(count=st.integers(4, 80), processes=st.integers(1, 4))
def test_parts_of_a_batch_are_all_of_it(count: int, processes: int) -> None:
    parts = [range(count)[part_of(count, rank, processes)] for rank in range(processes)]
    assert [row for part in parts for row in part] == list(range(count))
    assert all(part.start % 2 == 0 for part in parts)  # neighbours stay together


EVERYTHING = Augmentation(crop=True, flip=True, colour=0.3, rand_augment=0.5, mixup=0.2, cutmix=1.0)


def test_two_processes_make_what_one_makes() -> None:
    batches = Batches(numbered(40), MEAN, STD, 16, 3, EVERYTHING, classes=40)
    cpu = torch.device("cpu")
    assert len(batches) == len(batches.on(cpu, 0, 2)) == 3
    for whole, first, second in zip(batches.epoch(1), batches.on(cpu, 0, 2).epoch(1), batches.on(cpu, 1, 2).epoch(1), strict=True):
        for number in (0, 1):
            assert torch.equal(whole[number], torch.cat([first[number], second[number]]))
        torch.testing.assert_close(whole[1].sum(dim=1), torch.ones(len(whole[1])))


def test_a_teachers_answers_come_with_their_images_and_are_mixed_as_they_are() -> None:
    told = torch.nn.functional.one_hot((torch.arange(12) + 1) % 12, 12).float()  # image i is answered with i + 1
    plain = Batches(numbered(12), MEAN, STD, 4, 0, classes=12)
    taught = Batches(numbered(12), MEAN, STD, 4, 0, classes=12, answers=told)
    for (images, labels), (same, pairs) in zip(plain.epoch(2), taught.epoch(2), strict=True):
        assert torch.equal(images, same)
        assert torch.equal(pairs.argmax(dim=2), torch.stack([labels, (labels + 1) % 12], dim=1))
    mixed = Batches(numbered(12), MEAN, STD, 4, 0, Augmentation(mixup=1.0), 12, told)
    for _, pairs in mixed.epoch(0):
        assert pairs.shape == (4, 2, 12)
        torch.testing.assert_close(pairs[:, 0].roll(1, dims=1), pairs[:, 1])


def test_a_rest_that_leaves_a_process_one_image_is_dropped() -> None:
    batches = Batches(numbered(35), MEAN, STD, 16, 0)
    assert len(batches) == 3
    assert len(batches.on(torch.device("cpu"), 0, 2)) == 2


def test_tensors_are_augmented_as_arrays_are() -> None:
    """On a GPU the same plan is carried out on tensors that live there."""
    images = numbered(12).images
    for augmentation in (SHIFTED, EVERYTHING):
        plan = draw(augmentation, 12, 8, 3, np.random.default_rng(0))
        array = plan.apply(images, np.asarray)
        tensor = plan.apply(torch.tensor(images), lambda numbers: torch.from_numpy(np.ascontiguousarray(numbers)))
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-4, atol=1e-3)
