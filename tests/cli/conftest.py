"""What the tests of the command line share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.config import check_config
from nas.files import write_atomic
from nas.metrics import Metric
from nas.report.front import CandidateRecord
from nas.report.record import write_front
from nas.search.artifacts import FILES
from tests.cards import FACTS, MODEL, described
from tests.command import Nas, nas_command
from tests.report.strategies import example_front

TESTED = {"accuracy_test": Metric(MODEL.checks[0].accuracy, "1", "trained")}


def _papers(each: CandidateRecord) -> dict[str, str]:
    """What a finalist's files that are read say."""
    facts = replace(FACTS, id=each.id, metrics={**FACTS.metrics, **TESTED})
    model = replace(MODEL, architecture=each.candidate.arch)
    return {FILES["architecture"]: json.dumps(described(model)), FILES["facts"]: json.dumps(facts.to_dict())}


def _files(name: str) -> dict[str, str]:
    return {kind: f"models/{name}/{file}" for kind, file in FILES.items()}


@pytest.fixture
def nas(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nas:
    """The command line, as wide as it likes."""
    monkeypatch.delenv("COLUMNS", raising=False)
    return nas_command(capsys)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with two studies: "cut" has no front yet, "digits-1" is done on two devices."""
    folder = tmp_path_factory.mktemp("a b ü") / "runs"
    for name, devices in (("cut", ("raspberrypi4",)), ("digits-1", ("raspberrypi4", "pixel3"))):
        config = check_config({"study": name, "devices": devices, "space": "mobilenet_tiny", "data": "digits"})
        text = f'{{"schema": 1, "config": {config.model_dump_json()}, "data": {{"fingerprint": "0123456789ab"}}}}'
        write_atomic(folder / name / "config.json", text)
    for number, device in enumerate(("raspberrypi4", "pixel3")):
        front = example_front(device=device)
        candidates = [replace(each, artifacts=_files(each.id)) if each.finalist else each for each in front.candidates]
        write_front(folder / front.study, replace(front, candidates=tuple(candidates)), first=number == 0)
        for each in front.finalists:
            for path in map(Path, _files(each.id).values()):
                write_atomic(folder / front.study / path, _papers(each).get(path.name, f"{path.name} of {each.id}"))
    return folder
