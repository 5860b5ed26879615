"""nas predictor on a profile with made-up measurements."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nas.cli import main
from nas.config import MeasureProtocol
from nas.hardware.features import network_features
from nas.hardware.roofline import CoreFacts, roofline
from nas.hardware.rows import Row, network_hash, rows_path
from nas.resources import data_root
from nas.space import load_space
from nas.target import Target

KEY = "board/onnxruntime/fp32/1"


def make_rows(n: int) -> list[Row]:
    """Networks of a device a tenth as fast as a roofline."""
    space = load_space("mobilenet_tiny")
    rows = []
    for arch in dict.fromkeys(space.decode_rows(space.sample_rows(3 * n, 0))):
        blocks = space.decode(arch)
        seconds = 10 * float(network_features(blocks) @ roofline(CoreFacts(1.5e9, 4.0, 4.6e9)).coefficients)
        rows.append(
            Row(
                network_hash(blocks), seconds / 0.01, "anchor", 0.01, seconds, 0.0, seconds, seconds, 9, "1 1 1", "", "1.30",
                "2026-01-01T00:00:00", json.dumps([block.to_dict() for block in blocks]), KEY,
            )
        )  # fmt: skip
    return rows[:n]


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


@pytest.fixture
def measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The summary of a board with 20 measured networks, in ./hw_profiles."""
    raw = yaml.safe_load((data_root("hw_profiles") / "pixel3" / "profile.yaml").read_text(encoding="utf-8"))
    folder = tmp_path / "hw_profiles" / "board"
    folder.mkdir(parents=True)
    (folder / "profile.yaml").write_text(yaml.safe_dump({**raw, "name": "board", "aliases": [], "predictors": []}))
    monkeypatch.chdir(tmp_path)
    path = rows_path(folder, Target("board", "onnxruntime", "1.30", "fp32", 1))
    write(path, make_rows(20))
    return path


def nas(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return int(exit_.value.code or 0)


def test_evaluate_prints_what_was_promised(measurements: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert nas("predictor", "evaluate", "--device", "board", "--plot", "p.png") == 0
    shown = capsys.readouterr().out
    for words in ("20 networks", "mean absolute error", "±5 %", "±10 %", "Spearman", "Kendall", "90 % band", "half-width"):
        assert words in shown
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert nas("predictor", "evaluate", "--device", "board", "--json") == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert data["networks"] == 20
    assert data["target"]["runtime_version"] == "1.30"
    assert data["held_out"]["mape"] < 0.03
    assert data["held_out"]["within_10_percent"] == 1


def test_equal_latencies_rank_nothing_and_that_is_said(measurements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(measurements, [dataclasses.replace(row, ratio=1.0, median_s=0.01) for row in make_rows(20)])
    assert nas("predictor", "evaluate", "--device", "board", "--json") == 0
    held_out = json.loads(capsys.readouterr().out)["held_out"]
    assert held_out["spearman"] is held_out["kendall"] is None
    assert held_out["mape"] >= 0
    assert nas("predictor", "evaluate", "--device", "board") == 0
    assert capsys.readouterr().out.count("not defined: all latencies are equal") == 2


def test_fit_writes_and_show_shows(measurements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nas("predictor", "fit", "--device", "board") == 0
    assert "fitted     20 networks" in capsys.readouterr().out
    assert (measurements.parents[1] / "predictor-onnxruntime-fp32-1t.json").is_file()
    assert nas("predictor", "show", "--device", "board") == 0
    shown = capsys.readouterr().out
    assert "20 networks measured here" in shown
    assert "macs_pointwise" in shown
    assert "in no measured network" in shown
    # A second fit is not pulled toward the first one.
    before = (measurements.parents[1] / "predictor-onnxruntime-fp32-1t.json").read_text()
    assert nas("predictor", "fit", "--device", "board", "--json") == 0
    assert json.loads(capsys.readouterr().out)["measurements"] == 20
    assert (measurements.parents[1] / "predictor-onnxruntime-fp32-1t.json").read_text() == before


def test_a_bad_row_is_named_and_left_out_only_when_asked(measurements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = make_rows(20)
    write(measurements, [*rows[:4], dataclasses.replace(rows[4], ratio=-1.0), *rows[5:]])
    assert nas("predictor", "evaluate", "--device", "board") == 2
    assert "line 6" in capsys.readouterr().err
    assert nas("predictor", "evaluate", "--device", "board", "--skip-bad") == 0
    captured = capsys.readouterr()
    assert "line 6" in captured.err
    assert "19 networks" in captured.out


def test_rows_of_another_target_are_refused(measurements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = make_rows(20)
    write(measurements, [*rows[:9], dataclasses.replace(rows[9], target="other/onnxruntime/fp32/1")])
    for skip in ((), ("--skip-bad",)):
        assert nas("predictor", "fit", "--device", "board", *skip) == 2
        assert "other/onnxruntime/fp32/1" in capsys.readouterr().err


def test_other_versions_of_the_runtime_are_left_out(measurements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = make_rows(20)
    write(measurements, [dataclasses.replace(row, runtime_version="1.29", date="2025-01-01") for row in rows[:5]] + rows[5:])
    assert nas("predictor", "fit", "--device", "board") == 0
    captured = capsys.readouterr()
    assert "15 networks" in captured.out
    assert "5 rows of other versions" in captured.err


@pytest.mark.parametrize(("n", "words"), [(0, "nothing was measured.*nas measure"), (3, "at least 4"), (4, "at least 5")])
def test_too_few_say_how_many(measurements: Path, capsys: pytest.CaptureFixture[str], n: int, words: str) -> None:
    write(measurements, make_rows(20)[:n])
    if n != 4:
        assert nas("predictor", "fit", "--device", "board") == 2
    else:
        assert nas("predictor", "evaluate", "--device", "board") == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert pytest.importorskip("re").search(words, shown)


def test_int8_is_measured_evaluated_fitted_and_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    quick = MeasureProtocol(windows=3, window_s=0.002, min_runs=3, warmup_runs=1, max_warmup_s=0.02, max_drift=1e3)
    monkeypatch.setattr("nas.config.MeasureProtocol", lambda: quick)
    target = ("--device", "host", "--precision", "int8")
    assert nas("measure", *target, "--space", "mobilenet_tiny", "-n", "5", "--json") == 0
    path = Path(json.loads(capsys.readouterr().out)["predictor"])
    before = path.read_text()
    path.unlink()  # the rows are what counts
    assert nas("predictor", "evaluate", *target) == 0
    assert "5 networks" in capsys.readouterr().out
    assert nas("predictor", "fit", *target) == 0
    # Pulled toward the same as when it was measured.
    assert path.read_text() == before
    capsys.readouterr()
    assert nas("predict", "mobilenet_v2", *target, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"]["precision"] == "int8"
    assert (found["metrics"]["latency_s"]["source"], found["metrics"]["macs"]["source"]) == ("predicted", "counted")


def test_a_runtime_that_nobody_knows_is_named(measurements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("fit", "evaluate"):
        assert nas("predictor", command, "--device", "board", "--runtime", "onnxruntme") == 2
        assert "did you mean onnxruntime" in capsys.readouterr().err


def test_unknown_operators_are_named_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(np.ones((8, 3, 3, 3), dtype=np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["c"]), onnx.helper.make_node("Fancy", ["c"], ["y"], name="f", domain="my.ops")],
        "g", [onnx.helper.make_tensor_value_info("x", 1, ["batch", 3, 8, 8])], [onnx.helper.make_tensor_value_info("y", 1, None)],
        [weights],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    arguments = ("predict", str(tmp_path / "m.onnx"), "--device", "raspberrypi4", "--json")
    assert nas(*arguments) == 2
    assert "my.ops.Fancy (f)" in capsys.readouterr().err
    assert nas(*arguments, "--allow-unknown") == 0
    captured = capsys.readouterr()
    assert not captured.err
    told = json.loads(captured.out)
    assert told["unknown"] == ["my.ops.Fancy (f)"]
    assert told["at_least"] == ["macs", "params", "size_bytes", "peak_memory_bytes"]
    assert any(note.startswith("no cost is known for my.ops.Fancy (f)") for note in told["notes"])
    assert (told["in_range"], "is_measured" in told) == (False, False)
