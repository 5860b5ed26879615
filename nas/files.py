"""Files that are whole or absent: written to a temporary name in the same folder, synced, renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nas.errors import InputError

__all__ = ["write_atomic", "write_atomic_with"]


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes `data` to `path`, creating its folder; a crash leaves the old file or the new one, never half of one.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    content = data.encode() if isinstance(data, str) else data
    write_atomic_with(path, lambda temporary: temporary.write_bytes(content))


def write_atomic_with(path: Path, write: Callable[[Path], object]) -> None:
    """Like `write_atomic` for libraries that write a file themselves: `write` gets the temporary path.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as exc:
        raise InputError(f"cannot write {path}: {exc.strerror or exc}: choose another folder or free some space") from exc
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
