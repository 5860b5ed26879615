"""Images of any number of channels, as arrays: a .npz with `images` and `labels`."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas.errors import DataError
from nas.training.cache import Pool
from nas.training.images import PART_NAMES, Part
from nas.training.pixels import square

__all__ = ["read_arrays"]

FORM = "images uint8 (n, height, width, channels) or (n, height, width), labels whole numbers (n,), and perhaps sets (n,) and classes"
PICTURE_CHS = frozenset({1, 3, 4})
"""Channels of grey pictures, of coloured ones, and of those with transparency: where they come first, they were meant to come last."""


def read_arrays(path: Path, size: int) -> tuple[Pool, int]:
    """The images of a .npz, their centre squares resized to `size` x `size` pixels; and the pixels of their shorter side as they were.

    Args:
        path: a file with `images` uint8 (n, height, width, channels) or (n, height, width), `labels` (n,), whole numbers from 0 on; and
            where there are, `sets`, "train", "val" or "test" for each image, and `classes`, a name for each label.

    Raises:
        DataError: it cannot be read, its arrays do not fit together, or channels come before height and width; says which.
    """
    try:
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it is one array, a .npy under another name")
            with file:
                arrays = {name: np.asarray(file[name]) for name in ("images", "labels", "sets", "classes") if name in file.files}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as exc:  # RuntimeError: locked by a password
        raise DataError(f"{path} cannot be read ({str(exc).splitlines()[0][:120]}): a .npz has {FORM}") from exc
    images, labels = _checked(path, arrays)
    parts = _parts(path, arrays.get("sets"), len(labels))
    classes = tuple(_words(path, arrays["classes"]) if "classes" in arrays else map(str, range(int(labels.max()) + 1)))
    if len(classes) < 2 or int(labels.max()) >= len(classes) or len(set(classes)) != len(classes):
        raise DataError(f"{path}: labels go up to {labels.max()}, classes are {', '.join(classes[:4])}: a name for each, at least two")
    order = np.lexsort((np.arange(len(labels)), labels, parts))
    images, labels, parts = images[order], labels[order], parts[order]
    digests = np.array([hashlib.sha256(image.tobytes()).digest()[:8] for image in images], dtype="S8").view(np.uint64)
    content = hashlib.sha256(digests.tobytes() + labels.tobytes() + parts.tobytes() + "\0".join(classes).encode())
    content.update(str(images.shape).encode())
    paths = tuple(f"images[{number}]" for number in order)
    pool = Pool(classes, _resized(images, size), labels, parts, digests, paths, content.hexdigest(), ())
    return pool, min(images.shape[1:3])


def _checked(path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    missing = [name for name in ("images", "labels") if name not in arrays]
    if missing:
        raise DataError(f"{path} has no array {missing[0]!r}: a .npz has {FORM}")
    images, labels = arrays["images"], arrays["labels"]
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise DataError(f"{path}: images are {images.dtype} {images.shape}: a .npz has {FORM}")
    chs, height, width = images.shape[1:]
    if width not in PICTURE_CHS and chs in PICTURE_CHS and chs < min(height, width):
        fix = "save images.transpose(0, 2, 3, 1), which is (n, height, width, channels)"
        raise DataError(f"{path}: images are {images.shape}, with channels ({chs}) before height and width: {fix}")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or int(labels.min()) < 0:
        raise DataError(f"{path}: labels are {labels.dtype} {labels.shape} for {len(images)} images: whole numbers from 0 on, one for each")
    return images, labels.astype(np.int64)


def _parts(path: Path, sets: NDArray[Any] | None, count: int) -> NDArray[np.uint8]:
    if sets is None:
        return np.full(count, Part.WHOLE, np.uint8)
    names = [name.lower() for name in _words(path, sets)]
    if strange := sorted(set(names) - PART_NAMES.keys()):
        raise DataError(f"{path}: sets has {strange[0]!r}: each is one of {', '.join(PART_NAMES)}")
    if len(names) != count:
        raise DataError(f"{path}: sets has {len(names)} entries for {count} images")
    return np.array([PART_NAMES[name] for name in names], np.uint8)


def _words(path: Path, array: NDArray[Any]) -> list[str]:
    """The entries of an array as text; many programs save text as bytes."""
    try:
        return [entry.decode() if isinstance(entry, bytes) else str(entry) for entry in array.reshape(-1)]
    except UnicodeDecodeError as exc:
        raise DataError(f"{path}: the names of classes and sets are UTF-8, {exc.object!r} is not: save them as text") from exc


def _resized(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(n, size, size, channels), channel by channel: Pillow knows no images of two or of thirteen."""
    if images.shape[1:3] == (size, size):
        return images
    found = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for number, image in enumerate(images):
        for channel in range(images.shape[3]):
            found[number, ..., channel] = np.asarray(square(Image.fromarray(np.ascontiguousarray(image[..., channel])), size))
    return found
