from __future__ import annotations

from pathlib import Path

import pytest

from nas.compress.quantize import quantize, random_images
from nas.config import MeasureProtocol
from nas.errors import InputError, ModelFileError
from nas.hardware.file_latency import file_latency
from nas.hardware.runtimes import Runtime
from nas.hardware.runtimes.loading import load_runtime
from nas.hardware.runtimes.onnxruntime import OnnxRuntime, providers, read_metadata
from nas.testing import RuntimeContract
from tests.hardware.models import onnx, write_model


class OnnxFiles(RuntimeContract):
    """The models of the contract as ONNX files."""

    @pytest.fixture
    def model_path(self, tmp_path: Path) -> Path:
        return write_model(tmp_path / "tiny.onnx")

    @pytest.fixture
    def int8_path(self, tmp_path: Path, model_path: Path) -> Path:
        quantize(model_path, tmp_path / "tiny.int8.onnx", random_images((1, 3, 8, 8)))
        return tmp_path / "tiny.int8.onnx"

    @pytest.fixture
    def unknown_op_path(self, tmp_path: Path) -> Path:
        return write_model(tmp_path / "odd.onnx", op="Convv")

    @pytest.fixture
    def open_size_path(self, tmp_path: Path) -> Path:
        return write_model(tmp_path / "open.onnx", sizes=("height", "width"))

    @pytest.fixture
    def external_data_path(self, tmp_path: Path) -> Path:
        return write_model(tmp_path / "split.onnx", external=True)


class TestOnnxRuntime(OnnxFiles):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return load_runtime("onnxruntime")

    def test_it_is_measured(self, runtime: Runtime, model_path: Path) -> None:
        metric = file_latency(model_path, runtime.name, 2, MeasureProtocol(windows=2, window_s=0.01), lambda text: None)
        assert 0 < metric.value < 0.1
        assert metric.source == "measured"

    def test_an_input_of_another_kind_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match=r"odd\.onnx"), runtime.open(write_model(tmp_path / "odd.onnx", dtype=8), 1):
            pass

    def test_what_stays_fp32_in_a_quantised_model_is_said(self, runtime: Runtime, tmp_path: Path) -> None:
        path = write_model(tmp_path / "soft.onnx")
        proto = onnx.load(path)
        proto.graph.node[0].output[0] = "mid"
        proto.graph.node.append(onnx.helper.make_node("HardSwish", ["mid"], ["logits"]))
        path.write_bytes(proto.SerializeToString())
        quantize(path, path, random_images((1, 3, 8, 8)))
        found = runtime.inspect(path, 1)
        assert found.precision == "int8"
        assert any("in fp32" in each for each in found.foreign)


def test_an_input_of_tokens_is_refused(tmp_path: Path) -> None:
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


def test_a_provider_that_is_not_there_is_named(tmp_path: Path) -> None:
    runtime = load_runtime("onnxruntime-nosuch")
    assert runtime.name == "onnxruntime-nosuch"
    with pytest.raises(InputError, match=r"cpu.*not 'nosuch'"), runtime.open(write_model(tmp_path / "tiny.onnx"), 1):
        pass
