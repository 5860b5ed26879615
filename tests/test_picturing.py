"""What is gathered for the pictures of a study: from its own predictors, networks and measurements."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nas.config import SearchConfig
from nas.hardware.rows import rows_path
from nas.metrics import Candidate, Metric
from nas.picturing import study_facts
from nas.preparation import Prepared, prepare
from nas.recording import front_record, select
from nas.report.pictures import DRAWING, write_pictures
from nas.resources import data_root
from nas.search.finalists import Finalist
from nas.search.storage import Evaluated
from nas.target import Target
from tests.cli.test_predictor import make_rows, write


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A search for a board with 20 measured networks and for one that ships."""
    home = tmp_path_factory.mktemp("home")
    raw = yaml.safe_load((data_root("hw_profiles") / "pixel3" / "profile.yaml").read_text(encoding="utf-8"))
    folder = home / "hw_profiles" / "board"
    folder.mkdir(parents=True)
    (folder / "profile.yaml").write_text(yaml.safe_dump({**raw, "name": "board", "aliases": [], "predictors": []}), encoding="utf-8")
    write(rows_path(folder, Target("board", "onnxruntime", "1.30", "fp32", 1)), make_rows(20))
    config = SearchConfig(study="s", devices=("board", "pixel3"), space="mobilenet_tiny", data="digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        return prepare(config, home / "runs", lambda event: None, lambda: False)


def _done(prepared: Prepared) -> list[list[Evaluated]]:
    """Twenty networks on each device, the larger the more accurate."""
    archs = list(dict.fromkeys(prepared.space.decode_rows(prepared.space.sample_rows(20, 1))))
    found = []
    for device in prepared.devices:
        known = [(arch, device.scorer.metrics(arch)) for arch in archs]
        largest = max(metrics["macs"].value for _, metrics in known)
        accuracies = [Metric(0.5 + 0.4 * metrics["macs"].value / largest, "1", "supernet", std=0.01) for _, metrics in known]
        pairs = zip(known, accuracies, strict=True)
        found.append([Evaluated(Candidate(a, device.target, {**m, "accuracy_search": accuracy}), 0.1) for (a, m), accuracy in pairs])
    return found


def test_facts_of_two_devices(prepared: Prepared, tmp_path: Path) -> None:
    done = _done(prepared)
    fronts = []
    for device, evaluated in zip(prepared.devices, done, strict=True):
        selection = select(prepared, evaluated)
        made = {selection.front[0].id: Finalist(selection.front[0], {"onnx": "models/x/model.onnx"}, "a note")}
        fronts.append(front_record(prepared, device, evaluated, selection, made, {}, {"trials": 20.0, "seconds": 3.0}))
    facts = study_facts(prepared, fronts, done, [])
    for front, device in zip(fronts, prepared.devices, strict=True):
        (finalist,) = front.finalists
        assert facts.blocks[finalist.id] == prepared.space.decode(finalist.candidate.arch)
        assert finalist.artifacts[DRAWING] == f"models/{finalist.id}/architecture.svg"
        volumes = [volume for _, volume in facts.progress[front.device]]
        assert volumes == sorted(volumes)
        assert volumes[-1] == pytest.approx(front.hypervolume)
        assert facts.predictors[front.device].unknown == device.profile.unknown
    board, pixel = facts.predictors["board"], facts.predictors["pixel3"]
    assert board.evaluation is not None
    assert len(board.evaluation.measured_s) == 20
    assert (pixel.evaluation, pixel.measurements, round(pixel.band, 3)) == (None, 177, 1.158)
    names = {path.name for path in write_pictures(tmp_path, facts)}
    assert {"predictor_board.png", "architecture.svg", "report.html"} <= names
    assert "predictor_pixel3.png" not in names


def test_measurements_that_cannot_be_read_cost_a_picture_only(prepared: Prepared) -> None:
    board = prepared.devices[0]
    path = rows_path(board.profile.folder, board.target)
    kept = path.read_bytes()
    try:
        path.write_text("not,a,summary\n1,2,3\n", encoding="utf-8")
        done = _done(prepared)
        selections = [select(prepared, evaluated) for device, evaluated in zip(prepared.devices, done, strict=True)]
        three = zip(prepared.devices, done, selections, strict=True)
        fronts = [front_record(prepared, device, evaluated, selection, {}, {}, {}) for device, evaluated, selection in three]
        assert study_facts(prepared, fronts, done, []).predictors["board"].evaluation is None
    finally:
        path.write_bytes(kept)
