from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = (
    "calibrate",
    "chip",
    "choosing",
    "device_state",
    "energy",
    "features",
    "fitting",
    "host",
    "jobs",
    "measure",
    "newcomer",
    "predictor",
    "predictor_file",
    "profile",
    "roofline",
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
