"""Evaluations on this machine: in this process, or in a pool of processes."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context, parent_process

from nas.architecture import Architecture
from nas.search.evaluators import Evaluation, EvaluatorContext, open_evaluator, threads_each
from nas.search.executors.base import LostError, evaluate_here, evaluate_with

__all__ = ["InProcess", "LocalPool", "start_worker"]


class InProcess:
    """One evaluation at a time, in this process: repeatable."""

    capacity = 1
    isolates = True

    def __init__(self, name: str, context: EvaluatorContext) -> None:
        self._evaluator = open_evaluator(name, context)

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        """The evaluation is over when this returns."""
        future: Future[Evaluation] = Future()
        try:
            future.set_result(evaluate_with(self._evaluator, arch))
        except Exception as exc:
            future.set_exception(exc)
        return future

    def abandon(self, future: Future[Evaluation]) -> None:
        """Nothing is ever under way."""

    def close(self) -> None:
        """Nothing to close."""


def start_worker() -> None:
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
    """`workers` processes on this machine; each opens its evaluator once. Where one ends by itself, all are started again."""

    isolates = False

    def __init__(self, name: str, context: EvaluatorContext, workers: int) -> None:
        self.capacity = workers
        self._name, self._context = name, replace(context, threads=threads_each(workers))
        self._pool = self._new()
        self._running: set[Future[Evaluation]] = set()

    def _new(self) -> ProcessPoolExecutor:
        # Spawn, not fork: torch's threads do not survive a fork.
        return ProcessPoolExecutor(self.capacity, mp_context=get_context("spawn"), initializer=start_worker)

    def submit(self, arch: Architecture) -> Future[Evaluation]:
        """See `Executor.submit`."""
        try:
            running = self._pool.submit(evaluate_here, self._name, self._context, arch)
        except BrokenExecutor:
            self._pool = self._new()
            running = self._pool.submit(evaluate_here, self._name, self._context, arch)
        future: Future[Evaluation] = Future()
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        running.add_done_callback(lambda done: _pass_on(done, future))
        return future

    def abandon(self, future: Future[Evaluation]) -> None:
        """Ends all workers: which of them has the evaluation is not known."""
        del future
        broken, self._pool = self._pool, self._new()
        _kill(broken)

    def close(self) -> None:
        """At once: what is under way is wanted by nobody any more."""
        if self._running:
            _kill(self._pool)
        else:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(wait=True, cancel_futures=True)


def _pass_on(done: Future[Evaluation], future: Future[Evaluation]) -> None:
    if done.cancelled():
        future.set_exception(LostError("the workers were ended before it began"))
        return
    error = done.exception()
    if isinstance(error, BrokenExecutor):
        future.set_exception(LostError("a worker process ended by itself, most likely out of memory: try fewer --workers"))
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
