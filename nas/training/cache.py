"""Decoded images on the disk: one folder an entry, written whole or not at all, memory-mapped when it is read again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError

__all__ = ["SCHEMA", "Pool", "load", "save"]

SCHEMA = 1  # part of the key of an entry: raise it when the same files would decode to other pixels


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """All decoded images of a data set before it is split, ordered by (part, label, path).

    Attributes:
        images: uint8 (n, size, size, channels).
        labels: int64 (n,), indices into `classes`.
        parts: uint8 (n,), values of `nas.training.images.Part`.
        digests: uint64 (n,), of each file's bytes.
        content: hex digest of all paths, sizes and bytes.
        skipped: "path: reason" of each file left out.
    """

    classes: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    parts: NDArray[np.uint8]
    digests: NDArray[np.uint64]
    content: str
    skipped: tuple[str, ...]


def save(entry: Path, pool: Pool) -> None:
    """Writes an entry beside its place and renames it there; an entry that another process has made meanwhile is left alone.

    Raises:
        DataError: no room or no permission.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}."))
        try:
            for name in ("images", "labels", "parts", "digests"):
                with (building / f"{name}.npy").open("wb") as file:
                    np.save(file, getattr(pool, name), allow_pickle=False)
                    file.flush()
                    os.fsync(file.fileno())
            text = {"schema": SCHEMA, "classes": pool.classes, "content": pool.content, "skipped": pool.skipped}
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


def load(entry: Path) -> Pool | None:
    """The entry with its images memory-mapped, or None where it is absent or damaged and has to be made again."""
    try:
        text = json.loads((entry / "data.json").read_text(encoding="utf-8"))
        images = np.asarray(np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False))
        labels, parts, digests = (np.load(entry / f"{name}.npy", allow_pickle=False) for name in ("labels", "parts", "digests"))
        pool = Pool(tuple(text["classes"]), images, labels, parts, digests, text["content"], tuple(text["skipped"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    rows = {len(pool.images), len(pool.labels), len(pool.parts), len(pool.digests)}
    return pool if len(rows) == 1 else None
