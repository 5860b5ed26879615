"""The files of a study on a real disk: atomic, readable, found again."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from nas.architecture import Architecture
from nas.errors import StudyError, UnknownNameError
from nas.files import write_atomic
from nas.metrics import Candidate
from nas.report import record as module
from nas.report.record import (
    EvaluatedRecord,
    EventLog,
    flat_row,
    list_studies,
    read_front,
    read_fronts,
    study_folder,
    write_candidates,
    write_front,
)

from .strategies import example_candidate, example_front


def test_fronts_of_two_devices(tmp_path: Path) -> None:
    first, second = example_front(), example_front(5, 3, device="pixel3")
    written = write_front(tmp_path, first)
    assert [path.name for path in written] == ["raspberrypi4.json", "front.json", "front.csv"]
    assert [path.name for path in write_front(tmp_path, second, first=False)] == ["pixel3.json"]
    assert read_front(tmp_path) == read_front(tmp_path, "raspberrypi4") == first
    assert read_front(tmp_path, "pixel3") == second
    assert read_fronts(tmp_path) == (first, second)
    with pytest.raises(UnknownNameError, match="did you mean pixel3"):
        read_front(tmp_path, "pixel4")


def test_front_csv_has_the_front_first_in_si_units(tmp_path: Path) -> None:
    write_front(tmp_path, example_front())
    with (tmp_path / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 52
    assert [row["on_front"] for row in rows[:13]] == ["True"] * 12 + ["False"]
    assert float(rows[0]["latency_s"]) == pytest.approx(0.0021)
    assert rows[0]["latency_s_source"] == "predicted"
    assert rows[0]["gene_depth"] == "6"


def test_every_figure_says_what_it_is_of(tmp_path: Path) -> None:
    """Also an accuracy: in int8 it may be modelled, though its source is the supernet."""
    candidate = example_candidate(0, 1).candidate
    twin = replace(candidate.metrics["accuracy_search"], scope="int8, drop modelled from 24 quantised networks")
    row = flat_row(replace(candidate, metrics={**candidate.metrics, "accuracy_search": twin}))
    assert (row["accuracy_search_scope"], row["latency_s_scope"], row["energy_j_scope"]) == (twin.scope, None, "board")
    assert row.keys() == flat_row(candidate).keys()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "nas studies rebuild"),
        ("[]", "must be an object, got list: nas studies rebuild"),
        ('{"schema": 7}', "newer hwnas"),
        ('{"schema": NaN}', "NaN"),
        ("\x00", "front.json"),
    ],
)
def test_a_broken_front_is_a_study_error(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "front.json").write_text(text)
    with pytest.raises(StudyError, match=re.escape(says)):
        read_front(tmp_path)


def test_no_front_yet(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no front yet"):
        read_front(tmp_path)
    with pytest.raises(StudyError, match="no front yet"):
        read_front(tmp_path, "raspberrypi4")


def test_candidates_parquet(tmp_path: Path) -> None:
    some = [EvaluatedRecord(example_candidate(index, 4).candidate, 0.5) for index in range(9)]
    mixed = some[0].candidate
    other = Candidate(Architecture("mobilenet_tiny", (("depth", "deep"), ("extra", 1))), mixed.target, {})
    path = write_candidates(tmp_path, [*some, EvaluatedRecord(other)])
    table = pd.read_parquet(path)
    assert table.attrs == {"schema": 1}
    assert len(table) == 10
    assert list(table["id"][:9]) == [each.candidate.id for each in some]
    assert table["accuracy_search"][3] == some[3].candidate.metrics["accuracy_search"].value
    assert table["latency_s_source"][0] == "predicted"
    assert list(table["gene_depth"])[-2:] == ["6", "deep"]
    assert table["seconds"].isna().sum() == 1
    assert len(pd.read_parquet(write_candidates(tmp_path / "empty", []))) == 0


def test_event_log_survives_a_line_cut_short(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "study" / "log.jsonl")
    assert log.read() == []
    log.append("started", {"trials": 3})
    with log.path.open("a") as file:
        file.write('{"time": "2026-01-0')
    log.append("resumed")
    events = log.read()
    assert [event["kind"] for event in events] == ["started", "resumed"]
    assert events[0]["trials"] == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", events[0]["time"])


def test_event_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("")
    with pytest.raises(StudyError, match="cannot write"):
        EventLog(tmp_path / "study" / "log.jsonl").append("started")


def test_studies_newest_first_and_by_name(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(StudyError, match="no study in"):
        study_folder(runs)
    for age, name in enumerate(("new", "digits-2", "digits-1")):
        write_atomic(runs / name / "config.json", json.dumps({}))
        os.utime(runs / name / "config.json", (1e9 - age, 1e9 - age))
    (runs / "mlflow").mkdir()
    assert [folder.name for folder in list_studies(runs)] == ["new", "digits-2", "digits-1"]
    assert study_folder(runs).name == "new"
    assert study_folder(runs, "digits-1") == runs / "digits-1"
    with pytest.raises(UnknownNameError, match="did you mean digits-"):
        study_folder(runs, "digit-1")


def test_public_names_are_sorted() -> None:
    assert module.__all__ == sorted(module.__all__)
