"""The files of a study, runs/<study>/: how they are written, read and found.

The study's storage is the truth; everything here is derived from it and can be written again. Numbers in files are SI units,
with the unit in the name.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from nas.errors import InputError, MissingExtraError, StudyError, UnknownNameError
from nas.files import write_atomic
from nas.metrics import UNITS, Candidate
from nas.report.front import CandidateRecord, FrontRecord

__all__ = [
    "CandidateRecord",
    "EvaluatedRecord",
    "EventLog",
    "FrontRecord",
    "flat_row",
    "front_csv",
    "list_studies",
    "read_front",
    "read_fronts",
    "study_folder",
    "write_candidates",
    "write_front",
]

Cell = str | float | int | bool | None


@dataclass(frozen=True, slots=True)
class EvaluatedRecord:
    """A row of candidates.parquet: a candidate and how long its evaluation took."""

    candidate: Candidate
    seconds: float | None = None


def flat_row(candidate: Candidate) -> dict[str, Cell]:
    """A candidate as one row of a table: ids, target, metrics with error, source and scope, genes. The same columns for every candidate
    of a space but those of genes that are not active."""
    row: dict[str, Cell] = {"id": candidate.id, "arch_id": candidate.arch.arch_id, "trial": candidate.trial, "space": candidate.arch.space}
    row.update(candidate.target.to_dict())
    for name in UNITS:
        metric = candidate.metrics.get(name)
        row[name] = None if metric is None else metric.value
        for part in ("std", "low", "high", "source", "scope"):
            row[f"{name}_{part}"] = None if metric is None else getattr(metric, part)
    row.update({f"gene_{name}": value for name, value in candidate.arch.genes})
    if candidate.arch.widths:  # of a pruned network, whose genes are those before
        row["widths"] = " ".join(f"{name}={width}" for name, width in candidate.arch.widths)
    return row


def write_front(folder: Path, record: FrontRecord, *, first: bool = True) -> tuple[Path, ...]:
    """Writes fronts/<device>.json and, for the study's first device, front.json and front.csv. Returns what was written."""
    text = json.dumps(record.to_dict(), indent=1, allow_nan=False) + "\n"
    files = {folder / "fronts" / f"{record.device}.json": text}
    if first:
        files[folder / "front.json"] = text
        files[folder / "front.csv"] = front_csv(record)
    for path, content in files.items():
        write_atomic(path, content)
    return tuple(files)


def front_csv(record: FrontRecord) -> str:
    """Every candidate that a front holds as CSV, front members first."""
    rows = []
    for each in sorted(record.candidates, key=lambda each: (not each.on_front, each.value(record.objectives[-1]) or 0.0, each.id)):
        shown: dict[str, Cell] = {"on_front": each.on_front, "feasible": each.feasible, "finalist": each.finalist, "tied": each.tied}
        shown["pruned"] = each.pruned
        flat = flat_row(each.candidate)
        rows.append({"id": flat.pop("id"), **shown, "title": each.title, **flat, "note": each.note})
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["id"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_front(folder: Path, device: str | None = None) -> FrontRecord:
    """The front of a study for a device, or for its first device.

    Args:
        device: its name, an alias of it, or the folder of its profile: whatever a search takes.

    Raises:
        StudyError: there is none yet, or its file does not hold together.
        UnknownNameError: a device that the study did not search for.
        ProfileError: the profile that is named does not hold together.
    """
    known = sorted(path.stem for path in folder.glob("fronts/*.json"))
    if device is not None and known and device not in known:
        device = _own_name(device, known, f"(the study {folder.name} has a front for each of its devices)")
    path = folder / "front.json" if device is None else folder / "fronts" / f"{device}.json"
    if path.is_dir():
        raise StudyError(f"{path} is a folder: remove it, and nas studies rebuild {folder.name} makes the file again")
    if not path.is_file():
        name = folder.name
        raise StudyError(
            f"study {name} has no front yet: nas search --resume {name} goes on, nas studies rebuild {name} makes it of what was evaluated"
        )
    try:
        data = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        if not isinstance(data, dict):
            raise InputError(f"front: must be an object, got {type(data).__name__}")
        return FrontRecord.from_dict(data)
    except OSError as exc:
        raise StudyError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:  # InputError, json.JSONDecodeError and UnicodeDecodeError are ValueErrors
        remedy = "" if "upgrade" in str(exc) else f": nas studies rebuild {folder.name} makes it again"
        raise StudyError(f"{path}: {exc}{remedy}") from exc


def _own_name(device: str, known: Sequence[str], hint: str) -> str:
    """The name that fronts are kept under, of a device that was named otherwise."""
    from nas.hardware.profile import load_profile

    with contextlib.suppress(UnknownNameError):
        if (name := load_profile(device).name) in known:
            return name
    raise UnknownNameError("device", device, known, hint)


def read_fronts(folder: Path) -> tuple[FrontRecord, ...]:
    """The fronts of all devices of a study, its first device's first.

    Raises:
        StudyError: as `read_front`.
    """
    first = read_front(folder)
    others = (path.stem for path in sorted(folder.glob("fronts/*.json")) if path.stem != first.device)
    return (first, *(read_front(folder, device) for device in others))


def _refuse_constant(word: str) -> NoReturn:
    raise InputError(f"front: {word} is not a number that JSON knows")


def write_candidates(folder: Path, records: Iterable[EvaluatedRecord]) -> Path:
    """Writes candidates.parquet: a row for every evaluated candidate."""
    try:
        import pandas as pd
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as exc:
        raise MissingExtraError(str(exc.name), "search") from exc
    rows = [{**flat_row(record.candidate), "seconds": record.seconds} for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    table = pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})
    table.attrs["schema"] = 1
    path = folder / "candidates.parquet"
    write_atomic(path, table.to_parquet(index=False))
    return path


def _column(cells: Sequence[Cell]) -> list[Any]:
    """A column has one type: where words and numbers meet, they are all words."""
    if any(isinstance(cell, str) for cell in cells):
        return [None if cell is None else str(cell) for cell in cells]
    return list(cells)


class EventLog:
    """log.jsonl: what happened, one event a line, with its time. A line that a crash cut short is skipped when read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, fields: Mapping[str, object] | None = None) -> None:
        """Adds an event. Fields must be what JSON knows.

        Raises:
            StudyError: the file cannot be written.
        """
        event = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **(fields or {})}
        line = json.dumps(event).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else b"\n" + line
                file.write(line)
        except OSError as exc:
            raise StudyError(f"cannot write {self.path}: {exc.strerror}; check the disk's space and the folder's permissions") from exc

    def read(self, kinds: Collection[str] = ()) -> list[dict[str, Any]]:
        """All events, or those of some kinds only, oldest first; none where there is no file."""
        marks = [json.dumps(kind).encode() for kind in kinds]
        events = []
        for line in self.path.read_bytes().splitlines() if self.path.is_file() else ():
            if not kinds or any(mark in line for mark in marks):  # reading JSON is what takes time
                with contextlib.suppress(ValueError):
                    events.append(json.loads(line))
        return [event for event in events if isinstance(event, dict) and (not kinds or event.get("kind") in kinds)]


def list_studies(runs: Path) -> list[Path]:
    """Folders of the studies in runs/, newest first. A study is a folder with a config.json."""
    dated = [(path.stat().st_mtime_ns, path.parent) for path in runs.glob("*/config.json")]
    return [folder for _, folder in sorted(dated, reverse=True)]


def study_folder(runs: Path, name: str | None = None) -> Path:
    """The folder of a study, the newest one where no name is given.

    Raises:
        StudyError: there is no study at all.
        UnknownNameError: no study of that name; says the nearest.
    """
    folders = list_studies(runs)
    if not folders:
        raise StudyError(f"there is no study in {runs} yet: start one with nas search --device raspberrypi4")
    if name is None:
        return folders[0]
    for folder in folders:
        if folder.name == name:
            return folder
    raise UnknownNameError("study", name, [folder.name for folder in folders], f"(studies are folders of {runs})")
