"""Batches side by side, each on one thread of its own.

A small tensor that is split over threads makes them wait for each other after every layer, which takes most of the time where they sleep
at such barriers (see `nas.cli.main`) or where another process has a core. Batches need nothing of each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

__all__ = ["each_on_a_thread", "threads_for", "use_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def threads_for(module: nn.Module) -> int:
    """As many as torch may use on a CPU; a GPU computes one batch at a time."""
    weight = next(module.parameters(), None)
    return torch.get_num_threads() if weight is None or weight.device.type == "cpu" else 1


def use_threads(threads: int) -> None:
    """From now on torch takes so many for each operation of this thread, and of threads that it has not seen yet."""
    torch.get_num_threads()  # at its first look a thread takes over what was set last, anywhere
    torch.set_num_threads(threads)


def each_on_a_thread(open_lane: Callable[[], Callable[[Item], Result]], items: Iterable[Item], threads: int) -> list[Result]:
    """What comes of each item, in the order of the items, computed without gradients.

    Args:
        open_lane: called in each thread that gets an item; gives the function that this thread calls with its items.
        items: taken by one thread at a time, when it is free.
        threads: at most; with 1 the caller's does it, with all the threads that torch gives it.

    Raises:
        Exception: the first that an item, `open_lane` or its function raised; no further item is begun.
    """
    if threads == 1:
        with torch.no_grad():
            work = open_lane()
            return [work(item) for item in items]
    waiting, turn, ended = enumerate(items), threading.Lock(), threading.Event()
    results: dict[int, Result] = {}
    inference = torch.is_inference_mode_enabled()  # of the calling thread: others have a mode of their own

    def lane() -> None:
        torch.set_num_threads(1)
        work: Callable[[Item], Result] | None = None
        with torch.inference_mode(inference), torch.no_grad():
            while not ended.is_set():
                with turn:
                    found = next(waiting, None)
                if found is None:
                    return
                if work is None:
                    work = open_lane()
                results[found[0]] = work(found[1])

    def ending_all() -> None:
        try:
            lane()
        except BaseException:
            ended.set()
            raise

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="lane") as pool:
            try:
                for future in [pool.submit(ending_all) for _ in range(threads)]:
                    future.result()
            finally:
                ended.set()
    finally:
        torch.set_num_threads(before)  # the lanes' number would be that of threads to come
    return [results[number] for number in range(len(results))]
