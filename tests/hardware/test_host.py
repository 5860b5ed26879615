from __future__ import annotations

from pathlib import Path

import pytest

from nas.hardware.host import detect_host
from nas.hardware.profile import load_profile


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
