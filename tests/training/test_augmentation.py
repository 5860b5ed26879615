"""What is done to images, against plain loops and against what can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nas.config import TrainRecipe
from nas.training.augmentation import Augmentation, Mix, Plan, draw

PICTURES = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)


def augmented(augmentation: Augmentation, images: NDArray[np.uint8] = PICTURES, seed: int = 0) -> NDArray[Any]:
    count, size, _, channels = images.shape
    found: NDArray[Any] = draw(augmentation, count, size, channels, np.random.default_rng(seed)).apply(images, np.asarray)
    return found


def test_nothing_is_nothing() -> None:
    assert augmented(Augmentation()) is PICTURES
    assert np.array_equal(augmented(Augmentation(colour=1e-9)), PICTURES)


def test_a_recipe_says_what_is_done() -> None:
    assert Augmentation.of(TrainRecipe(augment=False, flip=True, mixup=0.2)) == Augmentation(mixup=0.2)
    assert Augmentation.of(TrainRecipe(flip=False)) == Augmentation(crop=True)


def test_colours_change_as_said() -> None:
    plan = Plan(factors=np.array([[1.2, 1.0, 1.0], [1.0, 0.5, 1.0], [1.0, 1.0, 0.0]], np.float32))
    brighter, flatter, grey = plan.apply(PICTURES[:3], np.asarray)
    np.testing.assert_allclose(brighter, (PICTURES[0] * 1.2).clip(0, 255), rtol=1e-5)
    mean = PICTURES[1].mean()
    np.testing.assert_allclose(flatter, (PICTURES[1] - mean) * 0.5 + mean, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(grey, np.broadcast_to(PICTURES[2].mean(axis=2, keepdims=True), (16, 16, 3)), rtol=1e-4, atol=1e-2)


def test_changes_stay_within_their_bounds() -> None:
    for augmentation in (Augmentation(colour=0.4), Augmentation(rand_augment=1.0), Augmentation(crop=True, flip=True, rand_augment=1.0)):
        out = augmented(augmentation)
        assert out.shape == PICTURES.shape
        assert out.dtype == np.float32
        assert out.min() >= 0
        assert out.max() <= 255
    grey = augmented(Augmentation(colour=0.4), np.full((4, 8, 8, 1), 100, np.uint8))
    assert ((grey >= 100 * 0.6) & (grey <= 100 * 1.4)).all()


def test_each_image_gets_a_change_of_its_own_and_some_none() -> None:
    same = np.repeat(PICTURES[:1], 200, axis=0)
    out = augmented(Augmentation(rand_augment=1.0), same).round().astype(int).reshape(200, -1)
    assert 60 < len(np.unique(out, axis=0)) < 200
    untouched = (out == same.reshape(200, -1)).all(axis=1).mean()
    assert 0.005 < untouched < 0.2  # 1 / 36, and changes that are too small to see


def test_rotations_keep_the_middle() -> None:
    """A rotation about the centre leaves a ring about the centre a ring."""
    rows, columns = np.indices((17, 17)) - 8
    distance = np.sqrt(rows**2 + columns**2)
    ring = np.where(abs(distance - 5) < 1.2, 200, 0).astype(np.uint8)[None, :, :, None]
    angle = 0.4
    affine = np.array([[[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]], np.float32)
    turned = Plan(affine=affine).apply(ring, np.asarray)
    assert (turned[0, :, :, 0][distance < 3] == 0).all()
    assert (turned[0, :, :, 0][abs(distance - 5) < 0.4] == 200).all()


def test_crop_and_flip_are_the_same_with_other_changes() -> None:
    """Where no geometric change is drawn, the affine map is the crop and the flip."""
    plain = draw(Augmentation(crop=True, flip=True), 64, 16, 3, np.random.default_rng(3))
    more = draw(Augmentation(crop=True, flip=True, rand_augment=1e-9), 64, 16, 3, np.random.default_rng(3))
    assert more.affine is not None
    np.testing.assert_array_equal(Plan(affine=more.affine).apply(PICTURES, np.asarray), plain.apply(PICTURES, np.asarray))


def test_solarized_and_posterized() -> None:
    plan = Plan(solarize=np.array([128, 256], np.float32), levels=np.array([1, 64], np.float32))
    solarized, posterized = plan.apply(PICTURES[:2], np.asarray)
    np.testing.assert_array_equal(solarized, np.where(PICTURES[0] >= 128, 255 - PICTURES[0].astype(int), PICTURES[0]))
    np.testing.assert_array_equal(posterized, PICTURES[1] // 64 * 64)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_labels_are_the_shares_of_the_pixels(kind: str) -> None:
    """Images of one value each: what is seen of a class is what its label says."""
    augmentation = Augmentation(mixup=1.0) if kind == "mixup" else Augmentation(cutmix=1.0)
    values = torch.arange(5.0)[:, None, None, None].expand(5, 1, 64, 64)
    for seed in range(20):
        mix = draw(augmentation, 5, 64, 1, np.random.default_rng(seed)).mix
        assert mix is not None
        assert (mix.box is None) == (kind == "mixup")
        images, labels = mix.images(values.contiguous()), mix.labels(torch.arange(5), 5)
        torch.testing.assert_close(images.mean(dim=(1, 2, 3)), (labels * torch.arange(5.0)).sum(dim=1), atol=0.08, rtol=0)
        assert labels[4].tolist() == [0, 0, 0, 0, 1]  # without a neighbour


def test_both_kinds_of_mixing_are_drawn() -> None:
    kinds = {draw(Augmentation(mixup=0.2, cutmix=1.0), 2, 8, 1, np.random.default_rng(seed)).mix.box is None for seed in range(20)}  # type: ignore[union-attr]
    assert kinds == {True, False}
    assert isinstance(draw(Augmentation(mixup=0.2), 2, 8, 1, np.random.default_rng(0)).mix, Mix)
