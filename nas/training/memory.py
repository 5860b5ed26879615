"""Memory of a training: kept between steps, and what to do where there is not enough of it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from nas.errors import TrainingError

__all__ = ["kept_memory", "telling_what_fits"]

# malloc.h of glibc.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
NEVER = -1
DEFAULT_MMAP_MAX = 65_536
DEFAULT_TOP_PAD = 128 * 2**10
HEAP = 64 * 2**20
"""Of a thread that is not the first one, on 64 bits (malloc/arena.c, HEAP_MAX_SIZE): with so much padding an empty one is not unmapped."""
LARGEST_THRESHOLD = 32 * 2**20
"""Up to which glibc raises the size above which memory is mapped; it trims from twice of it on (man mallopt, M_MMAP_THRESHOLD)."""
CPU_ALLOCATOR = ("DefaultCPUAllocator", "can't allocate memory", "std::bad_alloc")
"""Words of torch's RuntimeError where a CPU has no memory left; on a GPU it has an error of its own."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """Large tensors that are freed stay with the process while the context lasts, and go back to the system after it.

    glibc maps memory for each tensor of more than 32 MiB anew, and the system clears it page by page when it is first touched. Measured
    with batches of 128 CIFAR images: a step without it takes 1.4 times as long; one of a small network in parts on two threads, whose heaps
    would be unmapped whenever they are empty, 1.3 times. Without glibc nothing is done.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None:
        yield
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, NEVER)
    mallopt(M_TOP_PAD, HEAP)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_THRESHOLD)
        mallopt(M_TOP_PAD, DEFAULT_TOP_PAD)
        trim = _glibc("malloc_trim")
        if trim is not None:
            trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None), name)  # type: ignore[no-any-return]
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return None


@contextmanager
def telling_what_fits(images: int) -> Iterator[None]:
    """Turns a want of memory into an error that names the batch size to try.

    Args:
        images: that pass through at once.

    Raises:
        TrainingError: there is not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as exc:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(exc, MemoryError | torch.OutOfMemoryError) and not any(words in str(exc) for words in CPU_ALLOCATOR):
            raise
        half = images // 2
        advice = f"try micro_batch={half} (the same step in smaller parts) or batch_size={half} in the recipe"
        raise TrainingError(
            f"out of memory with {images} images at once: {advice if half >= 2 else 'close other programs, or choose a smaller space'}"
        ) from exc
