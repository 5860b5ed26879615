from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from nas import diagnosis
from nas.diagnosis import _meters, _runtimes, _storage, _tracking, checks
from nas.hardware.meters import loading
from nas.hardware.meters.loading import MeterStatus, meter_names
from nas.report.tracking import local_store


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


def test_a_plug_in_that_does_not_load_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_known", lambda: {"bad": "no_such_module:X"})
    bad = _meters()[0]
    assert (bad.name, bad.ok) == ("energy: bad", False)
    assert "No module named 'no_such_module'" in bad.text


def test_the_folder_of_the_studies_is_looked_at(tmp_path: Path) -> None:
    assert _storage(tmp_path / "not" / "yet").ok
    (tmp_path / "file").touch()
    found = _storage(tmp_path / "file" / "runs")
    assert (found.ok, found.text) == (False, f"{tmp_path / 'file'} cannot be written to: use --runs with another folder")


def test_runtimes_storage_and_tracking_are_among_what_is_looked_at(tmp_path: Path) -> None:
    found = [check.name for check in checks(tmp_path)]
    assert {"onnxruntime", "openvino", "storage", "tracking"} <= set(found)
    assert len(set(found)) == len(found)


def test_every_runtime_says_its_version_and_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {check.name: check for check in _runtimes()}["onnxruntime"]
    assert found.ok
    assert found.text.startswith(f"{version('onnxruntime')}, fp32 and int8, providers ")
    assert "CPUExecutionProvider" in found.text
    monkeypatch.setitem(sys.modules, "openvino", None)
    found = {check.name: check for check in _runtimes()}["openvino"]
    assert (found.ok, found.text) == (False, "openvino is not installed here: python3 -m pip install openvino")


def test_tracking_says_where_the_store_is_or_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(diagnosis, "version", lambda name: f"of {name}")
    found = _tracking(tmp_path)
    assert (found.ok, found.text) == (True, f"MLflow of mlflow, local store in {tmp_path / 'mlflow'}")
    assert Path(local_store(tmp_path).removeprefix("sqlite:///")).parent == (tmp_path / "mlflow").resolve()
    monkeypatch.setattr(diagnosis, "version", absent)
    found = _tracking(tmp_path)
    assert (found.ok, found.text) == (False, 'mlflow missing: pip install "hwnas[search]"')
