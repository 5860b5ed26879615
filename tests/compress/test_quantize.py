from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.compress.quantize import quantize, random_images
from nas.errors import ModelFileError
from tests.hardware.models import onnx, write_model


def test_weights_are_quantised_per_channel(tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantize(write_model(tmp_path / "fp32.onnx"), path, random_images((1, 3, 8, 8)))
    proto = onnx.load(path)
    weights = [init for init in proto.graph.initializer if init.data_type == onnx.TensorProto.INT8 and len(init.dims) == 4]
    assert [list(each.dims) for each in weights] == [[4, 3, 3, 3]]
    assert any(list(init.dims) == [4] and init.data_type == onnx.TensorProto.FLOAT for init in proto.graph.initializer)
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= {node.op_type for node in proto.graph.node}


def test_random_images_are_the_same_ones() -> None:
    first, again = random_images((2, 3, 4, 4)), random_images((2, 3, 4, 4))
    assert len(first) == 2
    np.testing.assert_array_equal(first[1], again[1])
    assert first[0].dtype == np.float32


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"x")
    with pytest.raises(ModelFileError, match="bad"):
        quantize(tmp_path / "bad.onnx", tmp_path / "int8.onnx", random_images((1, 3, 8, 8)))
    assert not (tmp_path / "int8.onnx").exists()
