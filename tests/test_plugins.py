"""Plug-ins by entry point: loaded by name, and by nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nas import plugins
from nas.errors import UnknownNameError


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


def test_names_are_listed_without_loading_what_they_name() -> None:
    code = "import sys; from nas import plugins; plugins.names('evaluators'); sys.exit('nas.search' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
