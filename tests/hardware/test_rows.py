from __future__ import annotations

import csv
import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from nas.errors import ProfileError
from nas.hardware.measurement import Measurement
from nas.hardware.rows import Row, append_row, labels_s, make_row, network_hash, newest_rows, read_rows, rows_path
from nas.hardware.session import Measured
from nas.target import Target
from tests.hardware.test_fitting import networks

TARGET = Target("board", "onnxruntime", "1", "fp32", 1)


def rows(count: int = 3) -> list[Row]:
    measured = Measured(Measurement(((1e-3, 1.1e-3), (1e-3, 1.2e-3)), ((2e-3, 2e-3), (2e-3, 2.1e-3))), "1", "fp32", (), (3,), 1000)
    made = [make_row(network_hash(net), net, "anchor", TARGET, measured) for net in networks(count)]
    return [dataclasses.replace(row, date="2026-01-01T00:00:00+00:00") for row in made]


def write(path: Path, count: int = 3) -> Path:
    for row in rows(count):
        append_row(path, row)
    return path


def test_rows_come_back(tmp_path: Path) -> None:
    path = write(rows_path(tmp_path, TARGET))
    assert path.name == "onnxruntime-fp32-1t.csv"
    assert read_rows(path, TARGET) == rows()
    assert read_rows(tmp_path / "absent.csv") == []


def test_only_the_version_that_was_measured_last_counts() -> None:
    old, *new = rows()
    new = [dataclasses.replace(row, runtime_version="2", date="2026-02-01T00:00:00+00:00") for row in new]
    assert newest_rows([new[0], old, new[1]]) == new
    assert newest_rows([]) == []


def test_a_file_system_without_locks_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def none(handle: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    assert read_rows(write(tmp_path / "rows.csv", 1)) == rows(1)


def test_a_network_has_one_row(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    again = dataclasses.replace(rows()[1], ratio=7.0)
    append_row(path, again)
    found = read_rows(path)
    assert len(found) == 3
    assert found[-1] == again
    append_row(path, dataclasses.replace(again, runtime_version="2"))
    assert len(read_rows(path)) == 4


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ratio", "ration", "columns"), (",4,0.0", ",x,0.0", "line 2"), ('""kind""', '""king""', "line 2"),
        ("0.0010", "-0.0010", "more than zero"),
        ('""in_size"":', '""in_size"":9', "blocks are not those"), (",anchor,0.00", ",0.00", "values are needed"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_may_be_left_out(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = write(tmp_path / "rows.csv")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ProfileError, match=words):
        read_rows(path)
    if words != "columns":
        told: list[str] = []
        assert read_rows(path, on_bad=told.append) == rows()[1:]
        assert len(told) == 1
        assert "line 2" in told[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": "[1,2]"}, "JSON list of blocks"), ({"blocks": "7"}, "JSON list of blocks"),
        ({"precision": "int8"}, "ran in int8, not in fp32"),
        ({"iqr_s": -1e-9}, "iqr_s must be at least 0"), ({"iqr_s": float("nan")}, "iqr_s"), ({"p99_s": float("inf")}, "p99_s"),
        ({"runs": 0}, "runs must be at least 1"), ({"peak_memory_bytes": -1}, "peak_memory_bytes"), ({"date": "yesterday"}, "yesterday"),
        ({"ratio": float("inf")}, "ratio"), ({"ratio": 1e9}, "ratio must be"), ({"blocks": "x" * 200_000}, "no CSV: field larger"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    path = tmp_path / "rows.csv"
    first, second, third = rows()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
        writer.writeheader()
        writer.writerows([dataclasses.asdict(first), {**dataclasses.asdict(second), **changes}, dataclasses.asdict(third)])
    with pytest.raises(ProfileError, match=f"line 3: .*{words}"):
        read_rows(path, TARGET)
    told: list[str] = []
    assert read_rows(path, TARGET, told.append) == [first, third]
    assert len(told) == 1


def test_a_bad_row_keeps_its_line_number_behind_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    header, first, second, third = path.read_text().splitlines()
    path.write_text("\n".join([header, "", first, "", "", second.replace(",4,0.0", ",x,0.0"), third]))
    with pytest.raises(ProfileError, match=r"line 6: .*'x'"):
        read_rows(path)


def test_a_network_that_is_there_twice_is_named_and_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    path.write_text(path.read_text() + path.read_text().splitlines()[2] + "\n")
    with pytest.raises(ProfileError, match=r"line 5: network .* is in line 3 already"):
        read_rows(path)
    assert read_rows(path, on_bad=lambda text: None) == rows()


def test_a_row_is_added_beside_bad_ones_and_to_files_of_older_versions(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", 1)
    needed = [f.name for f in dataclasses.fields(Row) if f.default is dataclasses.MISSING]
    old = path.read_text().splitlines()[1]
    path.write_text(",".join(needed) + "\n" + old[: old.index(",board/onnxruntime")] + "\nhalf a row\n")
    append_row(path, rows()[1])
    assert "\nhalf a row\n" in path.read_text()
    first, second = read_rows(path, TARGET, lambda text: None)
    assert (first.target, first.rejected, first.clock_hz) == ("", 0, None)
    assert second == rows()[1]


def test_rows_of_another_target_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    with pytest.raises(ProfileError, match="line 2 was measured on board/onnxruntime/fp32/1, not on board/onnxruntime/fp32/4"):
        read_rows(path, dataclasses.replace(TARGET, threads=4), on_bad=lambda text: None)


def test_files_of_older_versions_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", 1)
    names = [f.name for f in dataclasses.fields(Row) if f.default is dataclasses.MISSING]
    lines = path.read_text().splitlines()
    cut = lines[1][: lines[1].index(",board/onnxruntime")]
    path.write_text(",".join(names) + "\n" + cut + "\n")
    (row,) = read_rows(path, TARGET)
    assert row.target == ""
    assert row.clock_hz is None
    assert row.specs() == networks(1)[0]


def test_labels_are_scaled_by_the_anchor_over_all_rows() -> None:
    first, second, third = rows()
    second = dataclasses.replace(second, anchor_s=4e-3)
    other = dataclasses.replace(third, anchor="other", anchor_s=1.0)
    np.testing.assert_allclose(labels_s([first, second, other]), [first.ratio * np.median([first.anchor_s, 4e-3])] * 2 + [other.ratio])
