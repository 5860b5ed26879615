"""Evaluations that were asked for and have not been told: sent out, tried again where they were lost, given up where they hang."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from optuna.trial import Trial

from nas.architecture import Architecture
from nas.errors import NasError
from nas.search.executors import Evaluation, Executor, LostError

__all__ = ["ATTEMPTS", "Asked", "UnderWay"]

ATTEMPTS = 3
"""Of an evaluation: the first and two more."""
PATIENCE_S = 300.0
"""Before an evaluation is given up, at least: the first one of a worker also opens its evaluator. None is before one has come back: nothing
tells how long they take."""
PATIENT = 20
"""Times the median of those that came back, if that is more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial with its architecture, and how often it was tried, this time included."""

    trial: Trial
    arch: Architecture
    attempt: int = 1


class UnderWay:
    """Sends evaluations to an executor and takes what comes back.

    An evaluation that is lost in company may not be the guilty one, so it is tried again alone and only then counts as tried. Where the
    executor isolates them it is, and is tried again beside the others.

    Args:
        timeout_s: after which an evaluation is given up; None for what those before it took, with patience.
        on_lease: told who is being evaluated anew, with its new attempt.
    """

    def __init__(self, executor: Executor, timeout_s: float | None, on_lease: Callable[[Asked, float], None]) -> None:
        self._executor, self._timeout_s, self._on_lease = executor, timeout_s, on_lease
        self._running: dict[Future[Evaluation], tuple[Asked, float]] = {}
        self._given_up: set[Future[Evaluation]] = set()
        self._known: set[Future[Evaluation]] = set()
        self._in_company: set[Future[Evaluation]] = set()
        self._suspects: deque[Asked] = deque()
        self._seconds: list[float] = []

    def __len__(self) -> int:
        return len(self._running) + len(self._suspects)

    @property
    def numbers(self) -> set[int]:
        """Of the trials."""
        return {asked.trial.number for asked in (*self._suspects, *(asked for asked, _ in self._running.values()))}

    @property
    def has_room(self) -> bool:
        return not self._suspects and len(self._running) < self._executor.capacity

    @property
    def patience_s(self) -> float:
        """Seconds after which an evaluation is given up."""
        if self._timeout_s is not None:
            return self._timeout_s
        return max(PATIENCE_S, PATIENT * statistics.median(self._seconds)) if self._seconds else threading.TIMEOUT_MAX

    def submit(self, asked: Asked, known: Evaluation | None = None) -> None:
        """Begins an evaluation; one that is known is over at once."""
        if known is None:
            future = self._executor.submit(asked.arch)
        else:
            future = Future()
            future.set_result(known)
            self._known.add(future)
        if self._running:
            self._in_company |= {future, *self._running}
        self._running[future] = asked, time.monotonic()

    def finished(self) -> list[tuple[Asked, Evaluation | NasError]]:
        """What came back, or was given up for good; waits until something did.

        Raises:
            BaseException: what an evaluation raised that is no `NasError`.
        """
        found: list[tuple[Asked, Evaluation | NasError]] = []
        while not found and len(self):
            if self._suspects and not self._running:
                self.submit(self._suspects.popleft())
            wait(self._running, timeout=self._until_overdue(), return_when=FIRST_COMPLETED)
            self._give_up_overdue()
            back = [future for future in self._running if future.done()]
            found = [taken for future in back if (taken := self._taken(future)) is not None]
        return found

    def _until_overdue(self) -> float:
        """Seconds until the next evaluation is given up; those that were given up already are waited for with patience."""
        began = [began for future, (_, began) in self._running.items() if future not in self._given_up]
        return max(0.0, min(began) + self.patience_s - time.monotonic()) if began else self.patience_s

    def _taken(self, future: Future[Evaluation]) -> tuple[Asked, Evaluation | NasError] | None:
        """What became of an evaluation; None where it is tried again."""
        asked, began = self._running.pop(future)
        was_given_up, was_alone = future in self._given_up, future not in self._in_company
        self._given_up.discard(future)
        self._in_company.discard(future)
        try:
            evaluation = future.result()
        except LostError as exc:
            reason = f"it took longer than {self.patience_s:.3g} s" if was_given_up else str(exc)
            return self._lost(asked, reason, was_alone=was_given_up or was_alone)
        except NasError as exc:
            return asked, exc
        if future not in self._known:
            self._seconds.append(time.monotonic() - began)
        self._known.discard(future)
        return asked, evaluation

    def _lost(self, asked: Asked, reason: str, *, was_alone: bool) -> tuple[Asked, NasError] | None:
        is_guilty = was_alone or self._executor.isolates
        if is_guilty and asked.attempt >= ATTEMPTS:
            return asked, NasError(f"tried {asked.attempt} times: {reason}")
        again = Asked(asked.trial, asked.arch, asked.attempt + is_guilty)
        self._on_lease(again, self.patience_s)
        if self._executor.isolates:
            self.submit(again)
        else:
            self._suspects.append(again)
        return None

    def _give_up_overdue(self) -> None:
        latest = time.monotonic() - self.patience_s
        for future, (_, began) in list(self._running.items()):
            if began <= latest and not future.done() and future not in self._given_up:
                self._given_up.add(future)
                self._executor.abandon(future)
