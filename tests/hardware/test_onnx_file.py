"""Files that cannot be read say why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.errors import ModelFileError
from nas.hardware.onnx_file import read_onnx

onnx = pytest.importorskip("onnx")
helper = onnx.helper


def proto(shape: list[object], op: str = "Conv", reads: tuple[str, ...] = ("x", "w")) -> object:
    weights = onnx.numpy_helper.from_array(np.ones((8, 3, 3, 3), dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node(op, reads, ["y"], name="first")], "g", [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, None)], [weights],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def save(path: Path, model: object) -> Path:
    path.write_bytes(model.SerializeToString())  # type: ignore[attr-defined]
    return path


@pytest.mark.parametrize("batch", ["batch", 1, None])
def test_an_open_batch_is_one(tmp_path: Path, batch: object) -> None:
    file = read_onnx(save(tmp_path / "m.onnx", proto([batch, 3, 8, 8])))
    assert file.shapes["x"] == (1, 3, 8, 8)
    assert file.shapes["y"] == (1, 8, 6, 6)
    assert file.shapes["w"] == (8, 3, 3, 3)
    assert file.constants == {"w"}
    assert (file.inputs, file.outputs, file.nodes[0].name) == (("x",), ("y",), "first")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (["n", 3, "height", 8], "dynamic dimension 'height'.*axis 2.*only the batch"),
        ([8, 3, 8, 8], "batch of 8"),
        ([1, 3, 8, None], "dynamic dimension"),
        (None, "no shape"),
    ],
)
def test_shapes_that_cannot_be_used(tmp_path: Path, shape: list[object], words: str) -> None:
    path = save(tmp_path / "m.onnx", proto(shape))
    with pytest.raises(ModelFileError, match=rf"m\.onnx: .*({words})"):
        read_onnx(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "m.onnx", proto([1, 3, 8, 8]))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelFileError, match=r"m\.onnx: is not a whole ONNX file"):
        read_onnx(path)


def test_what_nothing_writes(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="reads 'v', which nothing writes"):
        read_onnx(save(tmp_path / "m.onnx", proto([1, 3, 8, 8], reads=("x", "v"))))


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("this is not a model, it is a sentence")
    with pytest.raises(ModelFileError, match="not a whole ONNX file"):
        read_onnx(tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_onnx(tmp_path / "absent.onnx")


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    path, weights = tmp_path / "m.onnx", tmp_path / "m.data"
    onnx.save_model(proto([1, 3, 8, 8]), str(path), save_as_external_data=True, location="m.data", size_threshold=0)
    assert read_onnx(path).shapes["y"] == (1, 8, 6, 6)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelFileError, match=r"m\.data are truncated: 100 of 864"):
        read_onnx(path)
    weights.unlink()
    with pytest.raises(ModelFileError, match=r"weights of 'w' are in .*m\.data, which is absent"):
        read_onnx(path)


def test_a_model_that_ignores_its_input(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no operators that depend on the input"):
        read_onnx(save(tmp_path / "m.onnx", proto([1, 3, 8, 8], op="Relu", reads=("w",))))
