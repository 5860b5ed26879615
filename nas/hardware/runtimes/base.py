"""The contract of a runtime.

This folder also runs on the device, without the rest of the package: Python 3.9, numpy and the runtime itself (see `transports.bundle`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.errors import InputError, ModelFileError

__all__ = ["Inspection", "Runtime", "check_threads", "count_ops", "input_shape"]


@dataclass(frozen=True)
class Inspection:
    """What a runtime does with a model, as it says itself.

    Attributes:
        precision: that the convolutions and matrix products really run in; of most of them where they differ.
        ops: (operator as the runtime fused it, how many).
        foreign: operators that do not run natively, and how they run instead.
    """

    precision: str
    ops: tuple[tuple[str, int], ...]
    foreign: tuple[str, ...]


class Runtime(Protocol):
    """Runs model files. Registered as an entry point of the group `nas.runtimes`; `nas.testing.RuntimeContract` tests it.

    The registered class takes one optional argument: the part of its hardware, e.g. "gpu", "" for the CPU. A target names it after a
    hyphen: "openvino-gpu".

    Attributes:
        name: as in profiles and targets, the part included.
    """

    name: str

    def version(self) -> str:
        """Version of the library that runs."""
        ...

    def precisions(self) -> tuple[str, ...]:
        """Precisions of `nas.target.PRECISIONS` that it can run on this machine."""
        ...

    def inspect(self, model: Path, threads: int) -> Inspection:
        """What it will do with a model. Takes no times.

        Raises:
            ModelFileError: as `open`.
        """
        ...

    def open(self, model: Path, threads: int) -> AbstractContextManager[Callable[[], None]]:
        """Loads a model and gives a callable that runs it once, batch 1, on the same input each time.

        The callable returns when the result is there. It does not read clocks, and its threads rest between runs of other models.

        Raises:
            ModelFileError: the file cannot be read, holds operators that the runtime does not know, or has an open image size.
            TargetError: a run failed.
        """
        ...


def check_threads(threads: int) -> None:
    """Raises InputError unless there is at least one thread."""
    if threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")


def input_shape(model: Path, name: str, shape: Sequence[object]) -> list[int]:
    """Shape of an input with a batch of 1.

    Args:
        shape: whole numbers where the model fixes them, anything else where it leaves them open.

    Raises:
        ModelFileError: more than the batch is open.
    """
    fixed = [1 if index == 0 and not isinstance(size, int) else size for index, size in enumerate(shape)]
    if not all(isinstance(size, int) and size > 0 for size in fixed):
        shown = ", ".join(str(size) for size in shape)
        raise ModelFileError(f"{model}: input {name!r} is [{shown}]: only the batch may be open, export it with a fixed image size")
    return [int(str(size)) for size in fixed]


def count_ops(ops: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Most frequent first."""
    return tuple(sorted(ops.items(), key=lambda pair: (-pair[1], pair[0])))
