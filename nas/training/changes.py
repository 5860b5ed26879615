"""What became of a data set between two looks at it, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.training import cache as disk

__all__ = ["describe_change", "difference"]

NAMED = 2
"""Files that are named of each kind of change."""


def difference(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """What differs between two listings, path to anything that tells the file's content: "2 files added (a.png, b.png), 1 changed (c.png)".

    Empty where nothing does.
    """
    kinds = {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(path for path in before.keys() & after.keys() if before[path] != after[path]),
    }
    parts: list[str] = []
    for kind, paths in kinds.items():
        if paths:
            noun = "" if parts else " file" if len(paths) == 1 else " files"
            parts.append(f"{len(paths)}{noun} {kind} ({', '.join(paths[:NAMED])}{', ...' if len(paths) > NAMED else ''})")
    return ", ".join(parts)


def describe_change(cache: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What differs between two data sets, by the files that the cache remembers, else by the number of images of each class.

    Args:
        cache: folder of decoded images.
        before, after: as `nas.training.data.ImageData.to_dict` says.
    """
    pools = [disk.find(cache, str(record.get("content"))) for record in (before, after)]
    if all(pools):
        listings = [dict(zip(pool.paths, pool.digests.tolist(), strict=True)) for pool in pools if pool is not None]
        if found := difference(*listings):
            return found
    old, new = (_counts(record) for record in (before, after))
    parts = [f"{key} had {old.get(key, 0)} images and has {new.get(key, 0)}" for key in {**old, **new} if old.get(key) != new.get(key)]
    if parts:
        return ", ".join(parts[:NAMED]) + (f" and {len(parts) - NAMED} more differences" if len(parts) > NAMED else "")
    return "as many images of each class as before, but other ones"


def _counts(record: Mapping[str, Any]) -> dict[str, int]:
    """Images by set and class."""
    classes = record.get("classes", [])
    return {
        f"{name} {label}": count
        for name, each in record.get("sets", {}).items()
        for label, count in zip(classes, each["per_class"], strict=True)
    }
