"""Where evaluations run: in this process, or in a pool of local processes."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context, parent_process
from typing import Protocol

from nas.architecture import Architecture
from nas.search.evaluators import Evaluation, Evaluator, EvaluatorContext, open_evaluator, threads_each

__all__ = ["Evaluation", "Executor", "InProcess", "LocalPool", "open_executor"]


class Executor(Protocol):
    """Runs evaluations. `capacity` of them may be under way at once."""

    capacity: int

    def submit(self, arch: Architecture) -> Future[Evaluation]: ...

    def close(self) -> None: ...


class InProcess:
    """One evaluation at a time, in this process: repeatable."""

    capacity = 1

    def __init__(self, name: str, context: EvaluatorContext) -> None:
        self._evaluator = open_evaluator(name, context)

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        future: Future[Evaluation] = Future()
        try:
            future.set_result(self._evaluator.evaluate([arch])[0])
        except Exception as exc:
            future.set_exception(exc)
        return future

    def close(self) -> None:
        """Nothing to close."""


@cache
def _worker_evaluator(name: str, context: EvaluatorContext) -> Evaluator:
    return open_evaluator(name, context)


def _evaluate_in_worker(name: str, context: EvaluatorContext, arch: Architecture) -> Evaluation:
    return _worker_evaluator(name, context).evaluate([arch])[0]


def _start_worker() -> None:
    """Ctrl-C and SIGTERM reach the whole process group: only the driver acts on them. A worker ends when its driver is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    driver = parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


class LocalPool:
    """`workers` processes on this machine; each opens its evaluator once."""

    def __init__(self, name: str, context: EvaluatorContext, workers: int) -> None:
        self.capacity = workers
        self._name, self._context = name, replace(context, threads=threads_each(workers))
        # Spawn, not fork: torch's threads do not survive a fork.
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        return self._pool.submit(_evaluate_in_worker, self._name, self._context, arch)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def open_executor(name: str, context: EvaluatorContext, workers: int) -> Executor:
    """In this process for one worker, a local pool for more."""
    return InProcess(name, context) if workers == 1 else LocalPool(name, context, workers)
