"""Decoded images on the disk: one folder an entry, written whole or not at all, memory-mapped when it is read again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError

__all__ = ["SCHEMA", "Pool", "find", "forget", "load", "save"]

SCHEMA = 3  # part of the key of an entry: raise it when the same files would decode to other pixels


ABANDONED_S = 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """All decoded images of a data set before it is split, ordered by (part, label, path).

    Attributes:
        images: uint8 (n, size, size, channels).
        labels: int64 (n,), indices into `classes`.
        parts: uint8 (n,), values of `nas.training.images.Part`.
        digests: uint64 (n,), of each file's bytes.
        paths: of the files inside the folder or .zip.
        content: hex digest of all paths, sizes and bytes.
        skipped: "path: reason" of each file left out.
    """

    classes: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    parts: NDArray[np.uint8]
    digests: NDArray[np.uint64]
    paths: tuple[str, ...]
    content: str
    skipped: tuple[str, ...]


def save(entry: Path, pool: Pool) -> None:
    """Writes an entry beside its place and renames it there; an entry that another process has made meanwhile is left alone.

    Raises:
        DataError: no room or no permission.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _sweep(entry.parent)
        building = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}."))
        try:
            for name in ("images", "labels", "parts", "digests"):
                with (building / f"{name}.npy").open("wb") as file:
                    np.save(file, getattr(pool, name), allow_pickle=False)
                    file.flush()
                    os.fsync(file.fileno())
            text = {"schema": SCHEMA, "classes": pool.classes, "content": pool.content, "skipped": pool.skipped, "paths": pool.paths}
            (building / "data.json").write_text(json.dumps(text), encoding="utf-8")
            if load(entry) is None:
                shutil.rmtree(entry, ignore_errors=True)  # damaged
                building.rename(entry)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        if load(entry) is not None:  # lost a race against the other process
            return
        raise DataError(
            f"decoded images cannot be kept in {entry.parent} ({error.strerror or error}): make room or pass another folder"
        ) from error


def _sweep(cache: Path) -> None:
    """Removes what processes that were killed left half written; one that still writes is younger."""
    for left in cache.glob(".*.*"):
        if left.is_dir() and time.time() - left.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)


def find(cache: Path, content: str) -> Pool | None:
    """An entry by what it holds, whatever became of the files that it was made from; None where there is none."""
    for described in sorted(cache.glob("*/data.json")):
        try:
            known = json.loads(described.read_text(encoding="utf-8"))["content"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if known == content and (pool := load(described.parent)) is not None:
            return pool
    return None


def forget(entry: Path) -> None:
    """Removes an entry; what others have mapped of it stays with them."""
    shutil.rmtree(entry, ignore_errors=True)


def load(entry: Path) -> Pool | None:
    """The entry with its images memory-mapped, or None where it is absent or damaged and has to be made again."""
    try:
        text = json.loads((entry / "data.json").read_text(encoding="utf-8"))
        images = np.asarray(np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False))
        labels, parts, digests = (np.load(entry / f"{name}.npy", allow_pickle=False) for name in ("labels", "parts", "digests"))
        paths = tuple(text["paths"])
        pool = Pool(tuple(text["classes"]), images, labels, parts, digests, paths, text["content"], tuple(text["skipped"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    rows = {len(pool.images), len(pool.labels), len(pool.parts), len(pool.digests), len(pool.paths)}
    return pool if len(rows) == 1 else None
