"""Training with rounding: the network computes what its int8 file does, learns through the rounding, and its file is really int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from nas.compress.fake_quant import ActivationQuant, FakeQuantNetwork, QuantConv, QuantLinear, _rounded
from nas.compress.int8 import Int8Maker
from nas.compress.parity import Reference, check_onnx, check_openvino
from nas.compress.qdq import export_fake_quant
from nas.config import TrainRecipe
from nas.errors import TrainingError
from nas.hardware.export import Deployed, deployment_metadata, export_onnx
from nas.hardware.runtimes.onnxruntime import OnnxRuntime, read_metadata
from nas.hardware.stamp import is_as_exported
from nas.models.network import Network, recalibrate
from nas.training.data import load_data
from nas.training.evaluate import calibration_images
from nas.training.finetune import fit
from tests.spaces import make_space, rich_space

MEAN, STD = (0.5,), (0.29,)
OFF = 0.01
"""Mean difference of a logit between torch and the int8 file, over the standard deviation of logits: what is left is the rounding of
values that lie between two levels but for the last bit of a float."""
RECIPE = TrainRecipe(batch_size=64, epochs=3, finetune_epochs=3, finetune_lr=0.2, flip=False, augment=False)


def images(count: int = 64, size: int = 12) -> Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(1))


def trained(rich: bool) -> Network:
    """Weights of a normal scale; with squeeze-excite, hardswish, shuffles and two linear layers where `rich`."""
    space = rich_space() if rich else make_space()
    arch = space.canonical({**dict(space.largest.genes), "s2.b2.op": "k3_e2_g2"}) if rich else space.largest
    torch.manual_seed(0)
    network = Network(space.decode(arch))
    for parameter in network.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    size = network.blocks[0].in_size
    recalibrate(network, [(images(size=size) - MEAN[0]) / STD[0]])
    return network


@pytest.mark.parametrize("rich", [False, True])
def test_the_file_says_what_the_network_says(rich: bool, tmp_path: Path) -> None:
    network = trained(rich)
    pixels = images(size=network.blocks[0].in_size)
    fake = FakeQuantNetwork(network, [(pixels - MEAN[0]) / STD[0]])
    said = deployment_metadata(make_space().largest, ["a"] * 10, MEAN, STD, network.blocks[0].in_size)
    path = tmp_path / "int8.onnx"
    export_fake_quant(fake, MEAN, STD, path, said)
    reference = Reference.of(Deployed(fake, MEAN, STD), lambda: [(pixels, torch.zeros(64, dtype=torch.int64))])
    exact = Reference.of(Deployed(network, MEAN, STD), reference.batches)
    spread = float(np.std(reference.logits[0]))
    session_logits = _logits(path, pixels)
    assert np.abs(session_logits - reference.logits[0]).mean() < OFF * spread
    assert np.abs(reference.logits[0] - exact.logits[0]).mean() > 0  # it does round
    for check in (check_onnx(path, reference, "int8", np.inf), check_openvino(path, reference, "int8", np.inf)):
        assert check.agreement > 0.95
    assert is_as_exported(path)
    assert read_metadata(path).keys() >= {"classes", "blocks", "preprocessing"}


def test_the_file_is_int8_for_the_runtime(tmp_path: Path) -> None:
    network = trained(rich=False)
    fake = FakeQuantNetwork(network, [images(size=8)])
    export_fake_quant(fake, MEAN, STD, tmp_path / "int8.onnx", {})
    proto = onnx.load(tmp_path / "int8.onnx")
    large = [each for each in proto.graph.initializer if each.data_type == onnx.TensorProto.FLOAT and np.prod(each.dims) > 64]
    assert not large
    heavy = [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm")]
    made = {output: node.op_type for node in proto.graph.node for output in node.output}
    assert all(made[name] == "DequantizeLinear" for node in heavy for name in node.input[1:])
    found = OnnxRuntime().inspect(tmp_path / "int8.onnx", 1)
    assert found.precision == "int8"
    assert not [each for each in found.foreign if "Conv" in each]


def test_weights_lie_on_a_grid_of_their_channel() -> None:
    fake = FakeQuantNetwork(trained(rich=True), [images()])
    layers = [module for module in fake.modules() if isinstance(module, QuantConv | QuantLinear)]
    assert all(len(layer.feeds) == 1 for layer in layers)
    assert layers[0].feeds[0] is fake.entry
    for layer in layers:
        weight, _ = _rounded(layer)
        steps = weight.flatten(1) / (layer.weight.abs().flatten(1).amax(1, keepdim=True) / 127)
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
        assert steps.abs().max() < 127.01


def test_zero_is_a_level() -> None:
    quant = ActivationQuant()
    quant.calibrating = True
    quant(torch.tensor([-0.3, 1.7]))
    quant.calibrating = False
    quant.eval()
    assert quant(torch.zeros(1)).item() == 0
    assert quant(torch.tensor([5.0])).item() == pytest.approx(1.7, abs=0.01)
    quant.train()(torch.tensor([3.7]))
    assert float(quant.high) == pytest.approx(1.7 + 0.01 * 2.0)


def test_it_learns_through_the_rounding() -> None:
    data = load_data("digits", 8, 0)
    network = trained(rich=False)
    recalibrate(network, calibration_images(data))
    fake = FakeQuantNetwork(network, calibration_images(data))
    fitted = fit(fake, None, data, RECIPE, 0, epochs=2, lr=0.05)
    assert fitted.after > fitted.before + 30


def test_without_images_there_are_no_ranges() -> None:
    with pytest.raises(TrainingError, match="calibrate"):
        FakeQuantNetwork(trained(rich=False), [])


def test_a_large_drop_is_trained_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every drop is too large here, so that the training runs; the better of both files is kept."""
    data = load_data("digits", 8, 0)
    network = trained(rich=False)
    recalibrate(network, calibration_images(data))
    fit(network, None, data, RECIPE, 0, epochs=2, lr=0.2)
    export_onnx(Deployed(network, data.mean, data.std), network.blocks, tmp_path / "fp32.onnx", {})
    made = Int8Maker(data, RECIPE, 0, most_drop=-1.0).make(network, tmp_path / "fp32.onnx", tmp_path / "int8.onnx", {})
    assert made.aware is not None
    assert made.words.startswith("trained with rounding (2 epochs)") == made.is_aware
    plain = Int8Maker(data, RECIPE, 0, most_drop=1.0).make(network, tmp_path / "fp32.onnx", tmp_path / "plain.onnx", {})
    assert (plain.aware, plain.after_training) == (None, made.after_training)
    monkeypatch.setattr("nas.compress.int8.SAME_CLASS", 1.1)
    other = Int8Maker(data, RECIPE, 0, most_drop=-1.0).make(network, tmp_path / "fp32.onnx", tmp_path / "other.onnx", {})
    assert (other.aware, other.after_training) == (None, made.after_training)
    assert "; training with rounding failed: aware-other.onnx: the same class as in torch for " in other.words
    assert {path.name for path in tmp_path.iterdir()} == {"fp32.onnx", "int8.onnx", "plain.onnx", "other.onnx"}


def _logits(path: Path, pixels: Tensor) -> np.ndarray:
    from nas.hardware.runtimes.onnxruntime import open_session

    return np.asarray(open_session(path, 1).run(None, {"images": pixels.numpy()})[0])
