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


def small(dims: list[int], content: bytes, dtype: int = 1) -> object:
    tensor = onnx.TensorProto(name="k", data_type=dtype, raw_data=content)
    tensor.dims.extend(dims)
    model = proto([1, 3, 8, 8])
    model.graph.initializer.append(tensor)  # type: ignore[attr-defined]
    return model


@pytest.mark.parametrize(
    ("dims", "content", "dtype"), [([4], b"1234", 1), ([4], b"12345", 1), ([-4], b"1234", 1), ([4], b"", 8), ([1], b"1234", 99)]
)
def test_damaged_weights(tmp_path: Path, dims: list[int], content: bytes, dtype: int) -> None:
    with pytest.raises(ModelFileError, match=r"m\.onnx: is damaged: .*'k'"):
        read_onnx(save(tmp_path / "m.onnx", small(dims, content, dtype)))


@pytest.mark.parametrize("key", ["offset", "length"])
def test_a_place_of_weights_that_is_no_number(tmp_path: Path, key: str) -> None:
    model = proto([1, 3, 8, 8])
    (tensor,) = model.graph.initializer  # type: ignore[attr-defined]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for name, value in (("location", "m.data"), (key, "far away")):
        entry = tensor.external_data.add()
        entry.key, entry.value = name, value
    (tmp_path / "m.data").write_bytes(bytes(1000))
    with pytest.raises(ModelFileError, match=r"m\.onnx: is damaged: .*'w'.*far away"):
        read_onnx(save(tmp_path / "m.onnx", model))


@pytest.mark.parametrize(("dtype", "precision"), [(1, "fp32"), (10, "fp16"), (16, "bf16"), (11, "fp64"), (3, "fp32")])
@pytest.mark.parametrize("constant", [False, True])
def test_the_precision_is_that_of_most_weights(tmp_path: Path, dtype: int, precision: str, constant: bool) -> None:
    """Whole numbers beside them are shapes, or weights that are dequantised before they are used."""
    tensor = helper.make_tensor("w", dtype, (8, 3, 3, 3), np.ones(216))
    nodes = [helper.make_node("Constant", [], ["w"], value=tensor)] if constant else []
    nodes.append(helper.make_node("Conv", ["x", "w"], ["y"]))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", dtype, [1, 3, 8, 8])], [helper.make_tensor_value_info("y", dtype, None)],
        [] if constant else [tensor],
    )  # fmt: skip
    path = save(tmp_path / "m.onnx", helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10))
    assert read_onnx(path).precision == precision


def test_an_operator_that_reads_too_little(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"m\.onnx: is damaged: Conv 'first' reads 1 tensors \(at least 2\) and writes 1"):
        read_onnx(save(tmp_path / "m.onnx", proto([1, 3, 8, 8], reads=("x",))))


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", proto([1, 3, 8, 8]))
    path.write_bytes(path.read_bytes().replace(b"first", b"fi\xffst"))
    with pytest.raises(ModelFileError, match=r"m\.onnx: is (damaged|not a whole ONNX file)"):
        read_onnx(path)
