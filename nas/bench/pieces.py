"""Results of a benchmark's parts, each kept as it is known: one of an hour that is interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.files import write_atomic

__all__ = ["Pieces", "Row"]

Row = dict[str, float | str | bool]
"""Of a benchmark's record."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """A folder for one set of inputs. Another set has another folder; what was kept for the one before is deleted."""

    folder: Path

    @classmethod
    def of(cls, place: Path, inputs: Mapping[str, object]) -> Pieces:
        """The pieces in `place` of a benchmark with these inputs: data, weights, settings, version, all that decides its results."""
        key = hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()[:12]
        for other in place.glob("*/inputs.json"):
            if other.parent.name != key:
                shutil.rmtree(other.parent)
        write_atomic(place / key / "inputs.json", json.dumps(dict(inputs), indent=1, sort_keys=True) + "\n")
        return cls(place / key)

    def once(self, name: str, make: Callable[[], Row]) -> Row:
        """What an earlier run found under this name, else what `make` finds now."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            found: Row = json.loads(path.read_text(encoding="utf-8"))
            return found
        made = make()
        write_atomic(path, json.dumps(made, indent=1) + "\n")
        return made
