"""The contract of an executor: where evaluations run."""

from __future__ import annotations

import socket
from concurrent.futures import Future
from functools import cache
from typing import Protocol

from nas.architecture import Architecture
from nas.errors import InputError, NasError, SpaceError
from nas.search.evaluators import Evaluation, Evaluator, EvaluatorContext, open_evaluator

__all__ = ["Executor", "LostError", "evaluate_here", "evaluate_with"]


class LostError(NasError):
    """An evaluation has no result through no word of its own: its process ended, its machine is gone or lacks something, or it was given
    up. It may be tried again."""


class Executor(Protocol):
    """Runs evaluations.

    Attributes:
        capacity: how many may be under way at once.
        isolates: whether an evaluation that is lost was lost by itself: no other one took it along.
    """

    capacity: int
    isolates: bool

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        """Begins an evaluation. Its future fails with `LostError` where it may be tried again, with another `NasError` where it may not."""
        ...

    def abandon(self, future: Future[Evaluation]) -> None:
        """Ends an evaluation that takes too long, as far as that is possible; others may be lost with it."""
        ...

    def close(self) -> None: ...


@cache
def _evaluator(name: str, context: EvaluatorContext) -> Evaluator:
    return open_evaluator(name, context)


def evaluate_here(name: str, context: EvaluatorContext, arch: Architecture) -> Evaluation:
    """An evaluation in this process, a worker, which opens its evaluator once.

    Raises:
        LostError: the evaluator does not open here: images that are not mounted, a full disk. For more see `evaluate_with`.
    """
    try:
        evaluator = _evaluator(name, context)
    except (ImportError, MemoryError, NasError, OSError, RuntimeError) as exc:
        raise LostError(f"the evaluator {name} does not open on {socket.gethostname()}: {exc}") from exc
    return evaluate_with(evaluator, arch)


def evaluate_with(evaluator: Evaluator, arch: Architecture) -> Evaluation:
    """One evaluation, whose errors say whether they concern the network.

    Raises:
        LostError: a file or disk of this machine is at fault.
        NasError: the network cannot be evaluated.
    """
    try:
        return evaluator.evaluate([arch])[0]
    except SpaceError:
        raise
    except (InputError, OSError) as exc:
        raise LostError(f"the evaluation broke off on {socket.gethostname()}: {exc}") from exc
