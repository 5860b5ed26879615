"""The contract of an executor: where evaluations run."""

from __future__ import annotations

from concurrent.futures import Future
from functools import cache
from typing import Protocol

from nas.architecture import Architecture
from nas.errors import NasError
from nas.search.evaluators import Evaluation, Evaluator, EvaluatorContext, open_evaluator

__all__ = ["Executor", "LostError", "evaluate_here"]


class LostError(NasError):
    """An evaluation has no result through no word of its own: its process ended, its machine is gone, or it was given up. It may be tried
    again."""


class Executor(Protocol):
    """Runs evaluations.

    Attributes:
        capacity: how many may be under way at once.
    """

    capacity: int

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
    """An evaluation in this process, a worker, which opens its evaluator once."""
    return _evaluator(name, context).evaluate([arch])[0]
