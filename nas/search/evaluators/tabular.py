"""Accuracy from a file of known results: a benchmark's table, or the candidates of an earlier study."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.architecture import Architecture
from nas.errors import InputError, NasError
from nas.metrics import Metric, standard_error
from nas.search.evaluators.base import ACCURACY, Evaluation, EvaluatorContext
from nas.space import SearchSpace

__all__ = ["TabularEvaluator", "read_table"]

FORMATS = ".csv, .json, .parquet"
GENE = "gene_"
SCHEMA = 1
"""Of candidates.parquet, in its attributes as pandas keeps them."""
ATTRIBUTES = b"PANDAS_ATTRS"


class TabularEvaluator:
    """Looks architectures up."""

    gives = ACCURACY
    needs = frozenset({"table"})

    def __init__(self, context: EvaluatorContext) -> None:
        if context.table is None:
            raise InputError("the evaluator tabular needs a file of known results: --table FILE")
        self._space, self._path = context.space, context.table
        self._known = read_table(context.table, context.space)

    def evaluate(self, archs: Sequence[Architecture]) -> list[Evaluation]:
        """See `Evaluator.evaluate`; source `published`. The seconds are those that the file tells, else those of looking it up."""
        found = []
        for arch in archs:
            started = time.perf_counter()
            self._space.check(arch)
            if arch not in self._known:
                raise NasError(f"{self._path.name} has no result of {arch.to_json()}")
            metric, seconds = self._known[arch]
            found.append(Evaluation({ACCURACY: metric}, time.perf_counter() - started if seconds is None else seconds))
        return found


def read_table(path: Path, space: SearchSpace) -> dict[Architecture, tuple[Metric, float | None]]:
    """Accuracy of each architecture, and the seconds that it cost where the file knows them.

    A row is an architecture: `architecture` (its JSON), or its genes as columns, with or without "gene_" before their names. Its accuracy,
    0 to 1, is `accuracy` or `accuracy_search`; the standard error is `accuracy_std` or `accuracy_search_std`, or follows from `images`, the
    number of images that it was counted on; `seconds` may be there. Other columns are passed over, so that a study's candidates.parquet is
    such a file: of its rows those of pruned networks (`widths`), which are none of the space, are passed over too, and those of int8 where
    the architecture has one in fp32. JSON is a list of such objects.

    Raises:
        InputError: it cannot be read; names the row and what is wrong with it.
    """
    known: dict[Architecture, tuple[Metric, float | None]] = {}
    rounded: dict[Architecture, tuple[Metric, float | None]] = {}
    rows = _rows(path)
    for number, row in enumerate(rows, 1):
        try:
            arch = _architecture(row, space)
            if arch is None:
                continue
            found = _metric(row), _seconds(row)
        except (InputError, ValueError, TypeError) as exc:
            raise InputError(f"{path}: row {number}: {exc}") from exc
        of = rounded if row.get("precision") == "int8" else known
        if of.setdefault(arch, found)[0] != found[0]:
            raise InputError(f"{path}: row {number}: another accuracy of an architecture that was there before: {arch.to_json()}")
    if not known and not rounded:
        raise InputError(f"{path}: has no rows")
    return {**rounded, **known}


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        match path.suffix.lower():
            case ".csv":
                with path.open(encoding="utf-8-sig", newline="") as file:  # Excel begins with a byte order mark
                    return list(csv.DictReader(file))
            case ".json":
                found = json.loads(path.read_text(encoding="utf-8"))
                if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
                    raise InputError(f"{path}: must be a list of objects")
                return found
            case ".parquet":
                import pyarrow.parquet

                table = pyarrow.parquet.read_table(path)
                told = json.loads((table.schema.metadata or {}).get(ATTRIBUTES, b"{}"))
                if isinstance(schema := told.get("schema", SCHEMA), int) and schema > SCHEMA:
                    raise InputError(f"{path}: has schema {schema}, this version reads {SCHEMA}: upgrade hwnas")
                rows: list[dict[str, Any]] = table.to_pylist()
                return rows
    except InputError:
        raise
    except (OSError, ValueError, csv.Error) as exc:  # UnicodeDecodeError, JSONDecodeError and pyarrow's errors are these
        raise InputError(f"{path}: cannot be read: {str(exc).splitlines()[0][:200]}") from exc
    raise InputError(f"{path}: a table of results is {FORMATS}")


def _architecture(row: Mapping[str, Any], space: SearchSpace) -> Architecture | None:
    """None of a network that was pruned."""
    if row.get("widths"):
        return None
    if row.get("architecture"):
        given = row["architecture"]
        arch = Architecture.from_dict(json.loads(given) if isinstance(given, str) else given)
        if arch.space != space.name:
            raise InputError(f"is of space {arch.space!r}, not of {space.name!r}")
        return None if arch.widths else space.canonical(dict(arch.genes))
    if row.get("space") not in (None, "", space.name):
        raise InputError(f"is of space {row['space']!r}, not of {space.name!r}")
    values = {}
    for gene in space.genes:
        cell = row.get(f"{GENE}{gene.name}", row.get(gene.name))
        if cell is None or cell == "":
            continue  # not active, or forgotten: the space knows
        choice = next((choice for choice in gene.choices if str(choice) == str(cell) or _equal(choice, cell)), None)
        if choice is None:
            raise InputError(f"{gene.name} must be one of {', '.join(map(str, gene.choices))}, got {cell!r}")
        values[gene.name] = choice
    return space.canonical(values)


def _equal(choice: object, cell: object) -> bool:
    try:
        return float(str(choice)) == float(str(cell))
    except ValueError:
        return False


def _metric(row: Mapping[str, Any]) -> Metric:
    name = "accuracy" if row.get("accuracy") not in (None, "") else ACCURACY
    value = _number(row, name)
    if value is None:
        raise InputError(f"has no accuracy (a column accuracy or {ACCURACY})")
    if not 0 <= value <= 1:
        raise InputError(f"accuracy must be 0 to 1, got {value:g}")
    std, images = _number(row, f"{name}_std"), _number(row, "images")
    if std is None and images is not None and images >= 1:
        std = standard_error(round(value * images), int(images))
    if std is None:
        raise InputError(f"has no standard error: give {name}_std, or images, the number that the accuracy was counted on")
    return Metric(value, "1", "published", std=std)


def _seconds(row: Mapping[str, Any]) -> float | None:
    seconds = _number(row, "seconds")
    if seconds is not None and not 0 <= seconds < math.inf:
        raise InputError(f"seconds must be finite and not negative, got {seconds:g}")
    return seconds


def _number(row: Mapping[str, Any], name: str) -> float | None:
    cell = row.get(name)
    return None if cell is None or cell == "" else float(cell)
