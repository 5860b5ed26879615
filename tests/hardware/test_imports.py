from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = (
    "calibrate",
    "ceiling",
    "chip",
    "choosing",
    "device_state",
    "energy",
    "energy_file",
    "features",
    "fitting",
    "host",
    "jobs",
    "measure",
    "measure_energy",
    "metering",
    "meters",
    "newcomer",
    "predictor",
    "predictor_file",
    "profile",
    "roofline",
    "row",
    "rows",
    "runner",
    "runtimes",
    "session",
    "transports",
)


@pytest.mark.parametrize("heavy", ["torch scipy sklearn mlflow optuna onnxruntime pandas"])
def test_nothing_heavy_is_imported(heavy: str) -> None:
    code = f"import sys, {', '.join(f'nas.hardware.{name}' for name in MODULES)}; print(*sorted(set({heavy.split()!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
