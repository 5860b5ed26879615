"""From what names a network to its figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas.errors import ModelFileError, UnknownNameError
from nas.prediction import network_of, predict_network
from nas.space import load_space

onnx = pytest.importorskip("onnx")
helper = onnx.helper


def theirs(path: Path, middle: str = "Relu") -> Path:
    weights = onnx.numpy_helper.from_array(np.ones((8, 3, 3, 3), dtype=np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["x", "half"], ["n"], name="normalise"),
            helper.make_node("Conv", ["n", "w"], ["c"], name="first"),
            helper.make_node(middle, ["c"], ["y"], name="second"),
        ],
        "g", [helper.make_tensor_value_info("x", 1, ["batch", 3, 16, 16])], [helper.make_tensor_value_info("y", 1, None)],
        [weights, onnx.numpy_helper.from_array(np.float32(0.5), "half")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_graph_of_others(tmp_path: Path) -> None:
    found = predict_network(network_of(str(theirs(tmp_path / "m.onnx"))), "raspberrypi4", None, None, 4)
    assert found.metrics["macs"].value == 27 * 8 * 14**2
    assert [name for name, _, _ in found.blocks] == ["first"]
    assert found.notes == ("left out as normalisation of the input: Sub (normalise)",)
    assert found.target.threads == 4
    assert any("normalise" in line for line in found.lines())


def test_an_unknown_operator_is_refused_or_flagged(tmp_path: Path) -> None:
    path = str(theirs(tmp_path / "m.onnx", "LpNormalization"))
    with pytest.raises(ModelFileError, match="LpNormalization"):
        network_of(path)
    network = network_of(path, allow_unknown=True)
    found = predict_network(network, "raspberrypi4", None, None, None)
    assert network.unknown == ("LpNormalization (second)",)
    assert not found.in_range
    assert "no cost is known for LpNormalization" in found.notes[1]


def test_what_we_exported_says_its_blocks(tmp_path: Path) -> None:
    space = load_space("mobilenet_tiny")
    blocks = space.decode(space.sample(0))
    model = onnx.load_model(theirs(tmp_path / "m.onnx"))
    helper.set_model_props(model, {"blocks": json.dumps([block.to_dict() for block in blocks])})
    (tmp_path / "ours.onnx").write_bytes(model.SerializeToString())
    network = network_of(str(tmp_path / "ours.onnx"))
    assert network.parts == blocks
    assert not network.notes
    helper.set_model_props(model, {"blocks": "[{}]"})
    (tmp_path / "ours.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"ours\.onnx"):
        network_of(str(tmp_path / "ours.onnx"))


def test_architectures_and_references(tmp_path: Path) -> None:
    space = load_space("mobilenet_tiny")
    arch = space.sample(0)
    (tmp_path / "a.json").write_text(arch.to_json())
    assert network_of(str(tmp_path / "a.json")).parts == space.decode(arch)
    assert network_of("mobilenet_v2").names[0] == "stem"
    found = predict_network(network_of("mobilenet_v2"), "raspberrypi4", None, None, None)
    assert found.metrics["macs"].value == pytest.approx(300.8e6, rel=1e-3)
    assert found.blocks[0][0] == "stem"


@pytest.mark.parametrize("name", ["absent.onnx", "absent.json"])
def test_files_that_are_not_there(name: str) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        network_of(name)
    with pytest.raises(UnknownNameError, match="mobilenet_v2"):
        network_of("mobilenet_v22")
