from __future__ import annotations

from pathlib import Path

from nas.hardware.host import detect_host


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
