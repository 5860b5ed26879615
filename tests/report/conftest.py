"""A real SQLite MLflow store, made once for all tests: its tables take two seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.files import write_atomic
from nas.report.pictures import write_pictures
from nas.report.record import write_front
from nas.report.tracking import Tracker

from .examples import example_facts
from .strategies import example_front


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with the finished study "digits-1", in its files and in MLflow."""
    folder = tmp_path_factory.mktemp("report") / "runs"
    front = example_front()
    study = folder / front.study
    write_atomic(study / "config.json", "{}")
    write_front(study, front)
    write_pictures(study, example_facts(front))
    for each in front.finalists:
        write_atomic(study / each.artifacts["onnx"], b"a model")
    tracker = Tracker(folder)
    tracker.start(front.study, front.space, front.data, {"trials": 52, "recipe": {"lr": 0.2}}, {"version": "0.1.0"})
    for trial in range(5):
        tracker.log_progress(trial, 0.002 * trial, 0.9 + 0.01 * trial)
    tracker.log_front(front, study)
    tracker.finish("FINISHED")
    return folder
