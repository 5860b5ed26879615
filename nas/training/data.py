"""Images to train, search and test on: scikit-learn's digits, any folder or .zip in ImageFolder layout, or arrays in a .npz.

Three disjoint sets. Train; search-validation, which scores candidates; test, which only finalists see.
    folder has train, val and test   they are used as they are
    train and one of val, test       that one is the test set; search-validation is 10 % of train, at most 5,000 images
    class folders only               15 % search-validation, 15 % test
    digits                           360 search-validation, 360 test
Every split is stratified and decided by the seed alone; files that are equal byte for byte are drawn into one set, and count as one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from nas.errors import DataError, UnknownNameError
from nas.training import cache as disk
from nas.training.arrays import read_arrays
from nas.training.changes import difference
from nas.training.images import Listing, Part, Source, list_images, open_source
from nas.training.pixels import Progress, decode, shorter_side, square
from nas.training.sets import ImageData, ImageSet
from nas.training.split import split

__all__ = ["ImageData", "ImageSet", "load_data"]

DIGITS = "digits"
# Data sets that people name and that would have to be downloaded, without "-", "_" and blanks.
DOWNLOADS = re.compile(
    r"caltech(101|256)|celeba|cifar(10|100)|coco|dtd|(|e|k|fashion|q)mnist|eurosat|fgvcaircraft|flowers102|food101|gtsrb|(|tiny)imagenet(|100|1k|21k)"
    r"|imagenette|imagewoof|lsun|oxford(|iiit)pets?|pcam|places365|stanfordcars|stl10|sun397|svhn|usps"
)
LAYOUT = "with train/<class>/*.jpg and test/<class>/*.jpg"
MOST_SKIPPED = 0.01  # share of the files


def load_data(
    name_or_path: str, size: int, seed: int, cache: Path | None = None, on_progress: Progress | None = None, in_use: str = ""
) -> ImageData:
    """Images of `size` x `size` pixels: the shorter side is resized, then the centre is cut out.

    Greyscale stays one channel where all images are greyscale, else everything becomes RGB; 16-bit is scaled to 8. Images of other numbers
    of channels come as arrays in a .npz (`nas.training.arrays.read_arrays`).

    Args:
        name_or_path: "digits", a folder, a .zip or a .npz; a folder called digits is "./digits".
        seed: decides the split, nothing else.
        cache: folder for the decoded images, memory-mapped when they are asked for again. An entry is found by paths, sizes and CRC-32s
            (in a folder modification times): a file that was changed with all of these kept would not be noticed.
        on_progress: called with (files done, files in all) while decoding.
        in_use: `ImageData.content` of what is worked with already: a file that was left out then stays so, though it can be read by now.

    Raises:
        UnknownNameError: no such name or path.
        DataError: a known name that would need a download, or images that cannot be used.
    """
    if size < 1 or seed < 0:
        raise DataError(f"the image size must be at least 1 pixel and the seed at least 0, got {size} and {seed}")
    if name_or_path == DIGITS:
        return split(_digits(size), DIGITS, size, seed, test=360, validation=360)
    path = _find(name_or_path)
    if path.suffix.lower() == ".npz":
        pool, side = read_arrays(path, size)
        return replace(split(pool, path.stem, size, seed), shorter_side=side)
    with open_source(path) as source:
        pool = _read(source, path, size, cache, on_progress, in_use)
        side = shorter_side(source.read, source.files)
    return replace(split(pool, source.name, size, seed), shorter_side=side)


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
    paths = tuple(f"{number:04}" for number in range(len(labels)))
    return disk.Pool(classes, images, labels.astype(np.int64), np.full(len(labels), Part.WHOLE, np.uint8), digests, paths, content, ())


def _read(source: Source, path: Path, size: int, cache: Path | None, on_progress: Progress | None, in_use: str) -> disk.Pool:
    listing = list_images(source)
    key = hashlib.sha256(f"{disk.SCHEMA}\0{source.stamp}\0{size}".encode()).hexdigest()[:24]
    if cache is not None and (pool := disk.load(cache / key)) is not None:
        if pool.content == in_use or not _readable_by_now(source, listing, pool, size):
            return pool
        disk.forget(cache / key)
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
            stamps = ({file.path: (file.size_bytes, file.stamp) for file in each.files} for each in (source, again))
            raise DataError(f"{path} changed while it was read ({difference(*stamps)}): start again when nothing writes to it")
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
        tuple(file.path for file, readable in zip(listing.files, keep, strict=True) if readable),
        content.hexdigest(),
        decoded.skipped,
    )
    if cache is not None:
        disk.save(cache / key, pool)
        return disk.load(cache / key) or pool
    return pool


def _readable_by_now(source: Source, listing: Listing, pool: disk.Pool, size: int) -> bool:
    """Whether a file that was left out can be read after all: what was wrong with it may have been its permissions, or the network."""
    if not pool.skipped:
        return False
    known = set(pool.paths)
    return bool(decode(source.read, [file for file in listing.files if file.path not in known], size).readable.any())
