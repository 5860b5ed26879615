"""Results of a benchmark's parts, each kept as it is known: one of an hour that is interrupted goes on where it was.

They are kept under runs/.cache, and where a benchmark takes hours also in one file that is committed, docs/benchmarks/pieces/NAME.json: a
checkout on another machine goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nas.bench.processes import side_by_side
from nas.errors import InputError, StoppedError
from nas.files import write_atomic

__all__ = ["Pieces", "Row", "committed", "digest", "runs_folder"]

T = TypeVar("T")
Row = dict[str, float | str | bool]
"""Of a benchmark's record."""
SCHEMA = 1
"""Of the committed file."""
COMMITTED = Path("docs/benchmarks")


def runs_folder() -> Path:
    """Where studies and caches are: runs, or NAS_RUNS."""
    return Path(os.environ.get("NAS_RUNS") or "runs")


def committed(name: str) -> Path | None:
    """The file that is committed of a benchmark's pieces; None where this is no checkout."""
    return COMMITTED / "pieces" / f"{name}.json" if COMMITTED.is_dir() else None


def digest(value: object) -> str:
    """12 hex digits of a value's JSON: of an input that is too long to be kept as it is."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Pieces:
    """A folder for one set of inputs. Another set has another folder; what was kept for the one before is deleted.

    Attributes:
        shared: file that holds all pieces too; None for none.
        most: files that the folder may come to hold; None for any number.
    """

    folder: Path
    shared: Path | None = None
    most: int | None = None

    @classmethod
    def of(cls, place: Path, inputs: Mapping[str, object], shared: Path | None = None, new: int | None = None) -> Pieces:
        """The pieces in `place` of a benchmark with these inputs: data, weights, settings, version, all that decides its results.

        Args:
            shared: file whose pieces are taken over, and which every new one is added to.
            new: pieces that may be made before `once` stops; None for any number.

        Raises:
            InputError: `shared` holds pieces of other inputs, which would be lost, or cannot be read.
        """
        plain: dict[str, Any] = json.loads(json.dumps(dict(inputs), sort_keys=True))
        known = {} if shared is None else _read(shared, plain)
        key = digest(plain)
        for other in place.glob("*/inputs.json"):
            if other.parent.name != key:
                shutil.rmtree(other.parent)
        write_atomic(place / key / "inputs.json", json.dumps(plain, indent=1, sort_keys=True) + "\n")
        pieces = cls(place / key, shared)
        for name, piece in known.items():
            if not pieces._path(name).is_file():
                write_atomic(pieces._path(name), json.dumps(piece, indent=1) + "\n")
        if len(known) < len(pieces._files()):  # ended between the two files, or made where there was no checkout
            pieces._share()
        return pieces if new is None else cls(place / key, shared, len(pieces._files()) + new)

    def once(self, name: str, make: Callable[[], dict[str, T]]) -> dict[str, T]:
        """What an earlier run found under this name, else what `make` finds now.

        Raises:
            StoppedError: as many were made as this run may make.
        """
        path = self._path(name)
        if path.is_file():
            found: dict[str, T] = json.loads(path.read_text(encoding="utf-8"))
            return found
        if self.most is not None and len(self._files()) >= self.most:
            raise StoppedError(f"as many pieces were made as asked for, and are kept: the same command goes on with {name}")
        made = make()
        write_atomic(path, json.dumps(made, indent=1) + "\n")
        self._share()
        return made

    def all_once(self, makes: Mapping[str, Callable[[], dict[str, T]]], processes: int) -> list[dict[str, T]]:
        """`once` for each name, in their order. With more than one process those that are missing are made side by side: what makes them
        is sent there.

        Raises:
            StoppedError: as `once`, when what may be made is made.
        """
        missing = [name for name in makes if not self._path(name).is_file()]
        if self.most is not None:
            missing = missing[: max(0, self.most - len(self._files()))]
        if processes > 1 and len(missing) > 1:
            with side_by_side(processes) as pool:
                running = {pool.submit(makes[name]): name for name in missing}
                for made in as_completed(running):
                    self.once(running[made], made.result)
        return [self.once(name, make) for name, make in makes.items()]

    def _share(self) -> None:
        if self.shared is None:
            return
        inputs = json.loads((self.folder / "inputs.json").read_text(encoding="utf-8"))
        pieces = {each.stem: json.loads(each.read_text(encoding="utf-8")) for each in self._files()}
        write_atomic(self.shared, json.dumps({"schema": SCHEMA, "inputs": inputs, "pieces": pieces}, indent=1) + "\n")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.json") if path.name != "inputs.json")


def _read(path: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The pieces of a committed file, which must be of these inputs."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        schema, were, pieces = data["schema"], dict(data["inputs"]), dict(data["pieces"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InputError(f"{path}: no pieces of a benchmark ({exc}): restore it, or delete it and they are made again") from exc
    if schema != SCHEMA:
        raise InputError(f"{path}: has schema {schema!r}, this version reads {SCHEMA}")
    changed = sorted(key for key in {*were, *inputs} if were.get(key) != inputs.get(key))
    if changed:
        was, now = were.get(changed[0]), inputs.get(changed[0])
        raise InputError(f"{path}: its {len(pieces)} pieces are of another {changed[0]} ({was} then, {now} now): delete it to begin anew")
    return pieces
