"""Who finalists learn from besides the labels: the largest network of the supernet, or a user's own ONNX model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.errors import ModelFileError
from nas.hardware.runtimes.onnxruntime import open_session
from nas.models.folding import fold_batch_norm
from nas.models.lanes import threads_for
from nas.models.network import Network
from nas.training.batches import Batch, tensors
from nas.training.data import ImageData, ImageSet
from nas.training.evaluate import images_at_once
from nas.training.oneshot import fit_size

__all__ = ["NetworkTeacher", "OnnxTeacher", "Teacher", "open_teacher"]


class Teacher(Protocol):
    """Who knows the classes of images.

    Attributes:
        identity: another one where the answers may be others.
        lanes: threads that may ask at once.
        at_once: images that it is best asked of.
    """

    @property
    def identity(self) -> str: ...

    @property
    def lanes(self) -> int: ...

    @property
    def at_once(self) -> int: ...

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised images (batch, chs, size, size) to probabilities (batch, classes)."""
        ...


PROBE_IMAGES = 256
"""Training images on which a user's teacher is tried before it teaches anything."""
LEAST_KNOWLEDGE = 0.3
"""Of what always naming the most frequent class leaves wrong, a teacher must get this share right."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the ImageNet training set, pixels 0..1; the convention of torchvision's and timm's models."""


class NetworkTeacher:
    """A network in eval mode as a teacher. See `Teacher`."""

    def __init__(self, network: Network) -> None:
        self._folded = fold_batch_norm(network)
        self.lanes, self.at_once = threads_for(network), images_at_once(network.blocks)

    @property
    def identity(self) -> str:
        digest = hashlib.sha256(repr(self._folded.blocks).encode())
        for tensor in self._folded.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def __call__(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = self._folded(fit_size(images, self._folded.blocks[0].in_size)).softmax(dim=1)
            return out


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a model wants for pixels 0..1: (pixels - mean) / std, a number for each channel or one for all."""

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class OnnxTeacher:
    """A user's ONNX model. `open_teacher` makes it, and finds out what it wants and knows.

    Attributes:
        accuracy: on the training images that it was tried on, `tried_on` of them.
        scaling: in words.
    """

    lanes, at_once = 1, 64  # its own threads share a batch

    def __init__(self, path: Path, session: Any, data: ImageData) -> None:
        self.path = path
        self.accuracy, self.tried_on, self.scaling = 0.0, 0, ""
        self._session = session
        self._mean, self._std = _columns(data.mean), _columns(data.std)
        (entry,) = session.get_inputs()
        self._name, shape = entry.name, entry.shape
        self._channels_last = shape[1] != data.in_chs and shape[3] == data.in_chs
        self._batch = shape[0] if isinstance(shape[0], int) else None
        height = shape[1] if self._channels_last else shape[2]
        self._size = height if isinstance(height, int) else data.size
        self._wanted = Scaling("pixels 0..1", (0.0,), (1.0,))
        self._order: list[int] | None = None

    @property
    def identity(self) -> str:
        return f"{hashlib.sha256(self.path.read_bytes()).hexdigest()} {self._wanted} {self._order}"

    def __call__(self, images: Tensor) -> Tensor:
        """See `Teacher`."""
        pixels = fit_size(images * self._std + self._mean, self._size).clamp(0, 1)
        values = ((pixels - _columns(self._wanted.mean)) / _columns(self._wanted.std)).contiguous().numpy()
        if self._channels_last:
            values = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
        found = torch.from_numpy(self._run(values))
        if not bool(((found >= 0).all() & ((found.sum(dim=1) - 1).abs() < 1e-3).all()).item()):
            found = found.softmax(dim=1)
        return found if self._order is None else found[:, self._order]

    def _run(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs (n, classes); a model of a fixed batch gets the last one filled up."""
        step = self._batch or len(values)
        parts = []
        for start in range(0, len(values), step):
            part = values[start : start + step]
            filled = np.concatenate([part, np.repeat(part[-1:], step - len(part), axis=0)]) if len(part) < step else part
            try:
                (out, *_) = self._session.run(None, {self._name: filled})
            except Exception as exc:  # ONNX Runtime's errors have no common class below Exception
                raise ModelFileError(f"{self.path}: ONNX Runtime failed while running it: {str(exc).splitlines()[0][:200]}") from exc
            parts.append(np.asarray(out, np.float32).reshape(step, -1)[: len(part)])
        return np.concatenate(parts)

    def learn_about(self, data: ImageData, images: Tensor, labels: Tensor) -> None:
        """Checks the classes, and finds the scaling and with it the accuracy on some training images.

        Raises:
            ModelFileError: other classes, or it knows nothing of these images.
        """
        metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        outputs = self(images[:1]).shape[1]
        if outputs != data.num_classes:
            raise ModelFileError(
                f"{self.path}: tells {outputs} classes apart, the images of {data.name} have {data.num_classes}: "
                "distil from a teacher of the same classes"
            )
        self._order = _order(self.path, metadata, data.classes)
        scores = {}
        for wanted in _scalings(data, metadata):
            self._wanted = wanted
            scores[wanted] = float((self(images).argmax(dim=1) == labels).float().mean())
        self._wanted = max(scores, key=lambda wanted: scores[wanted])
        self.accuracy, self.tried_on, self.scaling = scores[self._wanted], len(labels), self._wanted.name
        chance = float(torch.bincount(labels).max()) / len(labels)
        if self.accuracy < chance + LEAST_KNOWLEDGE * (1 - chance):
            tried = ", ".join(wanted.name for wanted in scores)
            raise ModelFileError(
                f"{self.path}: classifies {self.accuracy:.0%} of {len(labels)} training images right (tried {tried}): "
                f"are its classes {', '.join(data.classes[:4])}{', ...' if data.num_classes > 4 else ''} in this order?"
            )


def open_teacher(path: Path, data: ImageData, threads: int) -> OnnxTeacher:
    """A user's ONNX model as a teacher: one float32 input of images, outputs logits or probabilities of the same classes.

    How the pixels are to be scaled is read from a file that hwnas exported, and else found by trying what is usual on training images.

    Raises:
        ModelFileError: it cannot be read, wants other inputs, tells other classes apart, or knows nothing of these images.
    """
    session = open_session(path, threads)
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or inputs[0].type != "tensor(float)" or data.in_chs not in (shape[1], shape[3]):
        found = "; ".join(f"{entry.type} {entry.shape}" for entry in inputs)
        raise ModelFileError(f"{path}: a teacher has one input tensor(float) [batch, {data.in_chs}, height, width], this one has {found}")
    teacher = OnnxTeacher(path, session, data)
    rows = np.unique(np.linspace(0, len(data.train) - 1, PROBE_IMAGES).astype(int))  # train is ordered by class: all of them are there
    images, labels = _joined(list(tensors(ImageSet(data.train.images[rows], data.train.labels[rows]), data.mean, data.std, PROBE_IMAGES)))
    teacher.learn_about(data, images, labels)
    return teacher


def _joined(batches: Sequence[Batch]) -> Batch:
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def _columns(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def _scalings(data: ImageData, metadata: dict[str, str]) -> list[Scaling]:
    """What a model may want; a file of ours has it inside."""
    known = [Scaling("pixels 0..1", (0.0,), (1.0,))]
    if metadata.get("producer") == "hwnas":
        return known
    known += [Scaling("pixels 0..255", (0.0,), (1 / 255,)), Scaling("pixels -1..1", (0.5,), (0.5,))]
    known.append(Scaling("mean and deviation of the training images", data.mean, data.std))
    if data.in_chs == len(IMAGENET_MEAN):
        known.append(Scaling("mean and deviation of ImageNet", IMAGENET_MEAN, IMAGENET_STD))
    return known


def _order(path: Path, metadata: dict[str, str], classes: Sequence[str]) -> list[int] | None:
    """Where each of our classes stands in the outputs, for a file that names its own: a JSON list of words. Others mean something else by
    "classes", such as their number."""
    try:
        named = json.loads(metadata["classes"])
    except (KeyError, json.JSONDecodeError):
        return None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return None
    try:
        return [named.index(name) for name in classes]
    except ValueError as exc:
        raise ModelFileError(f"{path}: is a classifier for {', '.join(named[:4])}, not for {', '.join(classes[:4])}") from exc
