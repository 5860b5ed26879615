"""Images to batches: shuffled, augmented, normalised, one batch ahead of the consumer, and the same again after a resume."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from nas.config import TrainRecipe
from nas.training.augmentation import NOTHING, Augmentation, Plan, draw
from nas.training.data import ImageData, ImageSet

__all__ = ["Batch", "Batches", "normalise", "part_of", "tensors"]

Batch = tuple[Tensor, Tensor]
"""float32 (batch, channels, height, width) in channels_last, and int64 (batch,); float32 (batch, classes) where images are mixed, and
(batch, 2, classes), the label's and the teacher's probabilities, where there is a teacher."""
RESIDENT_SHARE = 0.25
"""Of a GPU's free memory that images may take to live there."""


def normalise(images: NDArray[Any], mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """0 to 255, (n, height, width, channels), to float32 (n, channels, height, width) in channels_last: (x / 255 - mean) / std."""
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


@dataclass(frozen=True)
class Batches:
    """Batches for training. The order follows from (seed, epoch), the augmentation from (seed, epoch, step): a resume sees the same ones.

    Attributes:
        mean, std: of each channel, 0..1.
        batch_size: over all processes together.
        augmentation: what is done to images; by default nothing.
        classes: how many there are, for mixed labels.
        answers: of a teacher to each image, float32 (images, classes); None for none.
        rank, processes: this process gets its part of every batch.
        device: where batches are wanted. On a GPU, images that take a quarter of its free memory at most live there.
    """

    images: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_size: int
    seed: int
    augmentation: Augmentation = NOTHING
    classes: int = 0
    answers: Tensor | None = None
    rank: int = 0
    processes: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        if self.batch_size < 2 * self.processes:
            raise ValueError(f"batch_size must be at least 2 for batch norm in each of {self.processes} processes, got {self.batch_size}")

    @classmethod
    def of(cls, data: ImageData, recipe: TrainRecipe, seed: int, answers: Tensor | None = None) -> Batches:
        """The training images of a data set as a recipe wants them."""
        return cls(data.train, data.mean, data.std, recipe.batch_size, seed, Augmentation.of(recipe), data.num_classes, answers)

    def on(self, device: torch.device, rank: int = 0, processes: int = 1) -> Batches:
        """The same for another device, or for one of several processes."""
        return replace(self, device=device, rank=rank, processes=processes)

    def __len__(self) -> int:
        """Batches in an epoch. A last batch that leaves a process one image, which batch norm cannot use, is dropped."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest >= 2 * self.processes)

    def images_of(self, step: int) -> int:
        """Images in a batch, counted from 0 on in an epoch, over all processes together."""
        return min(self.batch_size, len(self.images) - step * self.batch_size)

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
        own = part_of(len(rows), self.rank, self.processes)
        size, channels = self.images.images.shape[2:]
        # Drawn for the whole batch, so that several processes do to each image what one would have done.
        plan = draw(self.augmentation, len(rows), size, channels, np.random.default_rng([self.seed, epoch, step])).part(own)
        images, labels = self._pixels(rows[own], plan)
        if self.answers is not None:
            taught = self.answers[torch.from_numpy(rows[own])].to(labels.device)
            labels = torch.stack([one_hot(labels, self.classes).float(), taught], dim=1)
        if plan.mix is None:
            return images, labels
        return plan.mix.images(images), plan.mix.labels(labels, self.classes)

    def _pixels(self, rows: NDArray[np.int64], plan: Plan) -> Batch:
        if self._resident is not None:
            images, labels = (each[self._place(rows)] for each in self._resident)
            values = plan.apply(images, self._place).float()
            mean, std = (self._place(255 * np.array(each, np.float32)) for each in (self.mean, self.std))
            return ((values - mean) / std).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last), labels
        pixels = normalise(plan.apply(self.images.images[rows], np.asarray), self.mean, self.std)
        labels = torch.from_numpy(self.images.labels[rows])
        if self.device.type == "cpu":
            return pixels, labels
        return tuple(each.pin_memory().to(self.device, non_blocking=True) for each in (pixels, labels))  # type: ignore[return-value]

    def _place(self, numbers: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)

    @cached_property
    def _resident(self) -> Batch | None:
        """All images and labels on the GPU; None on a CPU, and where they are too many."""
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        if self.images.images.nbytes > RESIDENT_SHARE * free:
            return None
        return self._place(self.images.images), self._place(self.images.labels)


def part_of(count: int, rank: int, processes: int) -> slice:
    """Which of `count` neighbours one of several processes takes: even numbers of them, so that pairs stay together, the last the rest."""
    each = count // processes // 2 * 2
    return slice(rank * each, (rank + 1) * each if rank + 1 < processes else count)
