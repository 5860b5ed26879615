"""Images to batches: shuffled, augmented, normalised, one batch ahead of the consumer, and the same again after a resume."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.training.data import ImageSet

__all__ = ["Batch", "Batches", "normalise", "tensors"]

Batch = tuple[Tensor, Tensor]
"""float32 (batch, channels, height, width) in channels_last, and int64 (batch,)."""


def normalise(images: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 (n, height, width, channels) to float32 (n, channels, height, width) in channels_last: (x / 255 - mean) / std."""
    if not len(mean) == len(std) == images.shape[3]:
        raise ValueError(f"mean and std need {images.shape[3]} channels, got {len(mean)} and {len(std)}")
    # NumPy, not torch: this runs in a thread of its own, where torch would start a second set of threads that fights with training.
    scale = (1 / (255 * np.array(std))).astype(np.float32)
    values = images * scale
    values -= (np.array(mean) / np.array(std)).astype(np.float32)
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def tensors(images: ImageSet, mean: tuple[float, ...], std: tuple[float, ...], batch_size: int) -> Iterator[Batch]:
    """Every image once, in order, as it is: for evaluation."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        yield normalise(images.images[rows], mean, std), torch.tensor(images.labels[rows])


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches for training. The order follows from (seed, epoch), the augmentation from (seed, epoch, step): a resume sees the same ones.

    Attributes:
        mean, std: of each channel, 0..1.
        augment: shift each image by up to an eighth of its size, the border mirrored.
        flip: mirror half of the images left to right, where `augment`; wrong for digits and letters.
    """

    images: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_size: int
    seed: int
    augment: bool = True
    flip: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 for batch norm, got {self.batch_size}")

    def __len__(self) -> int:
        """Batches in an epoch. A last batch of one image, which batch norm cannot use, is dropped."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest > 1)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start` on. The next one is made in the background while the consumer works with this one."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))
        steps = len(self)
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:  # leaving early waits for one batch at most
            ahead = pool.submit(self._make, order, epoch, start) if start < steps else None
            for step in range(start, steps):
                assert ahead is not None
                batch = ahead.result()
                ahead = pool.submit(self._make, order, epoch, step + 1) if step + 1 < steps else None
                yield batch

    def _make(self, order: NDArray[np.int64], epoch: int, step: int) -> Batch:
        rows = order[step * self.batch_size : (step + 1) * self.batch_size]
        images = self.images.images[rows]
        if self.augment:
            images = shift_and_flip(images, np.random.default_rng([self.seed, epoch, step]), self.flip)
        return normalise(images, self.mean, self.std), torch.from_numpy(self.images.labels[rows])


def shift_and_flip(images: NDArray[np.uint8], rng: np.random.Generator, flip: bool) -> NDArray[np.uint8]:
    """Random crops of images with mirrored borders of size // 8 pixels, half of them flipped: one gather of rows, one of columns.

    Args:
        images: (n, size, size, channels).
    """
    count, size = images.shape[:2]
    offsets = rng.integers(-(size // 8), size // 8 + 1, (2, count, 1))
    last = size - 1
    rows, columns = last - np.abs(last - np.abs(np.arange(size) + offsets))  # (n, size) each; -1 is 1, size is size - 2
    if flip:
        columns = np.where(rng.random((count, 1)) < 0.5, columns[:, ::-1], columns)
    image = np.arange(count)[:, None]
    shifted: NDArray[np.uint8] = images[image, rows][image[..., None], np.arange(size)[:, None], columns[:, None, :]]
    return shifted
