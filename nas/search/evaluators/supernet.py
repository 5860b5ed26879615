"""Accuracy with weights that are inherited from the supernet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nas.architecture import Architecture
from nas.errors import InputError
from nas.models.folding import fold_batch_norm
from nas.models.network import Network, recalibrate
from nas.search.evaluators.base import ACCURACY, Evaluation, EvaluatorContext
from nas.training.batches import Batch, tensors
from nas.training.data import ImageData, ImageSet
from nas.training.evaluate import accuracy, accuracy_metric, calibration_images, images_at_once
from nas.training.memory import kept_memory
from nas.training.oneshot import fit_size, load_supernet

__all__ = ["SupernetEvaluator"]

KEPT_BYTES = 2**29
"""Of search-validation as float32, all resolutions together: what does not fit is prepared anew each time."""


class SupernetEvaluator:
    """Extracts the network, recalibrates its batch norm on training images, tests it on search-validation."""

    gives = ACCURACY
    needs = frozenset({"supernet"})

    def __init__(self, context: EvaluatorContext) -> None:
        if context.threads is not None:
            torch.set_num_threads(context.threads)
        if context.weights is None:
            raise InputError("the evaluator supernet needs the weights of a trained supernet: run nas train-supernet or nas search")
        self._space = context.space
        data = context.images(context.space.resolutions[-1])
        self._supernet = load_supernet(context.space, context.weights)
        self._supernet.eval()
        self._calibration = calibration_images(data)
        self._validation = _Sized(data.search_validation, data.mean, data.std)

    def extract(self, arch: Architecture) -> Network:
        """The network of an architecture with inherited weights and batch norm of its own, in eval mode."""
        blocks = self._space.decode(arch)
        network = self._supernet.extract(blocks)
        recalibrate(network, (fit_size(images, blocks[0].in_size) for images in self._calibration))
        return network

    def extract_for(self, arch: Architecture, data: ImageData) -> Network:
        """As `extract`, but with batch norm for images that were decoded at the network's size, as its file is given them."""
        network = self._supernet.extract(self._space.decode(arch))
        recalibrate(network, calibration_images(data))
        return network

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """See `Evaluator.evaluate`; source `supernet`."""
        found = []
        for arch in archs:
            started = time.perf_counter()
            with kept_memory():
                network = fold_batch_norm(self.extract(arch))
                correct, total = accuracy(network, self._validation.batches(network.blocks[0].in_size, images_at_once(network.blocks)))
            metrics = {ACCURACY: accuracy_metric(correct, total, "supernet")}
            found.append(Evaluation(metrics, time.perf_counter() - started))
        return found


class _Sized:
    """A set in batches at any resolution; normalised and resized once for each where memory allows."""

    def __init__(self, images: ImageSet, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self._images, self._mean, self._std = images, mean, std
        self._labels = torch.tensor(images.labels)
        self._kept: dict[int, Tensor] = {}

    def batches(self, size: int, batch_size: int) -> Iterator[Batch]:
        whole = self._whole(size)
        if whole is not None:
            for start in range(0, len(whole), batch_size):
                yield whole[start : start + batch_size], self._labels[start : start + batch_size]
            return
        for images, labels in tensors(self._images, self._mean, self._std, batch_size):
            yield fit_size(images, size), labels

    def _whole(self, size: int) -> Tensor | None:
        if size not in self._kept:
            pixels = size**2 + sum(kept**2 for kept in self._kept)
            if 4 * len(self._images) * len(self._mean) * pixels > KEPT_BYTES:
                return None
            parts = [fit_size(images, size) for images, _ in tensors(self._images, self._mean, self._std, 512)]
            self._kept[size] = torch.cat(parts).contiguous(memory_format=torch.channels_last)
        return self._kept[size]
