"""Classifies images with an exported model, for `nas run`: ONNX Runtime and numpy, and Pillow to read pictures. No torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.config import MeasureProtocol
from nas.errors import DataError, InputError, ModelFileError
from nas.hardware.chip import told_facts
from nas.hardware.file_latency import file_latency
from nas.hardware.runtimes.onnxruntime import open_session, run_session
from nas.hardware.stamp import is_as_exported
from nas.metrics import Metric
from nas.training.images import SUFFIXES

__all__ = ["Answer", "Classifier", "Skipped", "classify", "find_images", "find_model"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one image: (class, probability) pairs, the most probable first."""

    image: Path
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture that was passed over, and why."""

    image: Path
    why: str


class Classifier:
    """An ONNX file that hwnas exported: it says itself what its pixels and classes are.

    Raises:
        ModelFileError: it cannot be opened, does not say what is needed, says more or fewer classes than it has logits, or takes no
            float32.
        InputError: more threads than this machine has cores.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        if not path.is_file():
            raise ModelFileError(f"{path}: there is no such file")
        cores = int(told_facts()["chip"]["cores"]["value"])
        if not 1 <= threads <= cores:
            raise InputError(f"this machine has {cores} cores: threads must be 1 to {cores}, got {threads}")
        self.path, self.threads = path, threads
        self._session: Any = open_session(path, threads)
        said = dict(self._session.get_modelmeta().custom_metadata_map)
        try:
            self.classes = tuple(str(name) for name in json.loads(said["classes"]))
            self._in_chs = len(json.loads(said["preprocessing"])["folded_mean"])
            (entry,), (logits,) = self._session.get_inputs(), self._session.get_outputs()
            _, channels, self._size, width = entry.shape
            _, outputs = logits.shape
            if (channels, width) != (self._in_chs, self._size):
                raise ValueError(f"images of {entry.shape}")
        except (KeyError, TypeError, ValueError) as exc:
            raise ModelFileError(f"{path}: does not say its classes and preprocessing: nas run takes files of nas export") from exc
        if outputs != len(self.classes):
            told = f"it gives {outputs} logits and names {len(self.classes)} of them"
            raise ModelFileError(f"{path}: {told}, so its answers have no meaning: export it again")
        if entry.type != "tensor(float)":
            raise ModelFileError(f"{path}: takes {entry.type}, and nas run gives it float32 pixels: export it again")
        self._input = entry.name
        self.is_as_exported = is_as_exported(path)

    def answer(self, image: Path, top: int = 5) -> Answer:
        """The most probable classes of one picture.

        Raises:
            DataError: it cannot be read.
            InputError: Pillow is not installed.
            TargetError: the run failed.
        """
        (logits,) = run_session(self._session, self.path, {self._input: self.pixels(image)})[0]
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[:top]
        return Answer(image, tuple((self.classes[i], float(shares[i])) for i in best))

    def pixels(self, image: Path) -> NDArray[np.float32]:
        """(1, in_chs, size, size), 0..1: as the training images were prepared (`nas.training.pixels.read_picture`)."""
        try:
            from PIL import Image

            from nas.training.pixels import read_picture
        except ImportError as exc:
            raise InputError("Pillow reads pictures and is not installed: pip install pillow") from exc
        try:
            array, _ = read_picture(image, self._size)
        except DataError as exc:
            raise DataError(f"{image}: cannot be read: {exc}") from exc
        if self._in_chs == 1:
            array = np.asarray(Image.fromarray(array).convert("L"))[..., None]
        if array.shape[2] != self._in_chs:
            raise ModelFileError(f"{self.path}: takes images of {self._in_chs} channels, which pictures do not have")
        return np.ascontiguousarray(array.transpose(2, 0, 1)[None], np.float32) / np.float32(255)

    def latency(self, protocol: MeasureProtocol, on_note: Callable[[str], None]) -> Metric:
        """Of one image on this machine, see `nas.hardware.file_latency`.

        Raises:
            DisturbedError: the machine was too busy or too hot.
        """
        return file_latency(self.path, "onnxruntime", self.threads, protocol, on_note)


def classify(classifier: Classifier, images: Sequence[Path], top: int = 5) -> tuple[list[Answer], list[Skipped]]:
    """Answers for the pictures that can be read, and the others.

    Raises:
        DataError: none of them can.
        InputError: Pillow is not installed.
        ModelFileError: the model takes no pictures.
        TargetError: a run failed.
    """
    answers, skipped = [], []
    for image in images:
        try:
            answers.append(classifier.answer(image, top))
        except DataError as exc:
            skipped.append(Skipped(image, str(exc).removeprefix(f"{image}: ")))
    if not answers and skipped:
        more = f" (nor any of the {len(skipped) - 1} others)" if len(skipped) > 1 else ""
        raise DataError(f"{skipped[0].image}: {skipped[0].why}{more}")
    return answers, skipped


def find_model(place: Path) -> Path:
    """The file itself; of a folder that nas export wrote its model.onnx, or its only ONNX file.

    Raises:
        ModelFileError: a folder that does not say which file is meant.
    """
    if not place.is_dir():
        return place
    found = sorted(place.glob("*.onnx"))
    if place / "model.onnx" in found:
        return place / "model.onnx"
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelFileError(f"{place}: a folder without an ONNX file: nas run takes those of nas export --format onnx")
    raise ModelFileError(f"{place}: a folder with several ONNX files: name one of {', '.join(path.name for path in found)}")


def find_images(place: Path) -> Sequence[Path]:
    """The picture itself, or all pictures below a folder, sorted.

    Raises:
        DataError: there are none.
    """
    if place.is_file():
        return [place]
    found = sorted(_below(place)) if place.is_dir() else []
    if not found:
        raise DataError(f"{place}: {'holds no pictures' if place.is_dir() else 'there is no such file or folder'}")
    return found


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        is_broken = path.is_symlink() and not path.exists()  # to be told as one that cannot be read
        if path.suffix.lower() in SUFFIXES and (path.is_file() or is_broken) and not path.name.startswith("."):
            yield path
