"""Plug-ins by entry point: loaded by name, and by nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nas import plugins
from nas.errors import InputError, UnknownNameError
from nas.hardware.runtimes.loading import load_runtime
from nas.search.evaluators import accuracy_evaluator


def test_the_built_ins_use_the_same_door() -> None:
    assert {kind: plugins.names(kind) for kind in ("evaluators", "meters", "runtimes", "samplers", "transports")} == {
        "evaluators": ["supernet", "tabular", "train", "zero-cost"],
        "meters": ["csv", "hwmon", "nvml", "pmic", "rapl", "replay"],
        "runtimes": ["onnxruntime", "openvino"],
        "samplers": ["front", "gp", "nsga2", "random", "tpe"],
        "transports": ["local", "ssh"],
    }
    for kind in ("evaluators", "meters", "runtimes", "samplers"):
        assert all(callable(plugins.load(kind, name)) for name in plugins.names(kind))


def test_unknown_names_list_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown runtime 'onnx-runtime': did you mean onnxruntime\?"):
        plugins.load("runtimes", "onnx-runtime")
    with pytest.raises(UnknownNameError, match="unknown meter 'usb': known are csv, hwmon"):
        plugins.load("meters", "usb")
    with pytest.raises(UnknownNameError, match="unknown oracle 'usb': there is no oracle yet"):
        plugins.load("oracles", "usb")


def test_what_a_plugin_of_another_distribution_lacks_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "nasdsp-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: nasdsp\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[nas.evaluators]\ndsp = nasdsp:Evaluator\n[nas.runtimes]\ndsp = nasdsp:Runtime\n")
    (tmp_path / "nasdsp.py").write_text("import dsplib\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"^plug-in dsp \(nasdsp\) needs dsplib: pip install dsplib$"):
        plugins.load("evaluators", "dsp")
    with pytest.raises(InputError, match=r"^dsp is not installed here: python3 -m pip install dsplib$"):
        load_runtime("dsp")
    with pytest.raises(InputError, match=r"zero-cost gives naswot, .*: choose supernet or tabular or train for a search"):
        accuracy_evaluator("zero-cost")


def test_names_are_listed_without_loading_what_they_name() -> None:
    code = "import sys; from nas import plugins; plugins.names('evaluators'); sys.exit('nas.search' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
