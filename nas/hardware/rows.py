"""The files of what was measured on a target: a summary, one line a network, and beside it every run.

Summary: <folder>/measurements/<runtime>-<precision>-<threads>t.csv, a row for each network and version of the runtime.
Runs: <the same>.runs/<network>-<version>.npz, columns of `Measurement.columns`. NumPy's format because the base install writes it, one
file a network because a file is then whole or absent: Parquet needs pandas or pyarrow and cannot be appended to.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.errors import ProfileError, SpaceError
from nas.files import write_atomic, write_atomic_with
from nas.hardware.row import Row, check_row, make_row, network_hash, with_energy
from nas.hardware.session import Measured
from nas.target import Target

__all__ = [
    "Row",
    "append_row",
    "labels_s",
    "make_row",
    "network_hash",
    "newest_rows",
    "read_rows",
    "rows_path",
    "runs_path",
    "with_energy",
    "write_runs",
]


def rows_path(folder: Path, target: Target) -> Path:
    """Summary of a target, in its profile's folder."""
    return folder / "measurements" / f"{target.runtime}-{target.precision}-{target.threads}t.csv"


def runs_path(folder: Path, target: Target, network: str, version: str) -> Path:
    """Every run of a network with a version of the runtime."""
    return rows_path(folder, target).with_suffix(".runs") / f"{network}-{re.sub(r'[^A-Za-z0-9.+_-]', '_', version)}.npz"


_READERS: dict[str, Callable[[str], object]] = {
    "float": float, "int": int, "str": str, "float | None": lambda text: float(text) if text else None,
}  # fmt: skip


def read_rows(path: Path, target: Target | None = None, on_bad: Callable[[str], None] | None = None) -> list[Row]:
    """Rows of a summary; none where it is absent. Columns that newer versions added may be missing.

    Args:
        target: whose rows they must be; any by default.
        on_bad: told of each row that cannot be used, which is then left out; by default such a row is an error.

    Raises:
        ProfileError: other columns, a bad row (file, line and value), or a row of another target.
    """
    rows: list[Row] = []
    lines: dict[tuple[str, str], int] = {}
    for number, record in _records(path):
        try:
            row = _row(record)
            foreign = target is not None and row.target not in ("", target.key)
            if not foreign:
                check_row(row, target)
                _check_once(row, number, lines)
        except (TypeError, ValueError, SpaceError) as exc:
            if on_bad is None:
                raise ProfileError(f"{path}: line {number}: {exc}: mend or remove it, or use the rest with --skip-bad") from exc
            on_bad(f"{path}: line {number} left out: {exc}")
            continue
        if target is not None and foreign:
            raise ProfileError(f"{path}: line {number} was measured on {row.target}, not on {target.key}: move it to that device's folder")
        rows.append(row)
    return rows


Record = dict[str, str] | list[str] | csv.Error
"""Values by column; as they are where they are too few or too many; or why a line is no CSV."""


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    """Number of the last line of each record of a summary, and the record.

    Raises:
        ProfileError: the file cannot be read, or has other columns.
    """
    if not path.is_file():
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ProfileError(f"{path}: cannot be read: {exc}") from exc
    fields = {f.name: f for f in dataclasses.fields(Row)}
    needed = {name for name, f in fields.items() if f.default is dataclasses.MISSING}
    reader = csv.reader(io.StringIO(text, newline=""))
    found: list[str] | None = None
    while (values := _next(reader)) is not None:
        if found is None:
            found = values if isinstance(values, list) else []
            if needed - set(found) or set(found) - set(fields) or len(set(found)) < len(found):
                raise ProfileError(f"{path}: columns must be {', '.join(fields)}, got {', '.join(found)}")
        elif isinstance(values, csv.Error):
            yield reader.line_num, values
        elif values:  # and not a blank line
            yield reader.line_num, dict(zip(found, values, strict=True)) if len(values) == len(found) else values


def _next(reader: Iterator[list[str]]) -> list[str] | csv.Error | None:
    try:
        return next(reader, None)
    except csv.Error as exc:
        return exc


def _row(record: Record) -> Row:
    if isinstance(record, csv.Error):
        raise ValueError(f"it is no CSV: {record}")
    if isinstance(record, list):
        raise ValueError(f"{len(record)} values, and another number of columns: as many values are needed")
    types = {f.name: str(f.type) for f in dataclasses.fields(Row)}
    return Row(**{name: _READERS[types[name]](value) for name, value in record.items()})  # type: ignore[arg-type]


def _check_once(row: Row, number: int, lines: dict[tuple[str, str], int]) -> None:
    first = lines.setdefault((row.network, row.runtime_version), number)
    if first != number:
        raise ValueError(f"network {row.network} with version {row.runtime_version} is in line {first} already")


def append_row(path: Path, row: Row) -> None:
    """Adds a row, or replaces that of the same network and runtime version. Whatever others add meanwhile is kept, bad rows too.

    Raises:
        ProfileError: what is there cannot be read, or has other columns.
    """
    # What a column that an older version did not write stands for.
    columns = {f.name: "" if f.default in (dataclasses.MISSING, None) else f.default for f in dataclasses.fields(Row)}
    same = (row.network, row.runtime_version)
    with _alone(path):
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for number, record in _records(path):
            if isinstance(record, csv.Error):
                raise ProfileError(f"{path}: line {number}: it is no CSV: {record}: mend or remove it")
            if isinstance(record, list):
                writer.writerow(record)
            elif (record["network"], record["runtime_version"]) != same:
                writer.writerow({**columns, **record}.values())
        writer.writerow(dataclasses.asdict(row).values())
        write_atomic(path, text.getvalue())


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time, where the system has such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as handle:
        with suppress(OSError):  # a file system without locks: it will do without
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_runs(path: Path, measured: Measured) -> None:
    """Writes every run of a network, whole or not at all."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez_compressed(handle, **measured.measurement.columns())

    write_atomic_with(path, write)


def labels_s(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Latency of each row, seconds, (n,): its ratio times its anchor's median over all rows of that anchor."""
    anchors: dict[str, list[float]] = {}
    for row in rows:
        anchors.setdefault(row.anchor, []).append(row.anchor_s)
    return np.array([row.ratio * float(np.median(anchors[row.anchor])) for row in rows])


def newest_rows(rows: Sequence[Row]) -> list[Row]:
    """Those of the runtime version that was measured last: latencies of two versions are not one quantity."""
    newest = max(rows, key=lambda row: row.date).runtime_version if rows else ""
    return [row for row in rows if row.runtime_version == newest]
