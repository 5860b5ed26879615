"""Processes in which a benchmark's networks are trained side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from nas.search.executors.local import start_worker

__all__ = ["side_by_side"]


@contextmanager
def side_by_side(processes: int) -> Iterator[Executor]:
    """So many processes, which end at once where the block does not come to its end; for 1 a thread of this one."""
    if processes == 1:
        with ThreadPoolExecutor(1) as thread:
            yield thread
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=start_worker)
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
