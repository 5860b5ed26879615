"""Very many objects that all stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """The cyclic garbage collector rests while the context lasts.

    It runs after so many new objects and walks over those that there are, which finds nothing where all of them stay: two thirds of the
    time of reading 10,000 trials. What is freed by its last reference is freed all the same.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
