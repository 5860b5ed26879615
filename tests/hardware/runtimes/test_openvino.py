from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nas.errors import InputError
from nas.hardware.runtimes import Runtime
from nas.hardware.runtimes.loading import load_runtime
from tests.hardware.models import write_model
from tests.hardware.runtimes.test_onnxruntime import OnnxFiles

pytest.importorskip("openvino")


class TestOpenVino(OnnxFiles):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return load_runtime("openvino")

    def test_its_own_files_run_too(self, runtime: Runtime, model_path: Path) -> None:
        from nas.hardware.export import export_openvino

        path = model_path.with_suffix(".xml")
        export_openvino(model_path, path)
        with runtime.open(path, 1) as run:
            run()
        assert runtime.inspect(path, 1).precision == "fp32"


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    runtime = load_runtime("openvino-npu7")
    assert runtime.name == "openvino-npu7"
    with pytest.raises(InputError, match=r"CPU.*not NPU7"), runtime.open(write_model(tmp_path / "tiny.onnx"), 1):
        pass


SIGNALLED = """
import faulthandler, gc, os, signal, sys
import subprocess
import sys
from pathlib import Path
from nas.hardware.runtimes.loading import load_runtime
faulthandler.enable()  # gives the thread a stack for signals, as a test runner or a service does
runtime, path = load_runtime("openvino"), Path(sys.argv[1])
with runtime.open(path, 1) as anchor:
    anchor()
    for _ in range(2):
        with runtime.open(path, 1) as run:
            run()
del anchor, run
gc.collect()
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_measuring_is_handled(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.onnx")
    done = subprocess.run([sys.executable, "-c", SIGNALLED, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
