"""Files to arrays: Pillow decodes, everything becomes square uint8 images of one size."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nas.errors import DataError
from nas.training.images import ImageFile

__all__ = ["Decoded", "decode", "read_picture", "shorter_side", "square"]

Progress = Callable[[int, int], None]
MAX_PIXELS = 64_000_000  # a decompression bomb is skipped; a 60-megapixel camera is not
MAX_FILE_BYTES = 256 * 2**20
CHUNK = 256  # files to a task
LOOKED_AT = 16  # files whose size in pixels stands for that of all
# Measured on two cores with CIFAR-10's 900-byte JPEGs: one thread 14,000 images/s, two threads 6,900, because they fight for the
# interpreter's lock. Above this mean size decoding itself dominates, and Pillow does that without the lock.
SMALL_FILE_BYTES = 16 * 2**10
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
ORIENTATION = 0x0112  # of EXIF
UPRIGHT = {  # what each orientation but the first takes; ImageOps.exif_transpose writes EXIF anew as well, which fails on odd tags
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What became of `n` files, in their order.

    Attributes:
        images: uint8 (n, size, size, channels), channels 1 where all are greyscale, else 3; zeros where not `readable`.
        readable: bool (n,).
        digests: SHA-256 of each file's bytes, of a picture that is turned with a word after them, uint8 (n, 32); zeros where not
            `readable`.
        skipped: "path: reason" of each that is not `readable`.
    """

    images: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    digests: NDArray[np.uint8]
    skipped: tuple[str, ...]


def decode(read: Callable[[str], bytes], files: Sequence[ImageFile], size: int, on_progress: Progress | None = None) -> Decoded:
    """Reads and decodes all files; those that cannot be are noted, not raised.

    Args:
        size: height and width of the result, pixels.
        on_progress: called with (files done, files in all) about every 256 files.
    """
    images = np.zeros((len(files), size, size, 3), np.uint8)
    digests = np.zeros((len(files), 32), np.uint8)
    grey = np.ones(len(files), np.bool_)
    reasons: dict[int, str] = {}

    def work(start: int) -> None:
        for row in range(start, min(start + CHUNK, len(files))):
            try:
                with _told_as_data_error():
                    digests[row], grey[row], images[row] = _decode_one(read, files[row], size)
            except DataError as error:
                reasons[row] = str(error)

    starts = range(0, len(files), CHUNK)
    small = sum(file.size_bytes for file in files) < SMALL_FILE_BYTES * len(files)
    if small:
        for start in starts:
            work(start)
            _tell(on_progress, start, len(files))
    else:
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            for start, _ in zip(starts, pool.map(work, starts), strict=True):
                _tell(on_progress, start, len(files))
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    readable = np.ones(len(files), np.bool_)
    readable[list(reasons)] = False
    if grey[readable].all():
        images = np.ascontiguousarray(images[..., :1])
    return Decoded(images, readable, digests, tuple(f"{files[row].path}: {reasons[row]}" for row in sorted(reasons)))


def _tell(on_progress: Progress | None, start: int, total: int) -> None:
    if on_progress is not None:
        on_progress(min(start + CHUNK, total), total)


def _decode_one(read: Callable[[str], bytes], file: ImageFile, size: int) -> tuple[NDArray[np.uint8], bool, NDArray[np.uint8]]:
    """Digest (32,), whether it is greyscale, pixels (size, size, 3)."""
    if file.size_bytes > MAX_FILE_BYTES:
        raise ValueError(f"{file.size_bytes} bytes are too many")
    content = read(file.path)
    if not content:
        raise ValueError("zero bytes")
    pixels, grey, turned = _read(io.BytesIO(content), size)
    digest = hashlib.sha256(content)
    if turned:
        digest.update(b"\0turned")  # images of versions that saw it lying are other ones: they have another fingerprint
    return np.frombuffer(digest.digest(), np.uint8), grey, pixels


def read_picture(file: Path | BinaryIO, size: int) -> tuple[NDArray[np.uint8], bool]:
    """A picture as networks are given it, in training and afterwards: RGB (size, size, 3), its centre square; and whether it is grey.

    It is turned upright where EXIF says how it was held, as photos of phones do. 16-bit pixels are scaled to 8.

    Raises:
        DataError: it is broken, has too many pixels, or pixels without a known range; says which.
    """
    pixels, grey, _ = _read(file, size)
    return pixels, grey


def _read(file: Path | BinaryIO, size: int) -> tuple[NDArray[np.uint8], bool, bool]:
    """As `read_picture`, and whether it was turned."""
    with _told_as_data_error(), Image.open(file) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many")
        if min(image.size) >= 4 * size:
            image.draft(image.mode, (2 * size, 2 * size))  # a JPEG is decoded at 1/2, 1/4 or 1/8, never below twice the size
        grey = image.mode in GREY_MODES
        image.load()  # Pillow turns a TIFF while it loads it
        rgb, turn = _to_rgb(image), UPRIGHT.get(_orientation(image))
        return np.asarray(square(rgb if turn is None else rgb.transpose(turn), size)), grey, turn is not None


def shorter_side(read: Callable[[str], bytes], files: Sequence[ImageFile]) -> int:
    """Pixels of the shorter side of the images as they are: the median of a few spread over `files`; 0 where none of them can be read."""
    sides = []
    for file in files[:: max(1, len(files) // LOOKED_AT)]:
        if file.size_bytes > MAX_FILE_BYTES:  # left out unread where it is decoded, too
            continue
        try:
            with _told_as_data_error(), Image.open(io.BytesIO(read(file.path))) as image:
                sides.append(min(image.size))
        except DataError:  # told where it is decoded
            continue
    return int(np.median(sides)) if sides else 0


def _orientation(image: Image.Image) -> int:
    """As EXIF has it; 1, upright, where it says nothing or is broken, which is no reason to leave a picture out."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (KeyError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit pixels have no known range")
        image = Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """The centre square, as large as the shorter side allows, resized bilinearly to `size` x `size` pixels."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


@contextmanager
def _told_as_data_error() -> Iterator[None]:
    """Pillow's decoders raise whatever falls out of a broken file."""
    try:
        yield
    except (MemoryError, DataError):
        raise
    except Exception as error:
        raise DataError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0][:120]
