"""Images to train, search and test on: scikit-learn's digits, or any folder or .zip in ImageFolder layout.

Three disjoint sets. Train; search-validation, which scores candidates; test, which only finalists see.
    folder has train, val and test   they are used as they are
    train and one of val, test       that one is the test set; search-validation is 10 % of train, at most 5,000 images
    class folders only               15 % search-validation, 15 % test
    digits                           360 search-validation, 360 test
Every split is stratified and decided by the seed alone.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from nas.errors import DataError, UnknownNameError
from nas.training import cache as disk
from nas.training.images import Part, Source, list_images, open_source
from nas.training.pixels import Progress, decode, square

__all__ = ["ImageData", "ImageSet", "load_data"]

DIGITS = "digits"
# Data sets that people name and that would have to be downloaded, without "-", "_" and blanks.
DOWNLOADS = re.compile(
    r"caltech(101|256)|celeba|cifar(10|100)|coco|dtd|(|e|k|fashion|q)mnist|eurosat|fgvcaircraft|flowers102|food101|gtsrb|(|tiny)imagenet(|100|1k|21k)"
    r"|imagenette|imagewoof|lsun|oxford(|iiit)pets?|pcam|places365|stanfordcars|stl10|sun397|svhn|usps"
)
LAYOUT = "with train/<class>/*.jpg and test/<class>/*.jpg"
MOST_SKIPPED = 0.01  # share of the files
MIN_CLASS_IMAGES = 10  # of a class in a set that must be split
MAX_VALIDATION = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Images with their labels.

    Attributes:
        images: uint8 (n, height, width, channels); may lie on the disk, memory-mapped; read-only. Ordered by class.
        labels: int64 (n,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

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
        mean, std: of each channel over train, for pixels scaled to 0..1.
        skipped: "path: reason" of each file that could not be decoded (at most 1 % of them).
        duplicates: images of search-validation and test whose file occurs, byte for byte, in train too.
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

    def to_dict(self) -> dict[str, object]:
        """What the record of a study says of its data."""
        sets = {"train": self.train, "search_validation": self.search_validation, "test": self.test}
        return {
            "name": self.name,
            "classes": list(self.classes),
            "size": self.size,
            "in_chs": self.in_chs,
            "fingerprint": self.fingerprint,
            "images": {name: len(images) for name, images in sets.items()},
            "images_per_class": {name: np.bincount(s.labels, minlength=self.num_classes).tolist() for name, s in sets.items()},
            "mean": list(self.mean),
            "std": list(self.std),
            "skipped": list(self.skipped),
            "duplicates": self.duplicates,
        }


def load_data(name_or_path: str, size: int, seed: int, cache: Path | None = None, on_progress: Progress | None = None) -> ImageData:
    """Images of `size` x `size` pixels: the shorter side is resized, then the centre is cut out.

    Greyscale stays one channel where all images are greyscale, else everything becomes RGB; 16-bit is scaled to 8.

    Args:
        name_or_path: "digits", a folder or a .zip; a folder called digits is "./digits".
        seed: decides the split, nothing else.
        cache: folder for the decoded images, memory-mapped when they are asked for again. An entry is found by paths, sizes and CRC-32s
            (in a folder modification times): a file that was changed with all of these kept would not be noticed.
        on_progress: called with (files done, files in all) while decoding.

    Raises:
        UnknownNameError: no such name or path.
        DataError: a known name that would need a download, or images that cannot be used.
    """
    if size < 1 or seed < 0:
        raise DataError(f"the image size must be at least 1 pixel and the seed at least 0, got {size} and {seed}")
    if name_or_path == DIGITS:
        return _split(_digits(size), DIGITS, size, seed, test=360, validation=360)
    path = _find(name_or_path)
    with open_source(path) as source:
        pool = _read(source, path, size, cache, on_progress)
    return _split(pool, source.name, size, seed)


def _find(name_or_path: str) -> Path:
    try:
        path = Path(name_or_path).expanduser()
        if name_or_path and path.exists():
            return path
    except (OSError, RuntimeError) as error:
        raise DataError(f"{name_or_path!r} cannot be looked up ({error}): pass a folder or a .zip {LAYOUT}") from error
    if DOWNLOADS.fullmatch(re.sub(r"[-_ ]", "", name_or_path.lower())):
        raise DataError(f"{name_or_path} is not part of the package and nothing is downloaded: pass a folder or a .zip of it {LAYOUT}")
    if path.parent.is_dir() and (path.suffix or path.parent != Path()):
        beside = [str(other) for other in path.parent.iterdir() if other.is_dir() or other.suffix == ".zip"]
        raise UnknownNameError("folder or .zip of images", str(path), beside)
    raise UnknownNameError("data set", name_or_path, [DIGITS], hint=f"(or pass a folder or a .zip {LAYOUT})")


def _digits(size: int) -> disk.Pool:
    from sklearn.datasets import load_digits  # 0.8 s to import, for this name only

    grey, labels = load_digits(return_X_y=True)  # float (1797, 64), values 0..16
    small = np.rint(grey * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    images = np.stack([np.asarray(square(Image.fromarray(image), size)) for image in small])[..., None]
    digests = np.array([hashlib.sha256(image.tobytes()).digest()[:8] for image in small], dtype="S8").view(np.uint64)
    content = hashlib.sha256(small.tobytes() + labels.astype(np.int64).tobytes()).hexdigest()
    classes = tuple(map(str, range(10)))
    return disk.Pool(classes, images, labels.astype(np.int64), np.full(len(labels), Part.WHOLE, np.uint8), digests, content, ())


def _read(source: Source, path: Path, size: int, cache: Path | None, on_progress: Progress | None) -> disk.Pool:
    listing = list_images(source)
    key = hashlib.sha256(f"{disk.SCHEMA}\0{source.stamp}\0{size}".encode()).hexdigest()[:24]
    if cache is not None and (pool := disk.load(cache / key)) is not None:
        return pool
    needed_bytes = 2 * len(listing.files) * size * size * 3  # decoded, and a copy for the split
    free_bytes = psutil.virtual_memory().available
    if needed_bytes > free_bytes:
        raise DataError(
            f"{len(listing.files)} images of {size} x {size} pixels need {needed_bytes / 2**30:.1f} GiB of memory, "
            f"{free_bytes / 2**30:.1f} are free: pass fewer images or a space with a smaller resolution"
        )
    decoded = decode(source.read, listing.files, size, on_progress)
    if len(decoded.skipped) > MOST_SKIPPED * len(listing.files):
        bad, first = f"{len(decoded.skipped)} of {len(listing.files)}", "; ".join(decoded.skipped[:3])
        raise DataError(f"{bad} images in {source.name} cannot be read (mend or remove them), the first: {first}")
    with open_source(path) as again:
        if again.stamp != source.stamp:
            raise DataError(f"{path} changed while it was read: start again when nothing writes to it")
    content = hashlib.sha256()
    for file, digest in zip(listing.files, decoded.digests, strict=True):
        content.update(f"{file.path}\0{file.size_bytes}\0".encode(errors="surrogateescape") + digest.tobytes())
    keep = decoded.readable
    pool = disk.Pool(
        listing.classes,
        decoded.images if keep.all() else decoded.images[keep],
        np.array(listing.labels, np.int64)[keep],
        np.array(listing.parts, np.uint8)[keep],
        np.ascontiguousarray(decoded.digests[keep, :8]).view(np.uint64)[:, 0],
        content.hexdigest(),
        decoded.skipped,
    )
    if cache is not None:
        disk.save(cache / key, pool)
        return disk.load(cache / key) or pool
    return pool


def _split(pool: disk.Pool, name: str, size: int, seed: int, test: int | None = None, validation: int | None = None) -> ImageData:
    """The three sets; `test` and `validation` count images where the whole pool is to be split."""
    rng = np.random.default_rng(seed)
    rows = {part: np.flatnonzero(pool.parts == part) for part in Part}
    if len(rows[Part.WHOLE]):
        whole = rows[Part.WHOLE]
        _check_enough(pool, whole)
        rows[Part.TEST], rest = _draw(pool, whole, test or round(0.15 * len(whole)), rng)
        rows[Part.VALIDATION], rows[Part.TRAIN] = _draw(pool, rest, validation or round(0.15 * len(whole)), rng)
    elif not (len(rows[Part.TEST]) and len(rows[Part.VALIDATION])):
        held_out = np.concatenate([rows[Part.TEST], rows[Part.VALIDATION]])
        if not len(held_out):
            raise DataError(f"{name} has train/ only: add test/<class>/, or pass the class folders themselves and they are split")
        rows[Part.TEST] = held_out
        train = rows[Part.TRAIN]
        _check_enough(pool, train)
        rows[Part.VALIDATION], rows[Part.TRAIN] = _draw(pool, train, min(MAX_VALIDATION, round(0.1 * len(train))), rng)
    in_train = np.bincount(pool.labels[rows[Part.TRAIN]], minlength=len(pool.classes))
    if not in_train.all():
        bad = pool.classes[int(in_train.argmin())]
        raise DataError(f"class {bad!r} of {name} has no readable image to train on: add some or remove the class")
    sets = {part: ImageSet(_take(pool.images, rows[part]), pool.labels[rows[part]]) for part in (Part.TRAIN, Part.VALIDATION, Part.TEST)}
    held_out = np.concatenate([rows[Part.VALIDATION], rows[Part.TEST]])
    mean, std = _moments(sets[Part.TRAIN].images)
    return ImageData(
        name=name,
        classes=pool.classes,
        train=sets[Part.TRAIN],
        search_validation=sets[Part.VALIDATION],
        test=sets[Part.TEST],
        fingerprint=hashlib.sha256(f"{pool.content}\0{size}\0{seed}".encode()).hexdigest()[:32],
        mean=mean,
        std=std,
        skipped=pool.skipped,
        duplicates=int(np.isin(pool.digests[held_out], pool.digests[rows[Part.TRAIN]]).sum()),
    )


def _check_enough(pool: disk.Pool, rows: NDArray[np.int64]) -> None:
    per_class = np.bincount(pool.labels[rows], minlength=len(pool.classes))
    worst = int(per_class.argmin())
    if per_class[worst] < MIN_CLASS_IMAGES:
        raise DataError(
            f"class {pool.classes[worst]!r} has {per_class[worst]} readable images to split into sets: "
            f"give each class at least {MIN_CLASS_IMAGES}, or make train/, val/ and test/ yourself"
        )


def _draw(pool: disk.Pool, rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Splits `rows` into about `count` that are stratified by class, at least one of each, and the rest; both ascending."""
    labels = pool.labels[rows]
    per_class = np.bincount(labels, minlength=len(pool.classes))
    share = per_class * (count / len(rows))
    quota = np.floor(share).astype(np.int64)
    quota[np.argsort(quota - share, kind="stable")[: count - quota.sum()]] += 1  # largest remainders
    quota = np.maximum(quota, 1)
    drawn = np.zeros(len(rows), np.bool_)
    for label, number in enumerate(quota):
        drawn[rng.permutation(np.flatnonzero(labels == label))[:number]] = True
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
