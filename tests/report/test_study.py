"""The state of a study, as its files and its lock tell it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import StudyError
from nas.files import locked
from nas.report.course import BEGIN, END, LOG
from nas.report.front import STOPPED
from nas.report.record import EventLog, read_front, write_front
from nas.report.study import LOCK, folder_to_resume, is_driven, summarise

from .strategies import example_front
from .studies import write_study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished study, in which 7 networks were evaluated of the 9 that are asked for by now."""
    front = example_front(2, 5, study="s")
    return write_study(tmp_path, [replace(front, candidates=tuple(replace(each, finalist=False) for each in front.candidates))], trials=9)


def test_a_study_is_done_when_its_last_run_is(folder: Path) -> None:
    log = EventLog(folder / LOG)
    assert (summarise(folder)["state"], summarise(folder)["trials"], summarise(folder)["front"]) == ("done", 7, 2)
    log.append(BEGIN)  # resumed with more trials
    with locked(folder / LOCK, "taken"):
        assert summarise(folder)["state"] == "searching"
    assert (summarise(folder)["state"], summarise(folder)["trials"]) == ("unfinished", 9)  # killed
    log.append(END, {"status": "KILLED"})
    assert summarise(folder)["state"] == "unfinished"
    log.append(BEGIN)
    log.append(END, {"status": "FINISHED"})
    assert summarise(folder)["state"] == "done"
    with locked(folder / LOCK, "taken"):
        assert summarise(folder)["state"] == "done"  # it is only sent
    front = read_front(folder)
    write_front(folder, replace(front, search={**front.search, STOPPED: "while finalists were made"}))
    assert summarise(folder)["state"] == "unfinished"


def test_a_first_search_is_one_while_it_is_driven(folder: Path) -> None:
    for path in (folder / "front.json", folder / "fronts" / "raspberrypi4.json", folder / LOG):
        path.unlink()
    with locked(folder / LOCK, "taken"):
        assert summarise(folder)["state"] == "searching"
        EventLog(folder / LOG).append(BEGIN)
        assert summarise(folder)["state"] == "searching"
    assert (summarise(folder)["state"], summarise(folder)["trials"], summarise(folder)["front"]) == ("unfinished", 9, 0)


def test_who_asks_for_a_driver_is_none(folder: Path) -> None:
    assert not is_driven(folder)
    assert not (folder / LOCK).exists()
    with locked(folder / LOCK, "taken"):
        (folder / LOCK).write_text("process 1 on another")
        assert is_driven(folder)
    assert not is_driven(folder)
    assert (folder / LOCK).read_text() == "process 1 on another"


def test_what_a_resume_without_a_name_goes_on_with(tmp_path: Path) -> None:
    """The newest unfinished study, though a newer one is done, or is being searched by somebody."""
    with pytest.raises(StudyError, match="no study in"):
        folder_to_resume(tmp_path)
    folders = {name: write_study(tmp_path, [example_front(2, 0, study=name)]) for name in ("older", "cut", "driven", "done")}
    for age, folder in enumerate(reversed(folders.values())):
        os.utime(folder / "config.json", (1e9 - age, 1e9 - age))
    assert folder_to_resume(tmp_path).name == "done"
    for name in ("older", "cut", "driven"):
        EventLog(folders[name] / LOG).append(BEGIN)
    with locked(folders["driven"] / LOCK, "taken"):
        assert folder_to_resume(tmp_path).name == "cut"
    assert folder_to_resume(tmp_path).name == "driven"
