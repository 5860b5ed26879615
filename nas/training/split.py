"""Train, search-validation and test from one pool: as folders name them, or drawn, stratified by class and decided by the seed alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError
from nas.training.cache import Pool
from nas.training.images import Part
from nas.training.sets import ImageData, ImageSet

__all__ = ["split", "subset"]

MIN_CLASS_IMAGES = 10  # different ones of a class in a set that must be split
MAX_VALIDATION = 5_000
SPLIT = 2  # part of the fingerprint: raise it when the same seed would draw other sets, ...
SPLIT_OF_COPIES = 3  # ... and this one when that is so only where files have copies


def split(pool: Pool, name: str, size: int, seed: int, test: int | None = None, validation: int | None = None) -> ImageData:
    """The three sets.

    Args:
        test, validation: images of these sets where the whole pool is to be split; 15 % each by default.

    Raises:
        DataError: too few images of a class to split or to train on.
    """
    rng = np.random.default_rng(seed)
    rows = {part: np.flatnonzero(pool.parts == part) for part in Part}
    origins = {Part.TRAIN: "train/", Part.VALIDATION: "val/", Part.TEST: "test/"}
    version = SPLIT
    if len(rows[Part.WHOLE]):
        whole = rows[Part.WHOLE]
        different = _check_enough(pool, whole)
        version = SPLIT if different == len(whole) else SPLIT_OF_COPIES
        rows[Part.TEST], rest = _draw(pool, whole, test or round(0.15 * different), rng)
        rows[Part.VALIDATION], rows[Part.TRAIN] = _draw(pool, rest, validation or round(0.15 * different), rng)
        origins = dict.fromkeys(origins, f"drawn from all images by seed {seed}")
    elif not (len(rows[Part.TEST]) and len(rows[Part.VALIDATION])):
        held_out = np.concatenate([rows[Part.TEST], rows[Part.VALIDATION]])
        if not len(held_out):
            raise DataError(f"{name} has train/ only: add test/<class>/, or pass the class folders themselves and they are split")
        origins[Part.TEST] = "test/" if len(rows[Part.TEST]) else "val/, the only set held out"
        rows[Part.TEST] = held_out
        train = rows[Part.TRAIN]
        different = _check_enough(pool, train)
        version = SPLIT if different == len(train) else SPLIT_OF_COPIES
        rows[Part.VALIDATION], rows[Part.TRAIN] = _draw(pool, train, min(MAX_VALIDATION, round(0.1 * different)), rng)
        origins[Part.VALIDATION], origins[Part.TRAIN] = f"drawn from train/ by seed {seed}", f"the rest of train/, seed {seed}"
    in_train = np.bincount(pool.labels[rows[Part.TRAIN]], minlength=len(pool.classes))
    if not in_train.all():
        bad = pool.classes[int(in_train.argmin())]
        raise DataError(f"class {bad!r} of {name} has no readable image to train on: add some or remove the class")
    sets = {part: _image_set(pool, rows[part], origin) for part, origin in origins.items()}
    trained, scored, tested = (pool.digests[rows[part]] for part in (Part.TRAIN, Part.VALIDATION, Part.TEST))
    duplicates = np.isin(scored, trained).sum() + np.isin(tested, np.concatenate([trained, scored])).sum()
    mean, std = _moments(sets[Part.TRAIN].images)
    return ImageData(
        name=name,
        classes=pool.classes,
        train=sets[Part.TRAIN],
        search_validation=sets[Part.VALIDATION],
        test=sets[Part.TEST],
        fingerprint=hashlib.sha256(f"{version}\0{pool.content}\0{size}\0{seed}".encode()).hexdigest()[:32],
        mean=mean,
        std=std,
        skipped=pool.skipped,
        duplicates=int(duplicates),
        content=pool.content,
    )


def subset(data: ImageData, count: int, seed: int) -> ImageData:
    """The same data with `count` training images, as many of each class or one more, drawn by the seed. Mean and deviation are theirs; the
    other two sets are as they were, and `duplicates` is at most what it says.

    Raises:
        DataError: there are not that many of a class, or fewer images than classes are asked for.
    """
    quota = np.full(data.num_classes, count // data.num_classes)
    quota[: count % data.num_classes] += 1
    short = np.flatnonzero(data.per_class < quota)
    if len(short) or not quota.all():
        smallest, label = int(data.per_class.min()), int(short[0] if len(short) else data.num_classes - 1)
        raise DataError(
            f"{count} balanced training images of {data.name} need {quota[label]} of class {data.classes[label]!r}, "
            f"which has {data.per_class[label]}: ask for {data.num_classes} to {data.num_classes * smallest}"
        )
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(data.train.labels == label))[:number] for label, number in enumerate(quota)]
    rows = np.sort(np.concatenate(drawn))
    images = _take(data.train.images, rows)
    digest = hashlib.sha256(f"{data.train.fingerprint}\0".encode() + rows.tobytes()).hexdigest()[:16]
    origin = f"{count} of {len(data.train)}, as many of each class, drawn by seed {seed}; all of them: {data.train.origin}"
    mean, std = _moments(images)
    fingerprint = hashlib.sha256(f"{data.fingerprint}\0{digest}".encode()).hexdigest()[:32]
    train = ImageSet(images, data.train.labels[rows], origin, digest)
    return replace(data, name=f"{data.name}, {count} training images", train=train, fingerprint=fingerprint, mean=mean, std=std)


def _image_set(pool: Pool, rows: NDArray[np.int64], origin: str) -> ImageSet:
    digest = hashlib.sha256(pool.digests[rows].tobytes()).hexdigest()[:16]
    return ImageSet(_take(pool.images, rows), pool.labels[rows], origin, digest)


def _check_enough(pool: Pool, rows: NDArray[np.int64]) -> int:
    """How many different files there are; copies of one make no class larger."""
    labels, digests = pool.labels[rows], pool.digests[rows]
    order = np.lexsort((digests, labels))
    first = np.ones(len(rows), np.bool_)  # of its copies in a class
    first[1:] = (np.diff(labels[order]) != 0) | (np.diff(digests[order]) != 0)
    per_class = np.bincount(labels[order][first], minlength=len(pool.classes))
    worst = int(per_class.argmin())
    if per_class[worst] < MIN_CLASS_IMAGES:
        kind = "different readable" if per_class[worst] < np.count_nonzero(labels == worst) else "readable"
        raise DataError(
            f"class {pool.classes[worst]!r} has {per_class[worst]} {kind} images to split into sets: "
            f"give each class at least {MIN_CLASS_IMAGES}, or make train/, val/ and test/ yourself"
        )
    return len(np.unique(digests))


def _draw(pool: Pool, rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Splits `rows` into about `count` different files that are stratified by class, at least one of each, with their copies, and the
    rest; both ascending."""
    digests = pool.digests[rows]
    different = np.sort(np.unique(digests, return_index=True)[1])  # the first of each file's copies
    labels = pool.labels[rows[different]]
    per_class = np.bincount(labels, minlength=len(pool.classes))
    share = per_class * (count / len(different))
    quota = np.floor(share).astype(np.int64)
    quota[np.argsort(quota - share, kind="stable")[: count - quota.sum()]] += 1  # largest remainders
    quota = np.maximum(quota, 1)
    drawn = np.zeros(len(rows), np.bool_)
    for label, number in enumerate(quota):
        drawn[rng.permutation(different[labels == label])[:number]] = True
    drawn |= np.isin(digests, digests[drawn])
    return rows[drawn], rows[~drawn]


def _take(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A view where the rows follow each other, so that what is memory-mapped stays so; else a copy."""
    taken = images[rows[0] : rows[-1] + 1] if rows[-1] - rows[0] + 1 == len(rows) else images[rows]
    taken.flags.writeable = False
    return taken


def _moments(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, 0..1; a constant channel has the deviation of one grey level."""
    total, squares = np.zeros((2, images[0].size), np.uint64)  # of each value of an image: whole numbers, so exact
    step = min(2**16, max(1, 2**20 // images[0].size))  # images at once: their squares, added up, fit 32 bits
    for start in range(0, len(images), step):
        values = images[start : start + step].reshape(-1, images[0].size).astype(np.uint16)  # 255 squared fits
        total += values.sum(axis=0, dtype=np.uint32)
        squares += np.square(values).sum(axis=0, dtype=np.uint32)
    count = images.size // images.shape[3]
    first, second = (sums.reshape(-1, images.shape[3]).sum(axis=0) / count for sums in (total, squares))
    std = np.sqrt(np.maximum(second - first**2, 1.0))
    return tuple(map(float, first / 255)), tuple(map(float, std / 255))
