"""Test images as files, for what reads them as a stranger does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nas.training.data import ImageData


def save_test_images(folder: Path, data: ImageData) -> Path:
    for number, (image, label) in enumerate(zip(data.test.images, data.test.labels, strict=True)):
        place = folder / "test" / data.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        grey = image[..., 0] if number % 2 else image[..., 0].astype(np.uint16) * 257  # 8 bits, and 16
        exif = Image.Exif()
        exif[0x0112] = 6 if number % 3 else 1  # some as a phone has them that was turned
        Image.fromarray(np.rot90(grey) if number % 3 else grey).save(place / f"{number}.png", exif=exif)
    return folder
