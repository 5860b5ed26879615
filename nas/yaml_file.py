"""YAML files that people write: a mapping at the top, no key twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from nas.errors import InputError

__all__ = ["read_yaml"]


class _Loader(yaml.SafeLoader):
    """YAML lets the last of two equal keys win, in silence; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[tuple[str, str], yaml.ScalarNode] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (before := first.setdefault((key.tag, key.value), key)) is not key:
                line = before.start_mark.line + 1
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice, first in line {line}", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, what: str, refuse: Callable[[str], InputError]) -> Mapping[str, Any]:
    """A YAML file whose top is a mapping.

    Args:
        what: the file holds, for messages, e.g. "a profile".
        refuse: makes the error of a message.

    Raises:
        InputError: as `refuse` makes it: unreadable, not YAML, a key that stands twice, or not a mapping; names the file and the line.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a SafeLoader
    except (OSError, UnicodeDecodeError) as exc:
        raise refuse(f"{path}: cannot be read: {exc}") from exc
    except yaml.YAMLError as exc:
        raise refuse(f"{path}: not valid YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(data, dict):
        raise refuse(f"{path}: {what} is a mapping, got {type(data).__name__}")
    return data
