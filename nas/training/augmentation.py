"""Augmentation of a whole batch at once. What happens to each image is drawn with NumPy from a seed; the pixels may be a NumPy array or a
tensor on a GPU, and the same lines work on both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.config import TrainRecipe

__all__ = ["NOTHING", "Augmentation", "Mix", "Plan", "draw"]

Place = Callable[[NDArray[Any]], Any]
"""Brings numbers of a plan to where the pixels are."""
LARGEST_ROTATION = np.pi / 6
LARGEST_SHEAR = 0.3
LARGEST_SHIFT = 0.3
"""Of RandAugment at full strength: radians, and shares of the image's size (Cubuk et al. 2020, arXiv:1909.13719, appendix; their angles,
shears and translations)."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may be done to images; see `TrainRecipe` for each."""

    crop: bool = False
    flip: bool = False
    colour: float = 0.0
    rand_augment: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    @classmethod
    def of(cls, recipe: TrainRecipe) -> Augmentation:
        """That of a recipe."""
        return cls(
            recipe.augment, recipe.flip and recipe.augment, recipe.colour, recipe.rand_augment, recipe.mixup, recipe.cutmix
        )  # fmt: skip


NOTHING = Augmentation()
"""Images stay as they are."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How each image is mixed with its neighbour: 0 with 1, 2 with 3 and so on, so that a part of a batch of even size can be mixed alone.

    Attributes:
        share: of the image itself in its label, 0..1.
        box: (top, bottom, left, right) in shares of the size that is cut from the neighbour; None for mixup.
    """

    share: float
    box: tuple[float, float, float, float] | None = None

    def images(self, images: Tensor) -> Tensor:
        """(n, chs, size, size) mixed; same shape."""
        other = images[_neighbours(len(images))]
        if self.box is None:
            return images.mul(self.share).add_(other, alpha=1 - self.share)
        top, bottom, left, right = (round(side * images.shape[-1]) for side in self.box)
        mixed = images.clone(memory_format=torch.preserve_format)
        mixed[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        return mixed

    def labels(self, labels: Tensor, classes: int) -> Tensor:
        """int64 (n,) to probabilities (n, classes); probabilities (n, ..., classes) mixed."""
        known = labels if labels.is_floating_point() else torch.nn.functional.one_hot(labels, classes).float()
        return self.share * known + (1 - self.share) * known[_neighbours(len(labels))]


def _neighbours(count: int) -> Tensor:
    """Index of the neighbour of each of `count`; a last one without is its own."""
    return (torch.arange(count) ^ 1).clamp_(max=count - 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to each image of a batch.

    Attributes:
        rows, columns: where each row and column comes from, int64 (n, size); None for as it is.
        affine: from places in the result to places in the image, both centred, in pixels, float32 (n, 2, 3); instead of rows and columns.
        factors: of brightness, contrast and saturation, float32 (3, n); None for as they are.
        solarize: from which value on pixels are inverted, float32 (n,); 256 for none.
        levels: distance between the values that are left, float32 (n,); 1 for all.
    """

    rows: NDArray[np.int64] | None = None
    columns: NDArray[np.int64] | None = None
    affine: NDArray[np.float32] | None = None
    factors: NDArray[np.float32] | None = None
    solarize: NDArray[np.float32] | None = None
    levels: NDArray[np.float32] | None = None
    mix: Mix | None = None

    def part(self, rows: slice) -> Plan:
        """That of some of the images."""
        pick: Callable[[NDArray[Any] | None], Any] = lambda each: None if each is None else each[rows]  # noqa: E731
        factors = None if self.factors is None else self.factors[:, rows]
        return Plan(
            pick(self.rows), pick(self.columns), pick(self.affine), factors, pick(self.solarize), pick(self.levels), self.mix
        )  # fmt: skip

    def apply(self, images: Any, place: Place) -> Any:
        """uint8 (n, size, size, channels) to the same shape; uint8 where only places change, else float32 of 0 to 255.

        Args:
            images: an array, or a tensor on any device.
            place: `numpy.asarray` for arrays; for tensors what makes a tensor on their device.
        """
        if self.affine is not None:
            images = _gather(images, self.affine, place)
        elif self.rows is not None and self.columns is not None:
            image, size = np.arange(len(self.rows))[:, None], self.rows.shape[1]
            # One gather of rows, then one of columns: faster than one of pixels.
            images = images[place(image), place(self.rows)]
            images = images[place(image[..., None]), place(np.arange(size)[:, None]), place(self.columns[:, None, :])]
        if self.solarize is not None and self.levels is not None:
            values = _float(images)
            edge, step = (place(each[:, None, None, None]) for each in (self.solarize, self.levels))
            values = abs(values - (values >= edge) * place(np.full(1, 255, np.float32)))
            images = values // step * step
        return images if self.factors is None else _recoloured(_float(images), self.factors, place)


def draw(augmentation: Augmentation, count: int, size: int, channels: int, rng: np.random.Generator) -> Plan:
    """A plan for a batch of `count` images of `size` x `size` pixels; every draw is made where its kind is on, whatever comes of it."""
    rows = columns = None
    if augmentation.crop or augmentation.flip:
        rows, columns = _shifts(augmentation, count, size, rng)
    factors = affine = solarize = levels = None
    if augmentation.colour:
        factors = rng.uniform(1 - augmentation.colour, 1 + augmentation.colour, (3, count)).astype(np.float32)
    if augmentation.rand_augment:
        affine = _geometric(rows, columns, count, size, augmentation.rand_augment, rng)
        photometric = _photometric(count, augmentation.rand_augment, rng)
        solarize, levels = photometric[3], photometric[4]
        factors = photometric[:3] if factors is None else photometric[:3] * factors
    if factors is not None and channels == 1:
        factors[2] = 1.0  # grey has no saturation
    return Plan(rows, columns, affine, factors, solarize, levels, _mix(augmentation, rng))


def _shifts(a: Augmentation, count: int, size: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Random crops with mirrored borders of size // 8 pixels, half of them flipped: source rows and columns, (n, size) each."""
    reach = size // 8 if a.crop else 0
    offsets = rng.integers(-reach, reach + 1, (2, count, 1))
    last = size - 1
    rows, columns = last - np.abs(last - np.abs(np.arange(size) + offsets))  # -1 is 1, size is size - 2
    if a.flip:
        columns = np.where(rng.random((count, 1)) < 0.5, columns[:, ::-1], columns)
    return rows, columns


def _geometric(
    rows: NDArray[np.int64] | None, columns: NDArray[np.int64] | None, count: int, size: int, strength: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """One of nothing, rotation, shear and shift (along rows, columns) for each image, with the crop and the flip before it."""
    affine = np.zeros((count, 2, 3), np.float32)
    affine[:, [0, 1], [0, 1]] = 1.0
    kind, amount = rng.integers(0, 6, count), strength * rng.uniform(-1, 1, count)
    angle = np.where(kind == 1, LARGEST_ROTATION * amount, 0.0)
    affine[:, 0, 0] = affine[:, 1, 1] = np.cos(angle)
    affine[:, 0, 1], affine[:, 1, 0] = -np.sin(angle), np.sin(angle)
    for number, place, reach in ((2, (0, 1), LARGEST_SHEAR), (3, (1, 0), LARGEST_SHEAR), (4, (0, 2), LARGEST_SHIFT * size),
                                 (5, (1, 2), LARGEST_SHIFT * size)):  # fmt: skip
        affine[:, place[0], place[1]] += np.where(kind == number, reach * amount, 0.0)
    if rows is not None and columns is not None:
        middle = size // 2
        flipped = columns[:, middle] < columns[:, middle - 1]
        affine[:, 1] *= np.where(flipped, -1.0, 1.0)[:, None]
        centre = (size - 1) / 2
        affine[:, 0, 2] += rows[:, middle] - middle
        affine[:, 1, 2] += np.where(flipped, columns[:, middle] + middle - 2 * centre, columns[:, middle] - middle)
    return affine


def _photometric(count: int, strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """One of nothing, brightness, contrast, saturation, solarization and fewer levels for each image: rows of a plan, float32 (5, n)."""
    kind, amount = rng.integers(0, 6, count), strength * rng.uniform(0, 1, count)
    sign = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    found = np.ones((5, count), np.float32)
    for number in (0, 1, 2):
        found[number] += np.where(kind == number + 1, 0.9 * sign * amount, 0.0)
    found[3] = np.where(kind == 4, 256 * (1 - amount), 256.0)
    found[4] = np.where(kind == 5, 2.0 ** np.round(5 * amount), 1.0)
    return found


def _mix(augmentation: Augmentation, rng: np.random.Generator) -> Mix | None:
    """Mixup or cutmix for a batch; one draw serves all of its images."""
    cut = augmentation.cutmix > 0 and (not augmentation.mixup or rng.random() < 0.5)
    alpha = augmentation.cutmix if cut else augmentation.mixup
    if not alpha:
        return None
    share = float(rng.beta(alpha, alpha))
    if not cut:
        return Mix(share)
    side, middle = np.sqrt(1 - share), rng.random(2)
    low, high = np.clip(middle - side / 2, 0, 1), np.clip(middle + side / 2, 0, 1)
    area = float(np.prod(high - low))
    return Mix(1 - area, (float(low[0]), float(high[0]), float(low[1]), float(high[1])))


def _gather(images: Any, affine: NDArray[np.float32], place: Place) -> Any:
    """The nearest pixel of each place; places beyond the border are mirrored."""
    count, size = len(affine), images.shape[1]
    centre, last = (size - 1) / 2, size - 1
    ticks = np.arange(size) - centre
    sources = []
    for row, column, shift in affine.transpose(1, 2, 0)[..., None, None]:
        at = np.rint(row * ticks[:, None] + column * ticks + shift + centre).astype(np.int64)  # (n, size, size)
        sources.append((last - np.abs(last - np.abs(at))).clip(0, last))
    return images[place(np.arange(count)[:, None, None]), place(sources[0]), place(sources[1])]


def _recoloured(values: Any, factors: NDArray[np.float32], place: Place) -> Any:
    """Brightness, contrast (about the mean of the image) and saturation (about the mean of the pixel)."""
    brightness, contrast, saturation = (place(each[:, None, None, None]) for each in factors)
    values = values * brightness
    mean = values.mean((1, 2, 3), keepdims=True)
    values = (values - mean) * contrast + mean
    grey = values.mean((3,), keepdims=True)
    return ((values - grey) * saturation + grey).clip(0, 255)


def _float(images: Any) -> Any:
    return images.float() if isinstance(images, Tensor) else images.astype(np.float32, copy=False)
