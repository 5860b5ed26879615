from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from nas import plugins
from nas.errors import InputError, MeterError, UnknownNameError
from nas.hardware.meters import loading
from nas.hardware.meters.loading import AUTO, load_meter, meter_names, meter_status, open_meter


def test_every_meter_is_an_entry_point_and_can_be_made() -> None:
    assert set(plugins.names("meters")) == set(meter_names())
    assert {point.value for point in entry_points(group="nas.meters")} == set(loading._known().values())
    for name in meter_names():
        assert load_meter(name).name == name


def test_one_that_does_not_work_says_why() -> None:
    status = meter_status("csv")
    assert not status.works
    assert "csv:FILE" in status.why
    with pytest.raises(MeterError, match="csv:FILE"):
        open_meter("csv")


def test_one_with_an_argument_works(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"scope": "board", "watts": [1.0]}))
    assert meter_status(f"replay:{tmp_path / 'r.json'}").works
    assert open_meter(f"replay:{tmp_path / 'r.json'}").scope == "board"


def test_auto_takes_the_first_that_works_and_sees_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"scope": "board", "watts": [1.0]}))
    monkeypatch.setattr(loading, "meter_names", lambda: [f"replay:{tmp_path / 'r.json'}", "csv", "pmic"])
    with pytest.raises(MeterError, match=r"no energy meter works here: pmic: vcgencmd"):
        open_meter(AUTO)


def test_unknown_names_and_arguments_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean rapl"):
        load_meter("rappl")
    with pytest.raises(InputError, match="takes no argument"):
        load_meter("rapl:0")
    with pytest.raises(InputError, match="index of a GPU"):
        load_meter("nvml:first")
