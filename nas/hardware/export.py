"""ONNX and OpenVINO files of a network, checked against torch. Floor 3: the only part of `hardware` that knows torch."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.architecture import Architecture, BlockSpec
from nas.errors import TargetError
from nas.files import write_atomic
from nas.models.network import Network

__all__ = [
    "OPSET",
    "Deployed",
    "Parity",
    "check_onnx",
    "check_openvino",
    "deployment_metadata",
    "export_blocks",
    "export_onnx",
    "export_openvino",
]

OPSET = 20
TOLERANCE = 1e-4
"""Largest absolute difference of logits between torch and a runtime in fp32."""


class Deployed(nn.Module):
    """What is shipped: pixels 0..1 in, logits out. Normalisation is inside, so that nobody can forget it."""

    def __init__(self, network: Network, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network((pixels - self.mean) * self.scale)
        return logits


@dataclass(frozen=True, slots=True)
class Parity:
    """How an exported file compares with torch on the same images.

    Attributes:
        max_error: largest absolute difference of a logit.
        agreement: share of images with the same class.
        correct: images that the runtime classifies right.
    """

    max_error: float
    agreement: float
    correct: int
    images: int


def export_onnx(model: nn.Module, blocks: Sequence[BlockSpec], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes an ONNX file with a dynamic batch, batch norm folded, `blocks` and `metadata` (JSON texts) inside. Atomic.

    Raises:
        TargetError: the exporter failed.
    """
    example = torch.zeros(1, blocks[0].in_chs, blocks[0].in_size, blocks[0].in_size)
    model = model.eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        scratch = Path(folder) / "model.onnx"
        # The TorchScript exporter is deprecated, and ten times faster than its successor for the same graph (FINDINGS.md 1).
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                model, (example,), scratch, opset_version=OPSET, input_names=["images"], output_names=["logits"],
                dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}}, dynamo=False,
            )  # fmt: skip
            proto = onnx.load(scratch)
        except Exception as first:
            try:
                batch = torch.export.Dim("batch", min=1)
                program = torch.onnx.export(
                    model, (example.repeat(2, 1, 1, 1),), input_names=["images"], output_names=["logits"], dynamic_shapes=({0: batch},),
                    opset_version=OPSET, dynamo=True, verbose=False,
                )  # fmt: skip
                assert program is not None
                proto = program.model_proto
            except Exception as second:
                raise TargetError(f"ONNX export failed: {first}; and with the other exporter: {second}") from second
    for key, value in {**metadata, "blocks": json.dumps([block.to_dict() for block in blocks]), "producer": "hwnas"}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(proto, full_check=True)
    write_atomic(path, proto.SerializeToString())


def export_blocks(blocks: Sequence[BlockSpec], path: Path) -> None:
    """An ONNX file with random weights: for measuring latency, which does not depend on them.

    Batch norm gets the statistics of random images first, so that activations keep a normal scale (denormal numbers are slow).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(blocks).train()
        with torch.no_grad():
            network(torch.randn(4, blocks[0].in_chs, blocks[0].in_size, blocks[0].in_size))
    export_onnx(network.eval(), blocks, path, {})


def deployment_metadata(arch: Architecture, classes: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> dict[str, str]:
    """What a file says of itself."""
    return {
        "architecture": arch.to_json(),
        "classes": json.dumps(list(classes)),
        "preprocessing": json.dumps(
            {"input": "RGB or grey pixels / 255, NCHW float32", "folded_mean": list(mean), "folded_std": list(std)}
        ),
    }


def check_onnx(path: Path, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Parity:
    """Compares ONNX Runtime with torch on batches of (pixels 0..1, labels).

    Raises:
        TargetError: a logit differs by more than 1e-4.
    """
    from nas.hardware.runtimes.onnxruntime import open_session

    session = open_session(path, threads=1)
    return _compare(path, model, batches, lambda pixels: session.run(["logits"], {"images": pixels})[0])


def export_openvino(onnx_path: Path, path: Path) -> None:
    """Writes `path` (.xml) and its .bin in fp32 from an ONNX file.

    Raises:
        TargetError: the conversion failed.
    """
    import openvino

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(openvino.convert_model(onnx_path), path, compress_to_fp16=False)
    except Exception as exc:  # OpenVINO's errors have no common class below Exception
        raise TargetError(f"{onnx_path}: OpenVINO cannot convert it: {' '.join(str(exc).split())[:200]}") from exc


def check_openvino(path: Path, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Parity:
    """Compares OpenVINO on the CPU, precision pinned to f32, with torch on batches of (pixels 0..1, labels).

    Raises:
        TargetError: a logit differs by more than 1e-4.
    """
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return _compare(path, model, batches, lambda pixels: compiled(pixels)[0])


def _compare(path: Path, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], infer: object) -> Parity:
    worst, agree, correct, total = 0.0, 0, 0, 0
    for pixels, labels in batches:
        with torch.no_grad():
            expected = model(pixels).numpy()
        found: NDArray[np.float32] = infer(np.ascontiguousarray(pixels.numpy()))  # type: ignore[operator]
        worst = float(np.maximum(worst, np.abs(found - expected).max()))  # NaN stays NaN
        agree += int((found.argmax(1) == expected.argmax(1)).sum())
        correct += int((found.argmax(1) == labels.numpy()).sum())
        total += len(labels)
    if not worst <= TOLERANCE:
        raise TargetError(f"{path}: the exported file differs from torch by {worst:.2g}, more than {TOLERANCE:g}")
    return Parity(worst, agree / total, correct, total)
