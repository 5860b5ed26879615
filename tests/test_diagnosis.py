from __future__ import annotations

from pathlib import Path

import pytest

from nas.diagnosis import _meters, _storage
from nas.hardware.meters import loading
from nas.hardware.meters.loading import MeterStatus, meter_names


def test_every_meter_is_listed_with_what_it_covers_or_why_it_does_not_work() -> None:
    found = {check.name: check for check in _meters()}
    assert {f"energy: {name}" for name in meter_names()} <= set(found)
    assert all(check.text for check in found.values())
    assert not found["energy: csv"].ok
    assert "csv:FILE" in found["energy: csv"].text


def test_one_that_works_says_how_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "meter_names", lambda: ["rapl", "nvml"])
    monkeypatch.setattr(loading, "meter_status", lambda name: MeterStatus(name, "package", True, "", name == "rapl"))
    assert [check.text for check in _meters()] == ["package, used by nas measure", "package, nas measure --energy nvml"]
    monkeypatch.setattr(loading, "meter_status", lambda name: MeterStatus(name, "package", False, "sudo chmod a+r it", True))
    last = _meters()[-1]
    assert not last.ok
    assert "modelled" in last.text


def test_the_folder_of_the_studies_is_looked_at(tmp_path: Path) -> None:
    assert _storage(tmp_path / "not" / "yet").ok
    (tmp_path / "file").touch()
    found = _storage(tmp_path / "file" / "runs")
    assert (found.ok, found.text) == (False, f"{tmp_path / 'file'} cannot be written to: use --runs with another folder")
