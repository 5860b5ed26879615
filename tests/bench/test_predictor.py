from __future__ import annotations

from pathlib import Path

import pytest

from nas.bench import predictor
from nas.bench.fbnet import read_fbnet
from nas.bench.predictor import DEVELOPMENT, TASKS, run


def test_choices_were_made_on_devices_in_no_test_set(shared_data: Path) -> None:
    tested = {device for devices in TASKS.values() for device in devices}
    assert not tested & set(DEVELOPMENT)
    assert tested | set(DEVELOPMENT) == set(read_fbnet(shared_data / "fbnet_latency.parquet").latency_s)


def test_the_smoke_form_has_a_mark_for_each_line(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"the few-shot tasks must not load the profile of {name}")

    monkeypatch.setattr("nas.hardware.profile.load_profile", refuse)
    monkeypatch.setattr(predictor, "_held_out_stages", lambda data: [])  # loads the chip facts of one
    outcome = run(shared_data, smoke=True)
    assert [mark.id for mark in outcome.marks] == ["fbnet20", "fbnet10", "help10"]
    assert all(mark.value > 0.8 for mark in outcome.marks)  # one seed
    methods = [str(row["method"]) for row in outcome.rows if "method" in row]
    assert [name.split(",")[0].split(" (")[0] for name in methods[:3]] == ["HELP", "MultiPredict", "NASFLAT"]
    assert {"MACs line, 20 random", "one-hot ridge, 20 D-optimal", "ours, 10 D-optimal"} <= set(methods)


def test_stages_left_out(shared_data: Path) -> None:
    rows = predictor._held_out_stages(shared_data)
    assert sum(int(row["blocks"]) for row in rows if str(row.get("raspberrypi4, left out", "")).startswith("stage")) == 176
    whole = next(row for row in rows if row.get("raspberrypi4, left out") == "all stages in turn")
    assert float(whole["mape"]) < 0.15
    assert len([row for row in rows if "at 224 pixels" in row]) == 3
