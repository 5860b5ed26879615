"""Exported files do what torch does, whoever runs them, and one that does not is refused by its name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from nas.architecture import Architecture, BlockSpec
from nas.compress.parity import Reference, check_onnx, check_openvino
from nas.errors import InputError, TargetError
from nas.hardware.export import (
    OPSET,
    Deployed,
    deployment_metadata,
    export_blocks,
    export_onnx,
    export_openvino,
    fix_batch,
)
from nas.hardware.runtimes.onnxruntime import open_session, read_metadata
from nas.hardware.stamp import is_as_exported
from nas.models.network import Network, recalibrate
from nas.prediction import network_of
from nas.space import reference_blocks
from tests.spaces import make_space, rich_space

MEAN, STD = (0.3,), (0.4,)
ARCH = Architecture("tiny", (("resolution", 12),))


def network(blocks: Sequence[BlockSpec]) -> Network:
    torch.manual_seed(0)
    found = Network(blocks)
    recalibrate(found, [torch.randn(8, blocks[0].in_chs, blocks[0].in_size, blocks[0].in_size)])
    return found


def images(blocks: tuple[BlockSpec, ...], *counts: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shape = (blocks[0].in_chs, blocks[0].in_size, blocks[0].in_size)
    labels = [torch.randint(blocks[-1].out_chs, (count,), generator=generator) for count in counts]
    return [(torch.rand(count, *shape, generator=generator), label) for count, label in zip(counts, labels, strict=True)]


def reference(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> Reference:
    return Reference.of(model, lambda: batches)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Deployed, Network]:
    """Squeeze-excite, hardswish, channel shuffle, residuals and a linear head."""
    space = rich_space()
    one = network(space.decode(space.canonical({**dict(space.largest.genes), "s2.b2.op": "k3_e2_g2"})))
    model = Deployed(one, MEAN, STD)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(model, one.blocks, path, deployment_metadata(ARCH, ["cat", "dog"], MEAN, STD, 12))
    return path, model, one


def test_onnx_runtime_says_what_torch_says(exported: tuple[Path, Deployed, Network]) -> None:
    path, model, one = exported
    batches = images(one.blocks, 1, 7, 20)
    parity = check_onnx(path, reference(model, batches))
    assert parity.max_error < 1e-5
    assert parity.agreement == 1.0
    assert parity.images == 28
    with torch.no_grad():
        assert parity.correct == sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)


def test_openvino_says_what_torch_says(exported: tuple[Path, Deployed, Network], tmp_path: Path) -> None:
    path, model, one = exported
    target = tmp_path / "deep" / "model.xml"
    export_openvino(path, target)
    assert {file.name for file in target.parent.iterdir()} == {"model.xml", "model.bin"}
    batches = images(one.blocks, 3, 20)
    parity = check_openvino(target, reference(model, batches))
    assert parity.max_error < 1e-4
    assert (parity.agreement, parity.images) == (1.0, 23)
    assert parity.correct == check_onnx(path, reference(model, batches)).correct


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "mnasnet_a1", "efficientnet_b0"])
def test_blocks_of_published_networks_are_exported(name: str, tmp_path: Path) -> None:
    """Relu6, hardswish, silu and the gates of squeeze-excite, in five blocks with a classifier behind them."""
    first, *others = reference_blocks(name)[10:15]
    chs = others[-1].out_chs
    tail = (BlockSpec("pool", "pool", chs, chs, 8), BlockSpec("classifier", "linear", chs, 10, 1))
    one = network((dataclasses.replace(first, in_size=16), *others, *tail))
    model = Deployed(one, (0.5,) * first.in_chs, (0.25,) * first.in_chs)
    export_onnx(model, one.blocks, tmp_path / "model.onnx", {})
    assert check_onnx(tmp_path / "model.onnx", reference(model, images(one.blocks, 4))).max_error < 1e-4


def test_normalisation_is_inside(exported: tuple[Path, Deployed, Network]) -> None:
    path, model, one = exported
    ((pixels, _),) = images(one.blocks, 4)
    with torch.no_grad():
        expected = one((pixels - 0.3) / 0.4)
        torch.testing.assert_close(model(pixels), expected, rtol=1e-5, atol=1e-5)
    found = open_session(path, 1).run(["logits"], {"images": pixels.numpy()})[0]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_the_shipped_network_is_a_copy(exported: tuple[Path, Deployed, Network]) -> None:
    _, model, one = exported
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in one.parameters()}
    assert not model.training


def test_any_batch_goes_in(exported: tuple[Path, Deployed, Network]) -> None:
    path, _, one = exported
    session = open_session(path, 1)
    (inputs,), (outputs,) = session.get_inputs(), session.get_outputs()
    assert (inputs.name, inputs.type, inputs.shape) == ("images", "tensor(float)", ["batch", 1, 12, 12])
    assert (outputs.name, outputs.shape) == ("logits", ["batch", 10])
    ((pixels, _),) = images(one.blocks, 9)
    together = session.run(None, {"images": pixels.numpy()})[0]
    for number in range(9):
        alone = session.run(None, {"images": pixels[number : number + 1].numpy()})[0]
        np.testing.assert_allclose(alone[0], together[number], atol=1e-5)


def test_a_fixed_batch_is_the_same_network(exported: tuple[Path, Deployed, Network], tmp_path: Path) -> None:
    path, model, one = exported
    fix_batch(path, tmp_path / "one.onnx")
    (entry,), (out,) = (getattr(open_session(tmp_path / "one.onnx", 1), get)() for get in ("get_inputs", "get_outputs"))
    assert (entry.shape, out.shape) == ([1, 1, 12, 12], [1, 10])
    assert {**read_metadata(path), "sha256": ""} == {**read_metadata(tmp_path / "one.onnx"), "sha256": ""}
    found = check_onnx(tmp_path / "one.onnx", reference(model, images(one.blocks, 5)).spread(3))
    assert (found.images, found.agreement) == (3, 1.0)
    assert onnx.load(path).graph.node == onnx.load(tmp_path / "one.onnx").graph.node


def test_some_of_the_images_are_of_all_classes(exported: tuple[Path, Deployed, Network]) -> None:
    """Sets are ordered by class."""
    _, model, one = exported
    ((pixels, _),) = images(one.blocks, 100)
    labels = torch.arange(100) // 10
    parts = tuple(zip(pixels.split(30), labels.split(30), strict=True))
    whole = Reference.of(model, lambda: parts)
    some = whole.spread(20)
    assert sorted({int(label) for _, label in some.batches()}) == list(range(10))
    for (pixel, label), logits in zip(some.batches(), some.logits, strict=True):
        (row,) = (number for number in range(100) if torch.equal(pixels[number], pixel[0]))
        assert label == labels[row]
        np.testing.assert_array_equal(logits[0], np.concatenate(whole.logits)[row])
    assert len(whole.spread(1000).logits) == 100


def test_an_edited_file_is_known_by_its_stamp(exported: tuple[Path, Deployed, Network], tmp_path: Path) -> None:
    path, _, _ = exported
    assert is_as_exported(path)
    assert is_as_exported(tampered(path, tmp_path / "other.onnx", lambda w: w * 2)) is False
    proto = onnx.load(path)
    del proto.metadata_props[:]
    (tmp_path / "bare.onnx").write_bytes(proto.SerializeToString())
    assert is_as_exported(tmp_path / "bare.onnx") is None


def test_batch_norm_is_folded_and_operators_are_plain(exported: tuple[Path, Deployed, Network]) -> None:
    proto = onnx.load(exported[0])
    kinds = {node.op_type for node in proto.graph.node}
    assert "BatchNormalization" not in kinds
    assert {"Conv", "GlobalAveragePool", "Gemm"} <= kinds
    assert {entry.domain: entry.version for entry in proto.opset_import} == {"": OPSET}


def test_a_file_says_what_it_is(exported: tuple[Path, Deployed, Network]) -> None:
    path, _, one = exported
    said = read_metadata(path)
    assert set(said) == {"architecture", "blocks", "classes", "preprocessing", "producer", "sha256"}
    assert said["producer"] == "hwnas"
    assert said["architecture"] == ARCH.to_json()
    assert json.loads(said["classes"]) == ["cat", "dog"]
    assert network_of(str(path)).parts == one.blocks


def test_a_network_that_is_only_measured_has_weights_of_a_normal_scale(tmp_path: Path) -> None:
    space = make_space()
    state = torch.random.get_rng_state()
    export_blocks(space.decode(space.largest), tmp_path / "one.onnx")
    export_blocks(space.decode(space.largest), tmp_path / "two.onnx")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert network_of(str(tmp_path / "one.onnx")).parts == space.decode(space.largest)
    logits = [
        open_session(tmp_path / name, 1).run(None, {"images": np.random.default_rng(0).random((1, 1, 8, 8), np.float32)})[0]
        for name in ("one.onnx", "two.onnx")
    ]
    np.testing.assert_array_equal(*logits)
    assert 1e-4 < np.abs(logits[0]).max() < 100


def tampered(path: Path, target: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The file with the weights of its last layer changed."""
    proto = onnx.load(path)
    last = next(node for node in reversed(proto.graph.node) if node.op_type == "Gemm")
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == last.input[1])
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), tensor.name))
    target.write_bytes(proto.SerializeToString())
    return target


@pytest.mark.parametrize(
    ("change", "word"),
    [(lambda w: w + np.float32(0.01), "differs from torch by 0"), (lambda w: w * np.float32(np.nan), "differs from torch by nan")],
    ids=["a little", "not a number"],
)
def test_a_file_that_was_tampered_with_is_refused_by_name(
    exported: tuple[Path, Deployed, Network], tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], word: str
) -> None:
    path, model, one = exported
    other = tampered(path, tmp_path / "other.onnx", change)
    batches = images(one.blocks, 20, 4)
    with pytest.raises(TargetError, match=rf"other\.onnx: the exported file {word}"):
        check_onnx(other, reference(model, batches))
    export_openvino(other, tmp_path / "other.xml")
    with pytest.raises(TargetError, match=rf"other\.xml: the exported file {word}"):
        check_openvino(tmp_path / "other.xml", reference(model, batches))
    # The last of several batches counts too.
    assert check_onnx(path, reference(model, batches)).images == 24


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no such operator")

    space = make_space()
    with pytest.raises(TargetError, match="ONNX export failed: no such operator"):
        export_onnx(Odd(), space.decode(space.smallest), tmp_path / "model.onnx", {})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(exported: tuple[Path, Deployed, Network], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    _, model, one = exported
    with pytest.raises(InputError, match="cannot write"):
        export_onnx(model, one.blocks, tmp_path / "file" / "model.onnx", {})


def test_openvino_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(TargetError, match=r"model\.onnx: OpenVINO cannot convert it"):
        export_openvino(tmp_path / "model.onnx", tmp_path / "model.xml")
