"""What training and search see of a data set: three disjoint sets of images, and what the record says of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageData", "ImageSet"]

UNBALANCED = 10
"""Times the smallest class that the largest may be before somebody is told."""
FEW_AN_EPOCH, FEWEST_STEPS = 10, 200
"""Steps of an epoch and of a whole training, below which somebody is told: a guess. Digits take 17 and 340."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Images with their labels.

    Attributes:
        images: uint8 (n, height, width, channels); may lie on the disk, memory-mapped; read-only. Ordered by class.
        labels: int64 (n,).
        origin: where the images are from, for the record.
        fingerprint: 16 hex digits of all files in their order; equal sets of one data set have equal ones.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origin: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 (n, height, width, channels), got {self.images.dtype} {self.images.shape}")
        if self.labels.shape != (len(self.images),) or self.labels.dtype != np.int64:
            raise ValueError(f"labels must be int64 ({len(self.images)},), got {self.labels.dtype} {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """Three disjoint sets of one size and one list of classes.

    Attributes:
        classes: a label is an index into it.
        fingerprint: 32 hex digits; equal exactly where content, size and split are equal. A .zip and its unpacked folder agree.
        content: hex digits of all paths and bytes, whatever the size and the split.
        mean, std: of each channel over train, for pixels scaled to 0..1.
        skipped: "path: reason" of each file that could not be decoded (at most 1 % of them).
        duplicates: images of search-validation whose file occurs, byte for byte, in train too, and of test whose file is in either.
        shorter_side: of the images as they were given, pixels: the median of a few of them; 0 where it is not known.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    search_validation: ImageSet
    test: ImageSet
    fingerprint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped: tuple[str, ...] = ()
    duplicates: int = 0
    content: str = ""
    shorter_side: int = 0

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def in_chs(self) -> int:
        return int(self.train.images.shape[3])

    @property
    def size(self) -> int:
        """Height and width, pixels."""
        return int(self.train.images.shape[1])

    @property
    def per_class(self) -> NDArray[np.int64]:
        """Training images of each class, (classes,)."""
        return np.bincount(self.train.labels, minlength=self.num_classes)

    def warnings(self) -> list[str]:
        """What somebody should know before accuracies on these images are believed."""
        found = [f"image left out: {problem}" for problem in self.skipped]
        if self.duplicates:
            found.append(f"{self.duplicates} test or validation images occur in another set too: accuracies flatter")
        if self.shorter_side > self.size:
            text = f"images are reduced to {self.size} x {self.size} pixels, their shorter side has {self.shorter_side}"
            found.append(f"{text}: a space of a larger resolution sees more (--space NAME or FILE)")
        counts = self.per_class
        largest, smallest = int(counts.argmax()), int(counts.argmin())
        if counts[largest] >= UNBALANCED * counts[smallest]:
            ends = f"{self.classes[largest]} has {counts[largest]} training images, {self.classes[smallest]} {counts[smallest]}"
            found.append(f"classes are unbalanced ({ends}): accuracy tells mostly of the large ones")
        return found

    def few_steps(self, epochs: int, batch_size: int) -> str:
        """What somebody should know before a training on so few images that it hardly takes a step; empty of any other.

        Args:
            epochs: of the training; 0 trains nothing.
        """
        whole, rest = divmod(len(self.train), batch_size)
        an_epoch = max(1, whole + (rest > 1))  # batch norm cannot use one image
        if not epochs or an_epoch >= FEW_AN_EPOCH or an_epoch * epochs >= FEWEST_STEPS:
            return ""
        made = f"{len(self.train)} training images in batches of {batch_size} are {an_epoch} step(s) an epoch, {an_epoch * epochs} in all"
        smaller = max(2, min(batch_size, len(self.train) // FEW_AN_EPOCH))
        return (
            f"{made}: accuracies will hardly be better than chance. Ask for --epochs {math.ceil(FEWEST_STEPS / an_epoch)}, "
            f"or for smaller batches and a lower rate, e.g. --recipe batch_size={smaller} --recipe lr=0.05"
        )

    def to_dict(self) -> dict[str, object]:
        """What the record of a study says of its data."""
        sets = {"train": self.train, "search_validation": self.search_validation, "test": self.test}
        return {
            "name": self.name,
            "classes": list(self.classes),
            "size": self.size,
            "in_chs": self.in_chs,
            "fingerprint": self.fingerprint,
            "content": self.content,
            "sets": {
                name: {
                    "images": len(each),
                    "per_class": np.bincount(each.labels, minlength=self.num_classes).tolist(),
                    "origin": each.origin,
                    "fingerprint": each.fingerprint,
                }
                for name, each in sets.items()
            },
            "mean": list(self.mean),
            "std": list(self.std),
            "skipped": list(self.skipped),
            "duplicates": self.duplicates,
        }
