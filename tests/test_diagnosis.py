from __future__ import annotations

import pytest

from nas.diagnosis import _meters
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
