"""Finds search_spaces/ and hw_profiles/: the user's own first, then those shipped in the wheel or in a checkout."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Literal

from nas.errors import UnknownNameError

__all__ = ["Kind", "data_root", "find", "given_path", "listing"]

Kind = Literal["search_spaces", "hw_profiles"]


def data_root(kind: Kind) -> Path:
    """Folder of what is shipped: nas/_data/<kind> in a wheel, <kind> beside the package in a checkout."""
    package = Path(str(files("nas")))
    packaged = package / "_data" / kind
    return packaged if packaged.is_dir() else package.parent / kind


def _roots(kind: Kind) -> Iterator[Path]:
    seen: set[Path] = set()
    for root in (Path.cwd() / kind, data_root(kind)):
        if root.resolve() not in seen and root.is_dir():
            seen.add(root.resolve())
            yield root


def listing(kind: Kind, pattern: str) -> dict[str, Path]:
    """Name to path of everything that matches the glob `pattern` under the roots; the user's own win.

    The name is the file's stem, or the folder's name where the pattern names a file in a folder ("*/profile.yaml").
    """
    found: dict[str, Path] = {}
    for root in _roots(kind):
        for path in sorted(root.glob(pattern)):
            found.setdefault(path.parent.name if "/" in pattern else path.stem, path)
    return found


def given_path(pattern: str, name: str) -> Path | None:
    """The file that `name` leads to as a path: its own, or one in its folder where the pattern names a file in a folder. None for none."""
    given = Path(name)
    if given.is_dir() and "/" in pattern and (given / pattern.rsplit("/", 1)[1]).is_file():
        return given / pattern.rsplit("/", 1)[1]
    return given if given.suffix in (".yaml", ".yml") and given.is_file() else None


def find(kind: Kind, pattern: str, name: str, what: str, hidden: Collection[str] = ()) -> Path:
    """Path of `name`, which is a path itself or a name in `listing`.

    Args:
        hidden: names that are not told.

    Raises:
        UnknownNameError: naming the nearest names, and that a path works too.
    """
    if (given := given_path(pattern, name)) is not None:
        return given
    known = listing(kind, pattern)
    if name in known:
        return known[name]
    raise UnknownNameError(what, name, set(known) - set(hidden), hint="(a path works too)")
