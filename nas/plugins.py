"""Plug-ins by entry point, loaded by name only: nothing is imported until it is asked for."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from nas.errors import InputError, MissingExtraError, UnknownNameError

__all__ = ["load", "names"]

OURS = "hwnas"
"""The distribution of the built-in ones."""


def names(kind: str) -> list[str]:
    """Names under the entry-point group `nas.<kind>`, sorted."""
    return sorted({point.name for point in entry_points(group=f"nas.{kind}")})


def load(kind: str, name: str) -> Any:
    """The object registered as `name` in the group `nas.<kind>`.

    Raises:
        UnknownNameError: no plug-in of that name.
        MissingExtraError: its module needs something that is not installed.
        InputError: so does that of another distribution.
    """
    for point in entry_points(group=f"nas.{kind}"):
        if point.name == name:
            try:
                return point.load()
            except ModuleNotFoundError as exc:
                if point.dist is None or point.dist.name == OURS:
                    raise MissingExtraError(str(exc.name), "search") from exc
                raise InputError(f"plug-in {name} ({point.dist.name}) needs {exc.name}: pip install {exc.name}") from exc
    raise UnknownNameError(kind.removesuffix("s"), name, names(kind))
