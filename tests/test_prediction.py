"""From what names a network to its figures."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from nas.errors import InputError, MissingExtraError, ModelFileError, UnknownNameError
from nas.hardware.stamp import STAMP
from nas.metrics import Metric
from nas.prediction import ArchitectureFile, NamedNetwork, network_of, predict_network, read_architecture
from nas.space import load_space, reference_blocks

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
    counted = [line for line in found.lines() if "[counted]" in line]
    assert len(counted) == 4
    assert all("at least" in line for line in counted)
    assert not any("at least" in line for line in predict_network(network_of("mobilenet_v2"), "raspberrypi4", None, None, None).lines())


def test_what_we_exported_says_its_blocks(tmp_path: Path) -> None:
    space = load_space("mobilenet_tiny")
    blocks = space.decode(space.sample(0))
    model = onnx.load_model(theirs(tmp_path / "m.onnx"))
    helper.set_model_props(model, {"blocks": json.dumps([block.to_dict() for block in blocks])})
    (tmp_path / "ours.onnx").write_bytes(model.SerializeToString())
    network = network_of(str(tmp_path / "ours.onnx"))
    assert network.parts == blocks
    assert network.notes == ("carries no checksum: cannot tell whether it was edited after its export",)
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


def test_an_architecture_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    blocks = [block.to_dict() for block in reference_blocks("mobilenet_v2")]
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps({"schema": 1, "blocks": blocks}))
    assert len(read_architecture(path).blocks) == len(blocks)
    path.write_text(json.dumps({"schema": 2, "blocks": blocks}))
    with pytest.raises(ModelFileError, match="has schema 2, this version reads 1: upgrade hwnas"):
        read_architecture(path)


def test_blocks_are_those_of_the_genes_and_widths_beside_them(tmp_path: Path) -> None:
    space = load_space("mobilenet_tiny").with_data(1, 7)
    arch = dataclasses.replace(space.largest, widths=(("s1.b2.mid", 48),))
    blocks = [block.to_dict() for block in space.decode(arch)]
    path = tmp_path / "architecture.json"

    def read(architecture: object) -> ArchitectureFile:
        path.write_text(json.dumps({"architecture": architecture, "blocks": blocks}), encoding="utf-8")
        return read_architecture(path)

    told = read(arch.to_dict())
    assert (told.architecture, told.blocks, told.notes) == (arch, space.decode(arch), ())
    genes = dict(arch.genes)
    for architecture, words in (
        ({**arch.to_dict(), "widths": {"s1.b2.mid": 40}}, "block 's1.b2' has mid_chs 48, by the genes and widths beside it 40"),
        (space.largest.to_dict(), "has mid_chs 48"),
        ({**arch.to_dict(), "widths": {"s1.b2.mid": -8}}, "s1.b2"),
        ({**arch.to_dict(), "widths": {"s9.mid": 8}}, "s9.mid"),
        ({**arch.to_dict(), "widths": [8]}, "widths are"),
        ({**arch.to_dict(), "genes": {name: value for name, value in genes.items() if name != "s1.depth"}}, "needs the gene 's1.depth'"),
        ([], "is an object"),
    ):
        with pytest.raises(ModelFileError, match=re.escape(words)):
            read(architecture)
    read({**arch.to_dict(), "space": "elsewhere"})
    foreign = network_of(str(path))
    assert foreign.parts == space.decode(arch)
    assert foreign.notes == ("space 'elsewhere' is not known here: these are the figures of the file's blocks",)


@pytest.mark.parametrize("name", ["absent.onnx", "absent.json"])
def test_files_that_are_not_there(name: str) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        network_of(name)
    with pytest.raises(UnknownNameError, match="mobilenet_v2"):
        network_of("mobilenet_v22")


def test_where_nothing_was_measured_nothing_is_widened() -> None:
    lines = {
        device: " ".join(predict_network(network_of("mobilenet_v2"), device, None, None, None).lines())
        for device in ("x86-64-vnni", "raspberrypi4", "raspberrypi5")
    }
    assert "nothing was measured: the band is that of the chip's facts" in lines["x86-64-vnni"]
    assert "the band is widened" in lines["raspberrypi4"]
    assert not any("widened" in lines[device] for device in ("x86-64-vnni", "raspberrypi5"))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """fp32.onnx and int8.onnx of one network, blocks inside."""
    pytest.importorskip("torch")
    from nas.compress.quantize import quantize, random_images
    from nas.hardware.export import export_blocks

    space = load_space("mobilenet_tiny")
    blocks = space.decode(space.sample(1))
    export_blocks(blocks, tmp_path / "fp32.onnx")
    shape = (1, blocks[0].in_chs, blocks[0].in_size, blocks[0].in_size)
    quantize(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", random_images(shape, 1))
    return tmp_path


def test_a_file_is_not_priced_in_another_precision_unasked(ours: Path) -> None:
    fp32, int8 = (network_of(str(ours / f"{name}.onnx")) for name in ("fp32", "int8"))
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    assert fp32.parts == int8.parts
    with pytest.raises(InputError, match=r"int8\.onnx is int8, and raspberrypi4 .*nas measure --device raspberrypi4 --precision int8"):
        predict_network(int8, "raspberrypi4", None, None, None)
    asked = predict_network(int8, "raspberrypi4", None, "fp32", None)
    assert asked.notes == ("the file is int8: these are the figures of the same network in fp32",)
    plain = predict_network(fp32, "raspberrypi4", None, None, None)
    assert not plain.notes
    assert plain.metrics == asked.metrics
    with pytest.raises(InputError, match="fp64"):
        predict_network(dataclasses.replace(fp32, precision="fp64"), "raspberrypi4", None, None, None)
    with pytest.raises(InputError, match="precision fp32 for the same network"):
        predict_network(dataclasses.replace(fp32, precision="fp16"), "raspberrypi4", None, None, None)


def test_the_precision_without_onnx(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ours / "theirs.onnx").write_bytes(theirs(ours / "m.onnx").read_bytes())
    model = onnx.load_model(ours / "fp32.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == 1:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = 10
    (ours / "fp16.onnx").write_bytes(model.SerializeToString())
    assert network_of(str(ours / "fp16.onnx")).precision == "fp16"
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert network_of(str(ours / "fp32.onnx")).precision == "fp32"
    assert network_of(str(ours / "int8.onnx")).precision == "int8"
    for name in ("fp16", "theirs"):
        with pytest.raises(MissingExtraError, match="onnx"):
            network_of(str(ours / f"{name}.onnx"))


def test_an_export_that_was_edited_is_read_from_its_graph(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, dim in (("fp32", 48), ("int8", 48)):
        model = onnx.load_model(ours / f"{name}.onnx")
        shape = model.graph.input[0].type.tensor_type.shape.dim
        shape[2].dim_value = shape[3].dim_value = dim  # as onnx.tools.update_model_dims does: metadata stay
        (ours / f"{name}-edited.onnx").write_bytes(model.SerializeToString())
        before, after = (network_of(str(ours / f"{name}{edited}.onnx")) for edited in ("", "-edited"))
        assert not before.notes
        assert after.notes[0] == "edited after its export: read from its graph"
        assert after.precision == name
        small, large = (predict_network(each, "raspberrypi4", None, "fp32", None) for each in (before, after))
        assert large.metrics["macs"].value > 2 * small.metrics["macs"].value
        assert large.metrics["latency_s"].value > small.metrics["latency_s"].value
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="onnx"):
        network_of(str(ours / "fp32-edited.onnx"))


def test_an_export_without_its_checksum_is_taken_by_its_words_and_said_so(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load_model(ours / "fp32.onnx")
    model.metadata_props.remove(next(each for each in model.metadata_props if each.key == STAMP))
    (ours / "unstamped.onnx").write_bytes(model.SerializeToString())
    for is_there in (True, False):
        if not is_there:
            monkeypatch.setitem(sys.modules, "onnx", None)
        whole, bare = (network_of(str(ours / f"{name}.onnx")) for name in ("fp32", "unstamped"))
        assert (bare.parts, bare.precision, whole.notes) == (whole.parts, "fp32", ())
        assert bare.notes == ("carries no checksum: cannot tell whether it was edited after its export",)


def test_our_exports_without_their_blocks_say_the_same(ours: Path) -> None:
    known = network_of(str(ours / "fp32.onnx"))
    model = onnx.load_model(ours / "fp32.onnx")
    del model.metadata_props[:]
    (ours / "bare.onnx").write_bytes(model.SerializeToString())
    bare = network_of(str(ours / "bare.onnx"))
    assert not isinstance(bare.parts[0], type(known.parts[0]))
    assert "batch norm" in bare.notes[0]
    for device in ("raspberrypi4", "raspberrypi5", "x86-64-vnni"):
        of_blocks, of_graph = (predict_network(each, device, None, None, None) for each in (known, bare))
        assert of_blocks.in_range is of_graph.in_range
        for name in set(of_blocks.metrics) - {"params"}:
            one, other = of_blocks.metrics[name], of_graph.metrics[name]
            assert other.value == pytest.approx(one.value, rel=1e-9)
            if one.low is not None:
                assert (other.low, other.high) == pytest.approx((one.low, one.high), rel=1e-9)


def test_a_description_has_no_precision_of_its_own() -> None:
    network = network_of("mobilenet_v2")
    assert isinstance(network, NamedNetwork)
    assert network.precision is None


def test_large_figures_are_read_without_exponents() -> None:
    found = predict_network(network_of("mobilenet_v2"), "raspberrypi4", None, None, None)
    slow, wide = Metric(5.4, "s", "predicted", low=1.234, high=10.0), Metric(15.4672e9, "MAC", "counted")
    lines = dataclasses.replace(found, metrics={**found.metrics, "latency_s": slow, "macs": wide}).lines()
    assert lines[0] == "latency   5400 ms (90 % band 1230 to 10000)   [predicted]"
    assert lines[2] == "MACs      15470 M   [counted]"
