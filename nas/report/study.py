"""A study as its files tell it: configuration and state. Light: nothing of torch, Optuna or MLflow."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.config import SearchConfig, check_config
from nas.errors import StudyError
from nas.files import is_locked
from nas.report.course import course_of
from nas.report.front import STOPPED, FrontRecord
from nas.report.record import list_studies, read_front, study_folder

__all__ = ["LOCK", "devices_of", "folder_to_resume", "is_driven", "load_config", "load_data_record", "load_facts", "study_id", "summarise"]

SCHEMA = 1
"""Version of config.json."""
LOCK = ".lock"
"""File of a study's folder: whoever holds it is the study's one driver."""


def load_config(folder: Path) -> tuple[SearchConfig, str]:
    """The configuration of a study and the fingerprint of its data.

    Raises:
        StudyError: config.json cannot be read, or is of a newer version; or the folder was renamed.
    """
    path = folder / "config.json"
    facts = load_facts(folder)
    try:
        config, fingerprint = check_config(facts["config"]), str(facts["data"]["fingerprint"])
    except KeyError as exc:
        raise StudyError(f"{path}: {exc} is missing") from exc
    except (ValueError, TypeError) as exc:  # InputError is a ValueError
        raise StudyError(f"{path}: {exc}") from exc
    if config.study != folder.name:
        raise StudyError(f"{folder} holds study {config.study!r}, by which its storage and MLflow know it: give the folder that name again")
    return config, fingerprint


def load_data_record(folder: Path) -> dict[str, Any]:
    """What a study said of its images when it began, `nas.training.data.ImageData.to_dict`.

    Raises:
        StudyError: as `load_config`.
    """
    found: dict[str, Any] = load_facts(folder)["data"]
    return found


def load_facts(folder: Path) -> dict[str, Any]:
    """All that config.json holds: "id", "config", "data", "targets", "versions".

    Raises:
        StudyError: as `load_config`.
    """
    path = folder / "config.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise StudyError(f"{path}: cannot be read: {exc}") from exc
    schema = facts.get("schema") if isinstance(facts, dict) else None
    if schema != SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        advice = "written by a newer hwnas: upgrade this one" if newer else "it was edited or is damaged"
        raise StudyError(f"{path}: schema {schema!r} cannot be read, this version reads {SCHEMA} ({advice})")
    return dict(facts)


def study_id(folder: Path) -> str:
    """What tells a study from others of its name, in MLflow too; empty where an earlier version began it.

    Raises:
        StudyError: as `load_config`.
    """
    return str(load_facts(folder).get("id", ""))


def devices_of(folder: Path) -> frozenset[str]:
    """What the studies of its devices are named by in a storage, which may hold other searches of that name.

    Raises:
        StudyError: as `load_config`.
    """
    try:
        return frozenset(str(target["device"]) for target in load_facts(folder)["targets"])
    except (KeyError, TypeError) as exc:
        raise StudyError(f"{folder / 'config.json'}: its targets cannot be read: {exc}") from exc


def is_driven(folder: Path) -> bool:
    """Whether a process searches a study now, or derives or sends its files. It is only looked at."""
    return is_locked(folder / LOCK)


def folder_to_resume(runs: Path) -> Path:
    """The newest study that is unfinished; the newest of all where there is none.

    Raises:
        StudyError: there is no study at all.
    """
    unfinished = (folder for folder in list_studies(runs) if summarise(folder)["state"] == "unfinished")
    return next(unfinished, None) or study_folder(runs)


def summarise(folder: Path) -> dict[str, str | int]:
    """Name, devices, space, data, trials, members of the front and state of a study; a broken one says so in its state.

    It is "done" where its last run ended well, "searching" while one goes on, else "unfinished": its trials are those that it is to have.
    """
    try:
        config, _ = load_config(folder)
    except StudyError:
        return {"study": folder.name, "devices": "?", "space": "?", "data": "?", "trials": 0, "front": 0, "state": "config.json broken"}
    known = {"study": folder.name, "devices": ", ".join(config.devices), "space": config.space, "data": config.data}
    is_held = is_driven(folder)  # asked first: a search that ends before its log is read has said so there
    course = course_of(folder)
    front: FrontRecord | None = None
    with suppress(StudyError):
        front = read_front(folder)
    if is_held and (course.is_open or front is None):
        state = "searching"
    else:
        is_done = front is not None and STOPPED not in front.search and course.ending == "FINISHED"
        state = "done" if is_done else "unfinished"
    trials = front.evaluated if front is not None and state == "done" else config.trials
    return {**known, "trials": trials, "front": 0 if front is None else len(front.front), "state": state}
