"""Small ONNX files that tests measure and break."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")


def write_model(path: Path, dtype: int = 1, op: str = "Conv", sizes: tuple[int | str, int | str] = (8, 8), external: bool = False) -> Path:
    """One convolution; `dtype` is that of the input, `op` its operator; with `external`, its weights are in a file that is not there."""
    weights = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), dtype=np.float32), "weights")
    if external:
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", "absent.bin"
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, ["images", "weights"], ["logits"])],
        "tiny",
        [onnx.helper.make_tensor_value_info("images", dtype, ["batch", 3, *sizes])],
        [onnx.helper.make_tensor_value_info("logits", 1, ["batch", 4, "height", "width"])],
        [weights],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, {"who": "a test"})
    path.write_bytes(model.SerializeToString())
    return path
