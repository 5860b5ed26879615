"""A study as its files tell it: configuration and state. Light: nothing of torch, Optuna or MLflow."""

from __future__ import annotations

import json
from pathlib import Path

from nas.config import SearchConfig
from nas.errors import StudyError
from nas.report.record import read_front

__all__ = ["load_config", "summarise"]


def load_config(folder: Path) -> tuple[SearchConfig, str]:
    """The configuration of a study and the fingerprint of its data.

    Raises:
        StudyError: config.json cannot be read, or is of a newer version.
    """
    path = folder / "config.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["schema"] > 1:
            raise StudyError(f"{path}: written by a newer hwnas (schema {facts['schema']}): upgrade this one")
        return SearchConfig.model_validate_json(json.dumps(facts["config"])), str(facts["data"]["fingerprint"])
    except StudyError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise StudyError(f"{path}: cannot be read: {str(exc).splitlines()[0]}") from exc


def summarise(folder: Path) -> dict[str, str | int]:
    """Name, devices, space, data, trials, members of the front and state of a study; a broken one says so in its state."""
    try:
        config, _ = load_config(folder)
    except StudyError:
        return {"study": folder.name, "devices": "?", "space": "?", "data": "?", "trials": 0, "front": 0, "state": "config.json is broken"}
    known = {"study": folder.name, "devices": ", ".join(config.devices), "space": config.space, "data": config.data}
    try:
        front = read_front(folder)
    except StudyError:
        return {**known, "trials": config.trials, "front": 0, "state": "unfinished: nas search --resume " + folder.name}
    return {**known, "trials": int(front.search.get("trials", config.trials)), "front": len(front.front), "state": "done"}
