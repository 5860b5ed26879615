from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from nas import plugins
from nas.errors import InputError, MeterError, UnknownNameError
from nas.hardware.meters import loading
from nas.hardware.meters.loading import AUTO, load_meter, meter_names, meter_status, open_meter
from nas.hardware.meters.replay import Replay


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


class Unplugged:
    """A plug-in whose device is not there: no MeterError, as its contract wants."""

    name, scope, is_automatic = "unplugged", "board", True

    def __init__(self, argument: str) -> None:
        del argument

    def self_test(self) -> None:
        raise OSError("no /dev/ttyUSB0")

    def close(self) -> None:
        """Nothing is open."""


def test_a_broken_plug_in_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = {"bad": "no_such_module:X", "unplugged": f"{__name__}:Unplugged"}
    monkeypatch.setattr(loading, "_known", lambda: broken)
    bad, unplugged = meter_status("bad"), meter_status("unplugged")
    assert (bad.works, unplugged.works) == (False, False)
    assert "no_such_module" in bad.why
    assert "OSError: no /dev/ttyUSB0" in unplugged.why
    with pytest.raises(MeterError, match=r"no energy meter works here: bad: .*no_such_module.*; unplugged: .*no /dev/ttyUSB0"):
        open_meter(AUTO)
    (tmp_path / "r.json").write_text(json.dumps({"scope": "board", "watts": [1.0]}))
    with monkeypatch.context() as patch:
        patch.setattr(Replay, "is_automatic", True)
        patch.setattr(loading, "_known", lambda: {**broken, "replay": "nas.hardware.meters.replay:Replay"})
        patch.setattr(loading, "meter_names", lambda: [*broken, f"replay:{tmp_path / 'r.json'}"])
        assert open_meter(AUTO).scope == "board"


def test_unknown_names_and_arguments_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean rapl"):
        load_meter("rappl")
    with pytest.raises(InputError, match="takes no argument"):
        load_meter("rapl:0")
    with pytest.raises(InputError, match="index of a GPU"):
        load_meter("nvml:first")
