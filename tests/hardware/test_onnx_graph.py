"""Graphs of our own exports give the operators of their blocks; those of others are fused as a runtime fuses them."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest

from nas.cost import count_ops
from nas.errors import ModelFileError
from nas.hardware.features import FEATURES, network_features, op_features
from nas.hardware.onnx_file import read_onnx
from nas.hardware.onnx_graph import Graph, read_graph
from nas.ops import Op, lower
from nas.space import load_space, reference_blocks, space_names

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from nas.compress.quantize import quantize, random_images  # noqa: E402
from nas.hardware.export import Deployed, export_blocks, export_onnx  # noqa: E402
from nas.models.network import Network  # noqa: E402

helper = onnx.helper


def deployed(op: Op) -> Op:
    """As it is in a file: batch norm folded; where in a block an operator stands matters for squeeze-excites only."""
    return dataclasses.replace(op, batch_norm=False, bias=False, role="se" if op.role == "se" else "conv")


def features_of(graph: Graph) -> np.ndarray:
    total = np.sum([op_features(op) for op in graph.ops], axis=0)
    total[FEATURES.index("constant")] = 1.0
    return np.asarray(total)


@pytest.mark.parametrize("space", space_names())
def test_our_exports_give_the_numbers_of_their_blocks(space: str, tmp_path: Path) -> None:
    found = load_space(space)
    # Exporting a large network takes seconds.
    archs = [found.smallest, found.sample(0), found.sample(1)] if space == "mobilenet_tiny" else [found.sample(0)]
    for number, arch in enumerate(archs):
        blocks = found.decode(arch)
        export_onnx(Network(blocks), blocks, tmp_path / "model.onnx", {})
        graph = read_graph(tmp_path / "model.onnx")
        assert [deployed(op) for op in graph.ops] == [deployed(op) for op in lower(blocks)], number
        np.testing.assert_array_equal(features_of(graph), network_features(blocks))
        assert not graph.unknown
        assert not graph.left_out


def test_silu_and_sigmoid_gates_too(tmp_path: Path) -> None:
    blocks = reference_blocks("efficientnet_b0")
    export_onnx(Network(blocks), blocks, tmp_path / "model.onnx", {})
    graph = read_graph(tmp_path / "model.onnx")
    np.testing.assert_array_equal(features_of(graph), network_features(blocks))
    assert count_ops(graph.ops).macs == count_ops(lower(blocks)).macs
    assert count_ops(graph.ops).peak_activation_bytes == count_ops(lower(blocks)).peak_activation_bytes


def test_the_normalisation_of_deployed_files_is_left_out_and_said(tmp_path: Path) -> None:
    space = load_space("mobilenet_tiny")
    blocks = space.decode(space.sample(1))
    chs = blocks[0].in_chs
    export_onnx(Deployed(Network(blocks), [0.5] * chs, [0.2] * chs), blocks, tmp_path / "model.onnx", {})
    graph = read_graph(tmp_path / "model.onnx")
    assert [text.split(" ")[0] for text in graph.left_out] == ["Sub", "Mul"]
    np.testing.assert_array_equal(features_of(graph), network_features(blocks))


@pytest.mark.parametrize(("space", "number"), [("mobilenet_tiny", 1), ("fbnet", 0), ("mobilenetv3", None)])
def test_our_int8_files_give_the_numbers_of_their_blocks(space: str, number: int | None, tmp_path: Path) -> None:
    """The quantiser takes relus away, puts nodes between a hardsigmoid and its product, and asks shapes of dequantised tensors."""
    found, path = load_space(space), tmp_path / "model.onnx"
    blocks = found.decode(found.smallest if number is None else found.sample(number))
    export_blocks(blocks, path)
    assert read_onnx(path).precision == "fp32"
    quantize(path, path, random_images((1, blocks[0].in_chs, blocks[0].in_size, blocks[0].in_size), 1))
    assert read_onnx(path).precision == "int8"
    graph = read_graph(path)
    np.testing.assert_array_equal(features_of(graph), network_features(blocks))
    read, known = count_ops(graph.ops, "int8"), count_ops(lower(blocks), "int8")
    assert dataclasses.replace(read, params=0) == dataclasses.replace(known, params=0)
    # Scale and shift of the batch norms are one bias in the file.
    assert read.params == known.params - sum(op.out_chs for op in lower(blocks) if op.batch_norm)


@pytest.mark.parametrize("largest", [0, 1000, 10**9])
def test_weights_in_constant_nodes(largest: int, tmp_path: Path) -> None:
    """Up to so many elements; the others stay where they are."""
    space = load_space("mobilenet_tiny")
    blocks = space.decode(space.sample(1))
    export_blocks(blocks, tmp_path / "model.onnx")
    proto = onnx.load_model(tmp_path / "model.onnx")
    for tensor in [each for each in proto.graph.initializer if np.prod(each.dims) <= largest]:
        proto.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        proto.graph.initializer.remove(tensor)
    graph = read_graph(saved(tmp_path, proto))
    assert [deployed(op) for op in graph.ops] == [deployed(op) for op in lower(blocks)]


class ResNetLike(torch.nn.Module):  # type: ignore[misc]
    """Everything that our own blocks do not have."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1, groups=4))
        self.wide = nn.Conv2d(64, 16, (1, 7), padding=(0, 3))
        self.up = nn.Upsample(scale_factor=2)
        self.linear = nn.Linear(16 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.cat([x, torch.relu(x + self.body(x))], 1)
        n, chs, height, width = x.shape
        x = x.view(n, 2, chs // 2, height, width).transpose(1, 2).reshape(n, chs, height, width)
        x = self.up(torch.nn.functional.silu(self.wide(x)))
        x = torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)
        return torch.softmax(self.linear(x), 1)


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_network_of_others(tmp_path: Path, dynamic: bool) -> None:
    path = tmp_path / "theirs.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ResNetLike().eval(), (torch.zeros(1, 3, 64, 64),), str(path), dynamo=False, input_names=["x"],
            dynamic_axes={"x": {0: "batch"}} if dynamic else None,
        )  # fmt: skip
    graph = read_graph(path)
    kinds = [op.kind for op in graph.ops]
    assert kinds == ["conv", "pool", "conv", "conv", "add", "copy", "shuffle", "conv", "resize", "pool", "linear"]
    stem, max_pool, dense, grouped, add, concat, shuffle, wide, resize, pool, linear = graph.ops
    assert (stem.act, stem.role, dense.act, grouped.act, add.act, wide.act) == ("relu", "stem", "relu", "none", "relu", "silu")
    assert grouped.groups == 4
    assert grouped.macs == 9 * 8 * 32 * 16**2
    assert (wide.kernel_size, wide.kernel_width, wide.macs) == (1, 7, 7 * 64 * 16 * 16**2)
    assert (max_pool.kernel_size, max_pool.in_size, max_pool.out_size) == (3, 32, 16)
    # The addition keeps its second tensor, and the concatenation's first part waits for it.
    assert add.held_elements == 32 * 16**2
    assert (concat.in_chs, concat.out_chs, shuffle.in_chs) == (64, 64, 64)
    assert (resize.in_size, resize.out_size, pool.kernel_size) == (16, 32, 8)
    assert (linear.in_chs, linear.out_chs, linear.act) == (256, 10, "sigmoid")
    assert count_ops(graph.ops).params == sum(each.numel() for each in ResNetLike().parameters()) - 32  # batch norm became a bias


def model(nodes: list[object], weights: dict[str, tuple[int, ...]], shape: list[object], out: str = "y") -> object:
    """A graph on "x" of this shape; weights are ones."""
    return helper.make_model(
        helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", 1, shape)], [helper.make_tensor_value_info(out, 1, None)],
            [onnx.numpy_helper.from_array(np.ones(dims, dtype=np.float32), name) for name, dims in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=10,
    )  # fmt: skip


def saved(tmp_path: Path, proto: object) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())  # type: ignore[attr-defined]
    return path


def node(kind: str, *names: str, **attributes: object) -> object:
    """The last name is the output's."""
    return helper.make_node(kind, names[:-1], [names[-1]], name=f"the_{kind}", **attributes)


CONV = [node("Conv", "x", "w", "c", kernel_shape=[3, 3], pads=[1] * 4)]
WEIGHTS = {"w": (8, 3, 3, 3), "s": (8,), "k": (1, 8, 1, 1), "m": (8, 5)}


@pytest.mark.parametrize(
    ("nodes", "kinds", "act", "batch_norm"),
    [
        ([node("BatchNormalization", "c", "s", "s", "s", "s", "b"), node("Relu", "b", "y")], ["conv"], "relu", True),
        ([node("Mul", "c", "k", "b"), node("Add", "b", "k", "d"), node("HardSwish", "d", "y")], ["conv"], "hardswish", False),
        ([node("Sigmoid", "c", "b"), node("Mul", "b", "c", "y")], ["conv"], "silu", False),
        ([node("HardSigmoid", "c", "b"), node("Mul", "c", "b", "y")], ["conv"], "hardswish", False),
        ([node("Clip", "c", "b"), node("Identity", "b", "d"), node("Dropout", "d", "y")], ["conv"], "relu6", False),
        # Two readers: the activation cannot be the convolution's.
        ([node("Relu", "c", "b"), node("Add", "b", "c", "y")], ["conv", "elementwise", "add"], "none", False),
        # An activation is fused; a second one stays.
        ([node("Relu", "c", "b"), node("Sigmoid", "b", "y")], ["conv", "elementwise"], "relu", False),
        # Before any convolution, and after an activation: operators of their own.
        ([node("Relu", "c", "b"), node("BatchNormalization", "b", "s", "s", "s", "s", "y")], ["conv", "elementwise"], "relu", False),
        ([node("QuantizeLinear", "c", "q", "b"), node("DequantizeLinear", "b", "q", "d"), node("Relu", "d", "y")], ["conv"], "relu", False),
        ([node("Transpose", "c", "b", perm=[0, 2, 3, 1]), node("MatMul", "b", "m", "y")], ["conv", "shuffle", "linear"], "none", False),
        ([node("ReduceMean", "c", "b"), node("Mul", "b", "c", "y")], ["conv", "pool", "mul"], "none", False),
        ([node("DepthToSpace", "c", "y", blocksize=2)], ["conv", "shuffle"], "none", False),
    ],
)  # fmt: skip
def test_fusions(tmp_path: Path, nodes: list[object], kinds: list[str], act: str, batch_norm: bool) -> None:
    proto = model(CONV + nodes, {**WEIGHTS, "q": ()}, ["batch", 3, 8, 8])
    graph = read_graph(saved(tmp_path, proto))
    assert [op.kind for op in graph.ops] == kinds
    assert graph.ops[0].act == act
    assert graph.ops[0].batch_norm is batch_norm
    assert graph.names[0] == "the_Conv"


def test_padding_goes_into_the_convolution(tmp_path: Path) -> None:
    pads = onnx.numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], dtype=np.int64), "pads")
    proto = model([node("Pad", "x", "pads", "p"), node("Conv", "p", "w", "y", kernel_shape=[3, 3])], WEIGHTS, [1, 3, 8, 12])
    proto.graph.initializer.append(pads)  # type: ignore[attr-defined]
    (op,) = read_graph(saved(tmp_path, proto)).ops
    assert (op.out_size, op.out_width, op.out_pixels) == (8, 12, 96)


def test_an_unknown_operator_is_named_and_refused_or_flagged(tmp_path: Path) -> None:
    path = saved(tmp_path, model([*CONV, node("LpNormalization", "c", "b"), node("Relu", "b", "y")], WEIGHTS, [1, 3, 8, 8]))
    with pytest.raises(ModelFileError, match=r"m\.onnx: no cost is known for LpNormalization \(the_LpNormalization\).*--allow-unknown"):
        read_graph(path)
    graph = read_graph(path, allow_unknown=True)
    assert graph.unknown == ("LpNormalization (the_LpNormalization)",)
    assert [op.kind for op in graph.ops] == ["conv", "elementwise"]
    assert graph.ops[1].role == "unknown"


def test_a_product_of_activations_is_unknown(tmp_path: Path) -> None:
    path = saved(tmp_path, model([*CONV, node("MatMul", "c", "c", "y")], WEIGHTS, [1, 3, 8, 8]))
    with pytest.raises(ModelFileError, match="MatMul"):
        read_graph(path)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path, model([*CONV, node("Relu", "c", "y")], WEIGHTS, [1, 4, 8, 8]))
    with pytest.raises(ModelFileError, match="8 x 3 channels do not fit 4"):
        read_graph(path)


SECOND = node("Conv", "b", "v", "y", kernel_shape=[3, 3])
BOTH = {"w": (8, 3, 3, 3), "v": (8, 8, 3, 3)}


@pytest.mark.parametrize("domain", ["my.ops", ""])
@pytest.mark.parametrize("imported", [True, False])
def test_an_operator_that_onnx_does_not_define_between_two_that_it_does(tmp_path: Path, domain: str, imported: bool) -> None:
    proto = model([*CONV, node("Fancy", "c", "b", domain=domain), SECOND], BOTH, ["batch", 3, 8, 8])
    if imported and domain:
        proto.opset_import.append(helper.make_opsetid(domain, 1))  # type: ignore[attr-defined]
    path, name = saved(tmp_path, proto), f"{domain}.Fancy".removeprefix(".")
    with pytest.raises(ModelFileError, match=rf"no cost is known for {name} \(the_Fancy\): --allow-unknown"):
        read_graph(path)
    graph = read_graph(path, allow_unknown=True)
    assert graph.unknown == (f"{name} (the_Fancy)",)
    assert [(op.kind, op.role, op.out_chs, op.out_size) for op in graph.ops] == [
        ("conv", "stem", 8, 8), ("elementwise", "unknown", 8, 8), ("conv", "conv", 8, 6),
    ]  # fmt: skip


def two_outputs(said: list[object] | None) -> object:
    """An unknown operator with two outputs, whose shape the file may say."""
    fancy = helper.make_node("Fancy", ["c"], ["b", "other"], name="the_Fancy", domain="my.ops")
    proto = model([*CONV, fancy, SECOND], BOTH, ["batch", 3, 8, 8])
    if said is not None:
        proto.graph.value_info.extend([helper.make_tensor_value_info(name, 1, said) for name in ("b", "other")])  # type: ignore[attr-defined]
    return proto


def test_shapes_behind_an_unknown_operator_are_what_the_file_says(tmp_path: Path) -> None:
    graph = read_graph(saved(tmp_path, two_outputs(["batch", 8, 4, 4])), allow_unknown=True)
    assert [(op.in_size, op.out_size) for op in graph.ops] == [(8, 8), (8, 4), (4, 2)]
    for said in (None, ["batch", 8, "height", 4], ["other", 8, 4, 4]):
        path = saved(tmp_path, two_outputs(said))
        with pytest.raises(ModelFileError, match=r"my\.ops\.Fancy \(the_Fancy\), nor the shape"):
            read_graph(path, allow_unknown=True)
        with pytest.raises(ModelFileError, match=r"my\.ops\.Fancy \(the_Fancy\): --allow-unknown"):
            read_graph(path)
