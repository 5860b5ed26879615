"""The int8 form of a trained network: quantised after training, and trained a little with rounding where that costs too much."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas.compress.fake_quant import FakeQuantNetwork
from nas.compress.parity import Reference, check_onnx
from nas.compress.qdq import export_fake_quant
from nas.compress.quantize import quantize
from nas.config import TrainRecipe
from nas.errors import NasError, StoppedError, TargetError
from nas.hardware.export import Deployed
from nas.models.network import Network
from nas.training.answers import answers
from nas.training.batches import Batch, tensors
from nas.training.data import ImageData, ImageSet
from nas.training.evaluate import calibration_images
from nas.training.finetune import fit
from nas.training.loop import TrainProgress
from nas.training.teacher import NetworkTeacher

__all__ = ["MOST_DROP", "Int8", "Int8Maker", "calibration_pixels", "labels_alone", "pixels_of"]

MOST_DROP = 0.01
"""Of accuracy on search-validation, by quantising after training: beyond it the network is trained with rounding."""
QAT_EPOCHS, QAT_LR = 2, 0.003
"""Of that training: short, at a rate that leaves trained weights where they are but for their rounding."""
SAME_CLASS = 0.95
"""Of the calibration images, at least, for a network trained with rounding and its file: what differs is values between two levels, but for
the last bit of a float."""
CALIBRATION_IMAGES, BATCH_SIZE = 512, 64
TEST_BATCH_SIZE, TEST_BATCH_BYTES = 256, 2**24
"""Images at once where a set goes through a file, and bytes of their pixels: large images come in smaller batches."""


def pixels_of(images: ImageSet) -> Iterator[Batch]:
    """A set as pixels 0..1, in batches of (images, labels)."""
    _, height, width, chs = images.images.shape
    return tensors(images, (0.0,) * chs, (1.0,) * chs, max(1, min(TEST_BATCH_SIZE, TEST_BATCH_BYTES // (4 * height * width * chs))))


def calibration_pixels(data: ImageData) -> list[NDArray[np.float32]]:
    """Training images spread over the classes, pixels 0..1, (at most 64, chs, size, size) each. Never validation or test."""
    order = np.random.default_rng(0).permutation(len(data.train))[:CALIBRATION_IMAGES]
    images = ImageSet(data.train.images[order], data.train.labels[order])
    chs = data.in_chs
    batches = tensors(images, (0.0,) * chs, (1.0,) * chs, BATCH_SIZE)
    return [np.ascontiguousarray(pixels.numpy()) for pixels, _ in batches]


def labels_alone(images: ImageSet, num_classes: int) -> Reference:
    """A set for accuracies of files: there are no logits to compare with."""
    unknown = tuple(np.zeros((len(labels), num_classes), np.float32) for _, labels in pixels_of(images))
    return Reference(lambda: pixels_of(images), unknown)


@dataclass(frozen=True, slots=True)
class Int8:
    """How an int8 file came about; accuracies are on search-validation, which decides.

    Attributes:
        fp32, after_training: accuracy of the fp32 file, and of what was quantised after training.
        aware: of what was trained with rounding; None where that was not needed.
        words: for the card.
        trained_s: seconds of training with rounding.
    """

    fp32: float
    after_training: float
    aware: float | None
    words: str
    trained_s: float = field(default=0.0, compare=False)

    @property
    def is_aware(self) -> bool:
        """Whether the file is the one that was trained with rounding."""
        return self.aware is not None and self.aware > self.after_training

    @property
    def lost(self) -> float:
        """Of accuracy, by the file as it is."""
        return self.fp32 - max(self.after_training, self.aware or 0.0)


@dataclass(frozen=True)
class Int8Maker:
    """Makes int8 files of networks that were trained on some images.

    Attributes:
        recipe: of their training: quantisation-aware training takes a share of its rate.
        seed: of the split of the images.
        most_drop: of accuracy that is accepted without such training.
    """

    data: ImageData
    recipe: TrainRecipe
    seed: int
    threads: int = 1
    most_drop: float = MOST_DROP

    def make(
        self, network: Network, source: Path, path: Path, said: Mapping[str, str], budget_s: float | None = None,
        on_progress: Callable[[TrainProgress], None] | None = None, stop: Callable[[], bool] | None = None,
    ) -> Int8:  # fmt: skip
        """Writes `path`, the int8 form of `network` with an open batch.

        Args:
            network: in eval mode; it is not changed.
            source: its fp32 file, open batch.
            said: metadata of the file.

        Raises:
            TargetError, TrainingError: it cannot be quantised.
            StoppedError: `stop` said so.
        """
        quantize(source, path, calibration_pixels(self.data))
        fp32, after = self._accuracy(source), self._accuracy(path)
        lost = f"{100 * (fp32 - after):.2f} points lost on search-validation"
        words = f"ONNX Runtime static QDQ after training, weights per channel, {CALIBRATION_IMAGES} training images at most, {lost}"
        if fp32 - after <= self.most_drop or not self.recipe.finetune_epochs:
            return Int8(fp32, after, None, words)
        trained = path.with_name(f"aware-{path.name}")
        try:
            began = time.monotonic()
            fake = self.train(network, budget_s, on_progress, stop)
            trained_s = time.monotonic() - began
            export_fake_quant(fake, self.data.mean, self.data.std, trained, said)
            alike = self._alike(fake, trained)
            aware = self._accuracy(trained)
            if aware > after:
                trained.replace(path)
        except StoppedError:
            raise
        except NasError as exc:
            why = str(exc).replace(f"{path.parent}/", "")  # the words go out with the file
            return Int8(fp32, after, None, f"{words}; training with rounding failed: {why}")
        finally:
            trained.unlink(missing_ok=True)
        after_words = f"{100 * (fp32 - aware):.2f} points lost"
        if aware > after:
            words = (
                f"trained with rounding ({QAT_EPOCHS} epochs), {after_words} on search-validation; {lost} without; the file says what that "
                f"network says of {alike:.1%} of the calibration images"
            )
        else:
            words += f"; training with rounding did not help ({after_words})"
        return Int8(fp32, after, aware, words, trained_s)

    def train(
        self, network: Network, budget_s: float | None = None, on_progress: Callable[[TrainProgress], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> FakeQuantNetwork:  # fmt: skip
        """The network trained with rounding, itself in fp32 as the teacher.

        Raises:
            TrainingError, StoppedError: as `nas.training.finetune.fit`.
        """
        fake = FakeQuantNetwork(network, calibration_images(self.data))
        ask = partial(answers, NetworkTeacher(network), self.data, self.recipe, stop)
        fit(
            fake, ask, self.data, self.recipe, self.seed, epochs=QAT_EPOCHS, lr=QAT_LR,
            budget_s=budget_s, on_progress=on_progress, stop=stop,
        )  # fmt: skip
        return fake

    def _alike(self, fake: FakeQuantNetwork, path: Path) -> float:
        """Share of the calibration images with the same class by the network and by its file.

        Raises:
            TargetError: it is too small: the file is another network.
        """
        batches = [(torch.from_numpy(pixels), torch.zeros(len(pixels), dtype=torch.int64)) for pixels in calibration_pixels(self.data)]
        reference = Reference.of(Deployed(fake, self.data.mean, self.data.std), lambda: batches)
        alike = check_onnx(path, reference, "int8", tolerance=float("inf"), threads=self.threads).agreement
        if alike < SAME_CLASS:
            raise TargetError(f"{path}: the same class as in torch for {alike:.1%} of the calibration images, less than {SAME_CLASS:.0%}")
        return alike

    def _accuracy(self, path: Path) -> float:
        """Of a file on search-validation."""
        images = labels_alone(self.data.search_validation, self.data.num_classes)
        return check_onnx(path, images, tolerance=float("inf"), threads=self.threads).accuracy
