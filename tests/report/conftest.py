"""A real SQLite MLflow store, made once for all tests: its tables take two seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.report.pictures import write_pictures
from nas.report.tracking import Connection, StudyMirror

from .examples import example_facts
from .strategies import example_front
from .studies import write_study


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with the finished study "digits-1", in its files and in MLflow."""
    folder = tmp_path_factory.mktemp("report") / "runs"
    front = example_front()
    study = write_study(folder, [front])
    write_pictures(study, example_facts(front))
    StudyMirror(study, Connection(folder)).send()
    return folder
