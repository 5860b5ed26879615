"""Checks an exported folder as a stranger would: onnxruntime, openvino, numpy and Pillow, nothing of hwnas.

    python check_export.py FOLDER IMAGES

FOLDER is what `nas export` or a study's models/<id>/ holds; IMAGES a folder or .zip whose test images are in [test/]<class>/, or in
val/<class>/ where there is no test/. Every model is run on every image, one by one. Prints one JSON object: the accuracy of each file,
whether it is what architecture.json, check.json and card.md say, and whether checksums hold; exit code 1 where something does not, or
nothing could be compared, 2 where FOLDER or IMAGES cannot be used.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SETS = (("test", "testing"), ("val", "valid", "validation"))
"""Folders of test images: those of the second are it where there is none of the first."""


class UnusableError(Exception):
    """What was given cannot be checked; says why."""


def pictures(place: Path) -> Iterator[tuple[str, bytes]]:
    """(class, content) of every test image."""
    if place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            for name, path in tests(archive.namelist()):
                yield name, archive.read(path)
        return
    for name, path in tests(path.relative_to(place).as_posix() for path in place.rglob("*")):
        yield name, (place / path).read_bytes()


def tests(paths: Iterable[str]) -> list[tuple[str, str]]:
    """(class, path) of test images among paths, sorted: of a folder in SETS or, where there is none, of all."""
    found = [(PurePosixPath(path).parts, path) for path in sorted(paths) if path.lower().endswith(PICTURES)]
    found = [(parts, path) for parts, path in found if not any(part.startswith(".") or part == "__MACOSX" for part in parts)]
    for names in SETS:
        depths = [next((depth for depth, part in enumerate(parts[:-2]) if part.lower() in names), None) for parts, _ in found]
        if inside := [(parts[depth + 1], path) for (parts, path), depth in zip(found, depths, strict=True) if depth is not None]:
            return inside
    return [(PurePosixPath(path).parent.name, path) for _, path in found]


def load(place: Path, labels: list[str], size: int, channels: int) -> tuple[Any, Any]:
    """Pixels 0..1 (n, channels, size, size) and labels (n,).

    Raises:
        UnusableError: there are no images, or one is not in the folder of a class.
    """
    from PIL import Image, ImageOps

    arrays, numbers = [], []
    for name, content in pictures(place):
        if name not in labels:
            raise UnusableError(f"{place}: test images lie in a folder for each class of labels.txt ({', '.join(labels)}), got {name!r}")
        with Image.open(io.BytesIO(content)) as picture:
            if min(picture.size) >= 4 * size:
                picture.draft(picture.mode, (2 * size, 2 * size))  # large JPEGs are decoded smaller, as for training
            whole = eight_bits(ImageOps.exif_transpose(picture)).convert("L" if channels == 1 else "RGB")
        side = min(whole.size)
        left, top = (whole.width - side) / 2, (whole.height - side) / 2
        if whole.size != (size, size):
            whole = whole.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        arrays.append(np.asarray(whole, np.float32).reshape(size, size, channels).transpose(2, 0, 1) / np.float32(255))
        numbers.append(labels.index(name))
    if not numbers:
        raise UnusableError(f"{place}: holds no images in [test/]<class>/ or val/<class>/")
    return np.stack(arrays), np.array(numbers)


def eight_bits(picture: Any) -> Any:
    """A picture of 16 bits scaled to 8, which Pillow would cut off; others as they are."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray(((np.asarray(picture).astype(np.int64) + 128) // 257).clip(0, 255).astype(np.uint8))


def opened(path: Path) -> Callable[[Any], Any]:
    """The model as a function from pixels (1, channels, size, size) to logits (1, classes)."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda pixels: session.run(["logits"], {"images": pixels})[0]
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixels: compiled(pixels)[0]


def check(folder: Path, images: Path) -> dict[str, Any]:
    """What was found."""
    told = json.loads((folder / "architecture.json").read_text(encoding="utf-8"))
    labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
    said = told["preprocessing"]
    pixels, numbers = load(images, labels, said["size"], len(said["folded_mean"]))
    card = (folder / "card.md").read_text(encoding="utf-8")
    wrong = [name for name, digest in told["files"].items() if _changed(folder / name, digest)]
    found: dict[str, Any] = {"images": len(numbers), "accuracy": {}, "largest_difference": 0.0, "problems": []}
    found["problems"] += [f"{name}: its checksum is not that of architecture.json" for name in wrong]
    if labels != told["classes"]:
        found["problems"].append("labels.txt: not the classes of architecture.json")
    checks, compared = list(told["checks"]), 0
    if (folder / "check.json").is_file():  # of a file that was made for an export
        checks.append(json.loads((folder / "check.json").read_text(encoding="utf-8")))
    for path in sorted([*folder.glob("*.onnx"), *folder.glob("*.xml")]):
        run = opened(path)
        answers = np.array([int(run(one[None]).argmax()) for one in pixels])
        accuracy = found["accuracy"][path.name] = float((answers == numbers).mean())
        whole = [each for each in checks if each["file"] == path.name and each["images"] == len(numbers)]
        for each in whole[:1]:
            compared += 1
            found["largest_difference"] = max(found["largest_difference"], abs(each["accuracy"] - accuracy))
            on_card = [float(value) for value in re.findall(rf"^\| {re.escape(path.name)} \|.* {len(numbers)} \| ([0-9.]+) ±", card, re.M)]
            if f"{accuracy:.6g}" not in [f"{value:.6g}" for value in on_card]:
                found["problems"].append(f"{path.name}: accuracy {accuracy:.6g} here, {on_card} on the card")
    if not compared:
        found["problems"].append(f"IMAGES holds {len(numbers)} images, no check was on as many: nothing was compared")
    return found


def _changed(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != digest


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.stderr.write("usage: python check_export.py FOLDER IMAGES\n")
        sys.exit(2)
    try:
        result = check(Path(sys.argv[1]), Path(sys.argv[2]))
    except (UnusableError, OSError) as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if result["problems"] else 0)
