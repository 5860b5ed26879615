from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psutil
import pytest

from nas.hardware.chip import told_facts
from nas.hardware.host import detect_host
from nas.hardware.profile import RuntimeEntry, load_profile


def test_the_host_is_detected(tmp_path: Path) -> None:
    host = detect_host(tmp_path)
    assert host.folder.parent == tmp_path / "host"
    assert host.cores >= 1
    assert host.chip.memory_bytes.value > 1e8
    assert host.power.assumed
    predictor = host.predictor(host.target(threads=host.cores))
    assert predictor.measurements == 0
    assert predictor.threads == host.cores
    assert not any(tmp_path.iterdir())
    assert detect_host(tmp_path) == host


@pytest.mark.parametrize("name", ["localhost", "this", "This"])
def test_the_host_is_found_by_the_names_that_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_profile(name).name == "host"
    assert name.lower() in load_profile("host").aliases


def test_runtimes_that_were_measured_here_are_its_own(tmp_path: Path) -> None:
    """Those of plug-ins and of other parts of the hardware: nothing but their measurements tells of them."""
    before = detect_host(tmp_path)
    assert "openvino-gpu" not in before.runtimes
    measurements = before.folder / "measurements"
    measurements.mkdir(parents=True)
    names = (
        "openvino-gpu-fp32-1t",
        "openvino-gpu-fp32-2t",
        "openvino-gpu-int8-1t",
        "onnxruntime-int8-1t",
        "Mine-fp32-1t",
        "mine-fp7-1t",
        "copy of it",
    )
    for name in names:
        (measurements / f"{name}.csv").touch()
    host = detect_host(tmp_path)
    assert host.folder == before.folder
    assert host.runtimes == {**before.runtimes, "openvino-gpu": RuntimeEntry(version="unknown", precisions=("fp32", "int8"))}
    assert host.target("openvino-gpu").runtime == "openvino-gpu"


@pytest.mark.parametrize("told", [None, {"value": 0.0, "source": "/proc/cpuinfo"}])
def test_a_clock_that_cannot_be_is_one_that_is_not_told(
    told: dict[str, Any] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psutil 7.2 gives that of Apple's M4 in GHz, and fails on an M5 with a SystemError."""

    def fails() -> NoReturn:
        raise SystemError("<built-in function cpu_freq> returned a result with an exception set")

    facts = told_facts()
    facts["chip"].pop("clock_hz", None)
    if told is not None:
        facts["chip"]["clock_hz"] = told
    monkeypatch.setattr("nas.hardware.host.told_facts", lambda: facts)
    for cpu_freq in (lambda: SimpleNamespace(max=4.0), fails):
        monkeypatch.setattr(psutil, "cpu_freq", cpu_freq)
        assert detect_host(tmp_path).chip.clock_hz.kind == "modelled"
    monkeypatch.setattr(psutil, "cpu_freq", lambda: SimpleNamespace(max=4400.0))
    assert detect_host(tmp_path).chip.clock_hz.value == 4.4e9
