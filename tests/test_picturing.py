"""What is gathered for the pictures of a study: from its own predictors, networks and measurements."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nas.config import SearchConfig
from nas.hardware.rows import rows_path
from nas.metrics import Constraint
from nas.picturing import study_facts
from nas.preparation import Prepared, prepare
from nas.recording import front_record, select
from nas.report.pictures import DRAWING, write_pictures
from nas.resources import data_root
from nas.search.finalists import Finalist
from nas.target import Target
from tests.cli.test_predictor import make_rows, write
from tests.evaluated import evaluated


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


def test_facts_of_two_devices(prepared: Prepared, tmp_path: Path) -> None:
    done = evaluated(prepared)
    fronts = []
    for device, found in zip(prepared.devices, done, strict=True):
        selection = select(prepared, found)
        made = {selection.front[0].id: Finalist(selection.front[0], {"onnx": "models/x/model.onnx"}, "a note")}
        fronts.append(front_record(prepared, device, found, selection, made, {}, {"trials": 20.0, "seconds": 3.0}))
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
        done = evaluated(prepared)
        selections = [select(prepared, found) for found in done]
        three = zip(prepared.devices, done, selections, strict=True)
        fronts = [front_record(prepared, device, found, selection, {}, {}, {}) for device, found, selection in three]
        assert study_facts(prepared, fronts, done, []).predictors["board"].evaluation is None
    finally:
        path.write_bytes(kept)


def test_the_curve_is_that_of_the_front(tmp_path: Path) -> None:
    """Of what keeps to a bound, on all targets, in all of the front's objectives."""
    bound = Constraint("accuracy_search", 0.65, "min")
    config = SearchConfig(
        study="s", devices=("raspberrypi4",), space="mobilenet_tiny", data="digits", threads=(1, 4), constraints=(bound,),
        energy_axis="targets",
    )  # fmt: skip
    prepared = prepare(config, tmp_path / "runs", lambda event: None, lambda: False)
    assert len(prepared.front_objectives) == 3
    (device,), (done,) = prepared.devices, evaluated(prepared)
    front = front_record(prepared, device, done, select(prepared, done), {}, {}, {})
    (curve,) = study_facts(prepared, [front], [done], []).progress.values()
    networks = len(done) // 2
    assert [number for number, _ in curve] == list(range(1, networks + 1))
    volumes = [volume for _, volume in curve]
    assert volumes == sorted(volumes)
    assert volumes[-1] == pytest.approx(front.hypervolume)
    outside = [row for row, each in enumerate(done[:networks]) if not each.candidate.meets((bound,))]
    assert outside
    assert all(volumes[row] == [0.0, *volumes][row] for row in outside)  # what breaks a bound adds nothing
