"""The contract of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

__all__ = ["Runtime"]


class Runtime(Protocol):
    """Runs model files. Registered as an entry point of the group `nas.runtimes`; `nas.testing.RuntimeContract` tests it.

    Attributes:
        name: as in profiles and targets.
    """

    name: str

    def version(self) -> str:
        """Version of the library that runs."""
        ...

    def precisions(self) -> tuple[str, ...]:
        """Precisions of `nas.target.PRECISIONS` that it can run on this machine."""
        ...

    def open(self, model: Path, threads: int) -> AbstractContextManager[Callable[[], None]]:
        """Loads a model and gives a callable that runs it once, batch 1, on the same input each time.

        The callable returns when the result is there. It does not read clocks, and its threads rest between runs of other models.

        Raises:
            ModelFileError: the file cannot be read, or holds operators that the runtime does not know.
            TargetError: a run failed.
        """
        ...
