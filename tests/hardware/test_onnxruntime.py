from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas import plugins
from nas.config import MeasureProtocol
from nas.errors import ModelFileError
from nas.hardware.calibrate import measure_model
from nas.hardware.runtimes import Runtime
from nas.hardware.runtimes.onnxruntime import OnnxRuntime, providers, read_metadata
from nas.target import Target
from nas.testing import RuntimeContract

onnx = pytest.importorskip("onnx")


def write_model(path: Path, dtype: int = 1, op: str = "Conv") -> Path:
    """One convolution; `dtype` is that of the input, `op` its operator."""
    weights = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), dtype=np.float32), "weights")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, ["images", "weights"], ["logits"])],
        "tiny",
        [onnx.helper.make_tensor_value_info("images", dtype, ["batch", 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("logits", 1, ["batch", 4, 6, 6])],
        [weights],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, {"who": "a test"})
    path.write_bytes(model.SerializeToString())
    return path


class TestOnnxRuntime(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return plugins.load("runtimes", "onnxruntime")()  # type: ignore[no-any-return]

    @pytest.fixture
    def model_path(self, tmp_path: Path) -> Path:
        return write_model(tmp_path / "tiny.onnx")

    def test_it_is_measured(self, runtime: Runtime, model_path: Path) -> None:
        target = Target("host", runtime.name, runtime.version(), "fp32", 2)
        metric = measure_model(model_path, target, MeasureProtocol(windows=2, window_s=0.01))
        assert 0 < metric.value < 0.1
        assert metric.source == "measured"

    @pytest.mark.parametrize("wrong", [{"op": "Convv"}, {"dtype": 8}])
    def test_a_model_it_cannot_run_is_refused(self, runtime: Runtime, tmp_path: Path, wrong: dict[str, object]) -> None:
        path = write_model(tmp_path / "odd.onnx", **wrong)  # type: ignore[arg-type]
        with pytest.raises(ModelFileError, match=r"odd\.onnx"), runtime.open(path, 1):
            pass


def test_an_input_of_another_kind_is_refused(tmp_path: Path) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["ids"], ["out"])],
        "tokens",
        [onnx.helper.make_tensor_value_info("ids", 7, [1, 4])],
        [onnx.helper.make_tensor_value_info("out", 7, [1, 4])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path / "tokens.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="int64"), OnnxRuntime().open(path, 1):
        pass


def test_a_file_says_what_is_written_in_it(tmp_path: Path) -> None:
    assert read_metadata(write_model(tmp_path / "tiny.onnx")) == {"who": "a test"}
    assert "CPUExecutionProvider" in providers()
