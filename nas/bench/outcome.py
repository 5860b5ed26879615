"""What a benchmark found, where it ran, and the page that shows all of them."""

from __future__ import annotations

import datetime as dt
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from nas.errors import InputError
from nas.files import write_atomic

__all__ = ["Mark", "Outcome", "page", "save"]

PAGES_FOLDER = "docs/benchmarks"
"""Where pictures are, seen from BENCHMARKS.md."""
FULL = 1e4
"""From which on numbers are shown without a fraction, and without an exponent."""
LIBRARIES = ("hwnas", "numpy", "onnxruntime", "torch", "optuna", "mlflow")


@dataclass(frozen=True, slots=True)
class Mark:
    """A line of a table of marks.

    Attributes:
        id: short name.
        better: which way is better.
        why: the reason where it is missed.
    """

    id: str
    what: str
    value: float
    mark: float
    better: Literal["higher", "lower"]
    why: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.mark if self.better == "higher" else self.value <= self.mark


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows for the record, marks for the reader.

    Attributes:
        picture: PNG that the page shows; None for none.
    """

    rows: Sequence[Mapping[str, float | str | bool]]
    marks: Sequence[Mark]
    picture: bytes | None = None


def save(path: Path, name: str, command: str, outcome: Outcome) -> None:
    """Writes docs/benchmarks/NAME.json, and NAME.png where there is a picture."""
    data = {
        "schema": 1,
        "bench": name,
        "command": command,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": _machine(),
        "rows": [dict(row) for row in outcome.rows],
        "marks": [{**asdict(mark), "met": mark.met, "why": "" if mark.met else mark.why} for mark in outcome.marks],
    }
    write_atomic(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
    if outcome.picture is not None:
        write_atomic(path.with_suffix(".png"), outcome.picture)


def _machine() -> dict[str, object]:
    import psutil

    from nas.hardware.host import detect_host

    chip = detect_host().chip
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": chip.cpu.value,
        "cores": int(chip.cores.value),
        "memory_bytes": psutil.virtual_memory().total,
        "os": f"{platform.system()} {platform.release()}",
        "versions": versions,
    }


def page(folder: Path) -> str:
    """BENCHMARKS.md from the results in `folder`: which marks are met, then each result.

    Raises:
        InputError: there is no result, or one that cannot be read.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise InputError(f"{folder} has no result of a benchmark: use a checkout of the project, or make one: nas bench NAME --out FILE")
    overview, sections = ["| benchmark | marks met | missed |", "|---|---|---|"], []
    for path in paths:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            missed = [mark["id"] for mark in data["marks"] if not mark["met"]]
            met = f"{len(data['marks']) - len(missed)} of {len(data['marks'])}"
            overview.append(f"| [{data['bench']}](#{data['bench']}) | {met} | {', '.join(missed) or '–'} |")
            sections += ["", *_section(data, path)]
        except (ValueError, KeyError, TypeError) as exc:
            raise InputError(f"{path}: is not the result of a benchmark: {exc}") from exc
    head = ["# Benchmarks", "", "Made by `make bench-report` from docs/benchmarks/*.json. Each says its command, date and machine.", ""]
    return "\n".join([*head, *overview, *sections]) + "\n"


def _section(data: Mapping[str, Any], path: Path) -> list[str]:
    machine = data["machine"]
    lines = [f"## {data['bench']}", "", f"`{data['command']}`, {data['date']}, {machine['cpu']}, {machine['cores']} cores", ""]
    lines += ["| id | what | value | mark | met |", "|---|---|---|---|---|"]
    for mark in data["marks"]:
        sign = "≥" if mark["better"] == "higher" else "≤"
        met = "yes" if mark["met"] else f"no: {mark['why']}"
        lines.append(f"| {mark['id']} | {mark['what']} | {_shown(mark['value'])} | {sign} {_shown(mark['mark'])} | {met} |")
    if path.with_suffix(".png").is_file():
        lines += ["", f"![{data['bench']}]({PAGES_FOLDER}/{path.stem}.png)"]
    for _, rows in groupby(data["rows"], key=lambda row: tuple(row)):
        lines += ["", *_table(list(rows))]
    return lines


def _table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    columns = list(rows[0])
    shown = [[_shown(row.get(column, "")) for column in columns] for row in rows]
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *(f"| {' | '.join(cells)} |" for cells in shown)]


def _shown(value: object) -> str:
    """Four digits, counts in full."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= FULL else f"{value:.4g}"
