"""Accuracy evaluators behind one small contract; loaded by name (entry points `nas.evaluators`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from nas import plugins
from nas.architecture import Architecture
from nas.errors import ModelFileError
from nas.metrics import Metric
from nas.models.network import Network, recalibrate
from nas.models.supernet import Supernet
from nas.models.weights import load_weights
from nas.space import SearchSpace
from nas.training.batches import tensors
from nas.training.data import load_data
from nas.training.evaluate import accuracy, accuracy_metric
from nas.training.finetune import calibration_images
from nas.training.oneshot import fit_size

__all__ = ["Evaluator", "EvaluatorContext", "SupernetEvaluator", "open_evaluator", "threads_each"]


@dataclass(frozen=True)
class EvaluatorContext:
    """What an evaluator needs, in values that reach another process.

    Attributes:
        data, data_seed: name or path of the images, and the seed of their split.
        cache: folder of decoded images.
        weights: of the supernet.
        threads: that one evaluation may use; None for torch's own count, which OMP_NUM_THREADS decides.
    """

    space: SearchSpace
    data: str
    data_seed: int
    cache: Path
    weights: Path
    threads: int | None = None


class Evaluator(Protocol):
    """Gives accuracy. Made from an `EvaluatorContext`; the only method may be called any number of times.

    Registered as an entry point of the group `nas.evaluators`; `nas.testing.EvaluatorContract` tests it.
    """

    def evaluate(self, archs: Sequence[Architecture]) -> list[dict[str, Metric]]:
        """`accuracy_search` of each architecture, with its standard error and source.

        Raises:
            NasError: an architecture cannot be evaluated; the trial fails and the search goes on.
        """
        ...


class SupernetEvaluator:
    """Extracts the network, recalibrates its batch norm on training images, tests it on search-validation."""

    def __init__(self, context: EvaluatorContext) -> None:
        if context.threads is not None:
            torch.set_num_threads(context.threads)
        self._space = context.space
        self._data = load_data(context.data, context.space.resolutions[-1], context.data_seed, context.cache)
        self._supernet = Supernet(context.space.blocks)
        weights, _ = load_weights(context.weights)
        try:
            self._supernet.load_state_dict({k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")})
        except RuntimeError as exc:
            raise ModelFileError(f"{context.weights}: holds the weights of another space than {context.space.name}") from exc
        self._supernet.eval()
        self._calibration = calibration_images(self._data)
        self._validation = list(tensors(self._data.search_validation, self._data.mean, self._data.std, 512))

    def extract(self, arch: Architecture) -> Network:
        """The network of an architecture with inherited weights and batch norm of its own, in eval mode."""
        blocks = self._space.decode(arch)
        network = self._supernet.extract(blocks)
        recalibrate(network, (fit_size(images, blocks[0].in_size) for images in self._calibration))
        return network

    def evaluate(self, archs: Sequence[Architecture]) -> list[dict[str, Metric]]:
        """See `Evaluator.evaluate`; source `supernet`."""
        found = []
        for arch in archs:
            network = self.extract(arch)
            size = network.blocks[0].in_size
            correct, total = accuracy(network, ((fit_size(images, size), labels) for images, labels in self._validation))
            found.append({"accuracy_search": accuracy_metric(correct, total, "supernet")})
        return found


def threads_each(workers: int) -> int:
    """Threads of each of `workers` processes, so that together they use what one process would."""
    return max(1, torch.get_num_threads() // workers)


def open_evaluator(name: str, context: EvaluatorContext) -> Evaluator:
    """An evaluator by name.

    Raises:
        UnknownNameError: with the names there are.
    """
    made: Evaluator = plugins.load("evaluators", name)(context)
    return made
