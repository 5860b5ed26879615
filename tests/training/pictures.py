"""Small data sets, made on the spot."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from nas.training.data import ImageData, ImageSet


def png(seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB", form: str = "PNG") -> bytes:
    """A coloured noise image; equal seeds are equal bytes."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def grow(root: Path, counts: dict[str, int], mode: str = "RGB", first_seed: int = 0) -> Path:
    """Makes {"train/cat": 3} into root/train/cat/0000.png ...; every image is another one."""
    seed = first_seed
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for index in range(count):
            seed += 1
            (root / folder / f"{index:04}.png").write_bytes(png(seed, mode=mode))
    return root


def pack(root: Path, file: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                archive.writestr(prefix + path.relative_to(root).as_posix(), path.read_bytes())  # the name as it is
    return file


def sets(data: ImageData) -> tuple[ImageSet, ImageSet, ImageSet]:
    return data.train, data.search_validation, data.test


def counts(images: ImageSet) -> list[int]:
    return np.bincount(images.labels).tolist()


def keys(images: ImageSet) -> set[bytes]:
    return {image.tobytes() for image in images.images}


def odd(kind: str) -> bytes:
    """Images that are unusual but right, 8 x 8 pixels of one grey or red."""
    buffer = io.BytesIO()
    if kind == "cmyk":
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(buffer, "JPEG")
    elif kind == "16 bit":
        Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)).save(buffer, "PNG")
    elif kind == "palette":
        Image.new("RGB", (8, 8), (255, 0, 0)).quantize(4).save(buffer, "PNG", transparency=b"\x80\xff")
    elif kind == "alpha":
        Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(buffer, "PNG")
    elif kind == "grey":
        Image.new("L", (8, 8), 100).save(buffer, "PNG")
    elif kind == "one bit":
        Image.new("1", (8, 8), 1).save(buffer, "PNG")
    return buffer.getvalue()
