"""The contract of an evaluator, what it is given, and how one is found by name (entry points `nas.evaluators`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from nas import plugins
from nas.architecture import Architecture
from nas.config import HalvingRecipe, TrainRecipe
from nas.errors import DataError, InputError
from nas.metrics import Metric
from nas.space import SearchSpace
from nas.training.data import ImageData, load_data

__all__ = ["Evaluation", "Evaluator", "EvaluatorContext", "accuracy_evaluator", "open_evaluator", "threads_each"]

ACCURACY = "accuracy_search"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is known of one architecture after its evaluation, and the seconds that it cost."""

    metrics: Mapping[str, Metric]
    seconds: float


@dataclass(frozen=True)
class EvaluatorContext:
    """What an evaluator needs, in values that reach another process.

    Attributes:
        data, data_seed: name or path of the images, and the seed of their split.
        cache: folder of decoded images and of what trainings leave.
        weights: of the supernet; None where none is trained.
        threads: that one evaluation may use; None for torch's own count, which OMP_NUM_THREADS decides.
        content: of the images that the search began with, `ImageData.content`; empty where any will do.
        recipe, halving: how networks are trained by those who train them.
        table: file of known results, for those who look up.
    """

    space: SearchSpace
    data: str
    data_seed: int
    cache: Path
    weights: Path | None
    threads: int | None = None
    content: str = ""
    recipe: TrainRecipe = field(default_factory=TrainRecipe)
    halving: HalvingRecipe = field(default_factory=HalvingRecipe)
    table: Path | None = None

    def images(self, size: int) -> ImageData:
        """The images at `size` x `size` pixels.

        Raises:
            DataError: they are not those that the search began with.
        """
        data = load_data(self.data, size, self.data_seed, self.cache, in_use=self.content)
        if self.content and data.content != self.content:
            raise DataError(f"the images of {self.data} changed while the search went on: resume it, and it says what changed")
        return data


class Evaluator(Protocol):
    """Says how good architectures are. Made from an `EvaluatorContext`; `evaluate` may be called any number of times.

    Registered as an entry point of the group `nas.evaluators`; `nas.testing.EvaluatorContract` tests it.

    Attributes:
        gives: metric of `nas.metrics.UNITS` that every evaluation has: "accuracy_search", or that of a proxy, which is never shown as
            accuracy and which no search takes for it.
        needs: which of "supernet" (`EvaluatorContext.weights`) and "table" must be there; what is not needed is not made or asked for.
    """

    gives: ClassVar[str]
    needs: ClassVar[frozenset[str]]

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """`gives` of each architecture, with its standard error and source, and perhaps other metrics.

        Raises:
            NasError: an architecture cannot be evaluated; the trial fails and the search goes on.
        """
        ...


def threads_each(workers: int) -> int:
    """Threads of each of `workers` processes, so that together they use what one process would."""
    import torch

    return max(1, torch.get_num_threads() // workers)


def open_evaluator(name: str, context: EvaluatorContext) -> Evaluator:
    """An evaluator by name.

    Raises:
        UnknownNameError: with the names there are.
    """
    made: Evaluator = plugins.load("evaluators", name)(context)
    return made


def accuracy_evaluator(name: str) -> type[Evaluator]:
    """The class of an evaluator that a search can be run with.

    Raises:
        UnknownNameError: with the names there are.
        InputError: it gives no accuracy.
    """
    found: type[Evaluator] = plugins.load("evaluators", name)
    if found.gives != ACCURACY:
        able = [other for other in plugins.names("evaluators") if _gives_accuracy(other)]
        raise InputError(
            f"--evaluator {name} gives {found.gives}, which ranks networks but is no accuracy: choose {' or '.join(able)} for a search"
        )
    return found


def _gives_accuracy(name: str) -> bool:
    """Not one that cannot be loaded."""
    with suppress(Exception):  # whatever is wrong with a plug-in that nobody asked for
        return bool(plugins.load("evaluators", name).gives == ACCURACY)
    return False
