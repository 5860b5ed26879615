"""Checks an exported folder as a stranger would: onnxruntime, openvino, numpy and Pillow, nothing of hwnas.

    python check_export.py FOLDER IMAGES

FOLDER is what `nas export` or a study's models/<id>/ holds; IMAGES a folder or .zip whose test images are in [test/]<class>/, or in
val/<class>/ where there is no test/. Every model is run on every image, one by one; pictures that cannot be read are named and left out,
as in training. Prints one JSON object: the accuracy of each file, whether it is what architecture.json, check.json and card.md say, and
whether checksums hold; exit code 1 where something does not, or a file could not be compared, 2 where FOLDER or IMAGES cannot be used.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

BILINEAR = Image.Resampling.BILINEAR
ORIENTATION = 0x0112  # of EXIF
TURNS = dict(enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), 2))
PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SETS = (("test", "testing"), ("val", "valid", "validation"))
"""Folders of test images: those of the second are it where there is none of the first."""
LARGEST = 4096
"""Pixels a side that are believed."""
SAME = 1e-9
"""Accuracies that differ by less are counts of the same images."""
CHECK = {"file": str, "runtime": str, "precision": str, "images": int, "accuracy": float}
"""What is read of a check of one file."""


class UnusableError(Exception):
    """What was given cannot be checked; says why."""


def pictures(place: Path) -> Iterator[tuple[str, str, bytes]]:
    """(class, path, content) of every test image.

    Raises:
        UnusableError: there is no such folder or .zip, or the .zip is broken.
    """
    if place.is_file():
        try:
            with zipfile.ZipFile(place) as archive:
                for name, path in tests(archive.namelist()):
                    yield name, path, archive.read(path)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as exc:
            raise UnusableError(f"{place}: is no .zip that can be read: {exc}") from exc
        return
    if not place.is_dir():
        raise UnusableError(f"{place}: there is no such folder or .zip")
    for name, path in tests(path.relative_to(place).as_posix() for path in place.rglob("*")):
        yield name, path, (place / path).read_bytes()


def tests(paths: Iterable[str]) -> list[tuple[str, str]]:
    """(class, path) of test images among paths, sorted: of a folder in SETS or, where there is none, of all."""
    found = [(PurePosixPath(path).parts, path) for path in sorted(paths) if path.lower().endswith(PICTURES)]
    found = [(parts, path) for parts, path in found if not any(part.startswith(".") or part == "__MACOSX" for part in parts)]
    for names in SETS:
        depths = [next((depth for depth, part in enumerate(parts[:-2]) if part.lower() in names), None) for parts, _ in found]
        if inside := [(parts[depth + 1], path) for (parts, path), depth in zip(found, depths, strict=True) if depth is not None]:
            return inside
    return [(PurePosixPath(path).parent.name, path) for _, path in found]


def load(place: Path, labels: list[str], size: int, channels: int) -> tuple[Any, Any, list[str]]:
    """Pixels 0..1 (n, channels, size, size), labels (n,), and the paths of pictures that cannot be read.

    Raises:
        UnusableError: there are no images, or one is not in the folder of a class.
    """
    arrays, numbers, unreadable = [], [], []
    for name, path, content in pictures(place):
        if name not in labels:
            raise UnusableError(f"{place}: test images lie in a folder for each class of labels.txt ({', '.join(labels)}), got {name!r}")
        whole = decoded(content, size, "L" if channels == 1 else "RGB")
        if whole is None:
            unreadable.append(path)
            continue
        side = min(whole.size)
        left, top = (whole.width - side) / 2, (whole.height - side) / 2
        if whole.size != (size, size):
            whole = whole.resize((size, size), BILINEAR, box=(left, top, left + side, top + side))
        arrays.append(np.asarray(whole, np.float32).reshape(size, size, channels).transpose(2, 0, 1) / np.float32(255))
        numbers.append(labels.index(name))
    if not numbers:
        raise UnusableError(f"{place}: holds no images in [test/]<class>/ or val/<class>/")
    return np.stack(arrays), np.array(numbers), unreadable


def decoded(content: bytes, size: int, mode: str) -> Any:
    """A picture upright and of 8 bits; None where it cannot be read, or has no range of its own, as floats have."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if min(picture.size) >= 4 * size:
                picture.draft(picture.mode, (2 * size, 2 * size))  # large JPEGs are decoded smaller, as for training
            if picture.mode == "F":
                return None
            picture.load()
            return eight_bits(upright(picture)).convert(mode)
    except MemoryError:  # no fault of the picture
        raise
    except Exception:  # as in training: Pillow's decoders raise whatever falls out of a broken file
        return None


def upright(picture: Any) -> Any:
    """Turned as EXIF says; as it is where that is broken."""
    try:
        turn = TURNS.get(picture.getexif().get(ORIENTATION))
    except (KeyError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return picture
    return picture if turn is None else picture.transpose(Image.Transpose[turn])


def eight_bits(picture: Any) -> Any:
    """A picture of 16 bits scaled to 8, which Pillow would cut off; others as they are.

    Raises:
        ValueError: it has 32 bits.
    """
    if picture.mode == "P" and "transparency" in picture.info:
        return picture.convert("RGBA")
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit pixels have no known range")
    return Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))


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
    """What was found.

    Raises:
        UnusableError: what was given cannot be checked.
        OSError, ValueError: a file cannot be read.
    """
    told = read_object(folder / "architecture.json", {"classes": list, "preprocessing": dict, "files": dict, "checks": list})
    labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
    said = whole(folder / "architecture.json", told["preprocessing"], {"size": int, "folded_mean": list})
    size, channels = said["size"], len(said["folded_mean"])
    if not 0 < size <= LARGEST or channels not in (1, 3):
        got = f"got {size} and {channels}"
        raise UnusableError(f"{folder / 'architecture.json'}: images have 1 to {LARGEST} pixels a side and 1 or 3 channels, {got}")
    pixels, numbers, unreadable = load(images, labels, size, channels)
    card = (folder / "card.md").read_text(encoding="utf-8")
    wrong = [name for name, digest in told["files"].items() if _changed(folder / name, digest)]
    found: dict[str, Any] = {"images": len(numbers), "accuracy": {}, "largest_difference": 0.0, "unreadable": unreadable, "problems": []}
    found["problems"] += [f"{name}: its checksum is not that of architecture.json" for name in wrong]
    if labels != told["classes"]:
        found["problems"].append("labels.txt: not the classes of architecture.json")
    known = set(told["files"])
    checks, rows = [whole(folder / "architecture.json", each, CHECK) for each in told["checks"]], dict[str, set[float]]()
    if (folder / "check.json").is_file():  # of a file that was made for an export
        made = read_object(folder / "check.json", {**CHECK, "files": dict})
        checks.append(made)
        known |= set(made["files"])
        wrong = [name for name, digest in made["files"].items() if _changed(folder / name, digest)]
        found["problems"] += [f"{name}: its checksum is not that of check.json" for name in wrong]
    for name, value in re.findall(rf"^\| (\S+) \|.* {len(numbers)} \| ([0-9.]+) ±", card, re.M):
        rows.setdefault(name, set()).add(float(value))
    models = sorted([*folder.glob("*.onnx"), *folder.glob("*.xml")])
    if not models:
        raise UnusableError(f"{folder}: holds no .onnx and no .xml")
    for name in sorted({*(path.name for path in models), *(path.name for path in folder.glob("*.bin"))} - known):
        found["problems"].append(f"{name}: neither architecture.json nor check.json has a checksum of it")
    for path in models:
        answers = np.array([int(one.argmax()) for one in answers_of(path, pixels)])
        accuracy = found["accuracy"][path.name] = float((answers == numbers).mean())
        said_of = whole_check(path.name, checks, len(numbers))
        if said_of is None:
            found["problems"].append(f"{path.name}: no check was on {len(numbers)} images: it was not compared")
            continue
        found["largest_difference"] = max(found["largest_difference"], abs(said_of["accuracy"] - accuracy))
        if not abs(said_of["accuracy"] - accuracy) < SAME:
            found["problems"].append(f"{path.name}: accuracy {accuracy:.6g} here, {said_of['accuracy']:.6g} in its check")
        on_card = rows.get(said_of["file"], set())
        if float(f"{accuracy:.6g}") not in on_card:
            found["problems"].append(f"{path.name}: accuracy {accuracy:.6g} here, {sorted(on_card)} on the card")
    figures = card.partition("\n## Figures\n")[2].partition("\n## ")[0]  # what it was pruned from has figures of its own below
    for name, value in re.findall(r"^\| (accuracy_test\w*) \| ([0-9.]+) \|", figures, re.M):
        if not any(float(value) in values for values in rows.values()):
            found["problems"].append(f"card.md: {name} {value} is that of no file on {len(numbers)} images")
    return found


def read_object(path: Path, wanted: dict[str, type]) -> dict[str, Any]:
    """What a file of `nas export` holds.

    Args:
        wanted: by entry, its type.

    Raises:
        UnusableError: it is no JSON object, or an entry is absent or of another type.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as exc:
        raise UnusableError(f"{path}: is no JSON: {exc}") from exc
    return whole(path, told, wanted)


def whole(path: Path, told: Any, wanted: dict[str, type]) -> dict[str, Any]:
    """A part of a file, if it has what is read of it.

    Raises:
        UnusableError: it is no JSON object, or an entry is absent or of another type.
    """
    if not isinstance(told, dict):
        raise UnusableError(f"{path}: holds {told!r:.60} where a JSON object should be")
    for name, kind in wanted.items():
        if type(told.get(name)) is not kind:  # a bool is an int
            raise UnusableError(f"{path}: {name!r} should be of type {kind.__name__}, got {told.get(name)!r:.60}")
    return told


def whole_check(name: str, checks: list[dict[str, Any]], images: int) -> dict[str, Any] | None:
    """What was said of a file on all images; of a file that was run on some of them, that of the file with an open batch."""
    own = [each for each in checks if each["file"] == name]
    alike = [each for each in checks if own and (each["runtime"], each["precision"]) == (own[0]["runtime"], own[0]["precision"])]
    return next((each for each in [*own, *alike] if each["images"] == images), None)


def answers_of(path: Path, pixels: Any) -> Iterator[Any]:
    """Logits (1, classes) of one image after the other.

    Raises:
        UnusableError: its runtime refuses the file.
    """
    try:
        run = opened(path)
        for one in pixels:
            yield run(one[None])
    except Exception as exc:  # ONNX Runtime's errors have no base of their own
        raise UnusableError(f"{path}: cannot be run: {(str(exc) or type(exc).__name__).splitlines()[0]}") from exc


def _changed(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != digest


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.stderr.write("usage: python check_export.py FOLDER IMAGES\n")
        sys.exit(2)
    try:
        result = check(Path(sys.argv[1]), Path(sys.argv[2]))
    except (UnusableError, OSError, ValueError) as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(2)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if result["problems"] else 0)
