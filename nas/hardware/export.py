"""ONNX and OpenVINO files of a network. Floor 3: the only part of `hardware` that knows torch. `nas.compress.parity` checks them."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from nas.architecture import Architecture, BlockSpec
from nas.errors import TargetError
from nas.files import write_atomic
from nas.hardware.stamp import STAMP, UNSTAMPED, stamped
from nas.models.network import Network

__all__ = [
    "OPSET",
    "Deployed",
    "deployment_metadata",
    "export_blocks",
    "export_onnx",
    "export_openvino",
    "fix_batch",
    "save_onnx",
    "slim",
]

OPSET = 20


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
    save_onnx(proto, path, {**metadata, "blocks": json.dumps([block.to_dict() for block in blocks]), "producer": "hwnas"})


def save_onnx(proto: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a model that the checker accepts, with exactly this metadata and a checksum of its own (`nas.hardware.stamp`). Atomic.

    Raises:
        TargetError: the checker refuses it.
    """
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {**metadata, STAMP: UNSTAMPED})
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise TargetError(f"{path}: is no valid ONNX file: {' '.join(str(exc).split())[:200]}") from exc
    write_atomic(path, stamped(proto.SerializeToString()))


def slim(graph: onnx.GraphProto) -> None:
    """Takes out of a quantised graph what tells nothing: names of nodes, and constants that another constant equals (zero points)."""
    kept: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    renamed: dict[str, str] = {}
    for tensor in list(graph.initializer):
        content = onnx.numpy_helper.to_array(tensor).tobytes()
        name = kept.setdefault((tensor.data_type, tuple(tensor.dims), content), tensor.name)
        if name != tensor.name:
            renamed[tensor.name] = name
            graph.initializer.remove(tensor)
    for node in graph.node:
        node.ClearField("name")
        for index, used in enumerate(node.input):
            node.input[index] = renamed.get(used, used)
    del graph.value_info[:]


def fix_batch(source: Path, path: Path) -> None:
    """Writes `path`, the ONNX file `source` with its open batch fixed to 1: the same nodes and weights."""
    proto = onnx.load(source)
    for value in (*proto.graph.input, *proto.graph.output):
        size = value.type.tensor_type.shape.dim[0]
        size.ClearField("dim_param")
        size.dim_value = 1
    del proto.graph.value_info[:]  # shapes within, which name the open batch
    said = {entry.key: entry.value for entry in proto.metadata_props if entry.key != STAMP}
    save_onnx(proto, path, said)


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


def deployment_metadata(
    arch: Architecture, classes: Sequence[str], mean: Sequence[float], std: Sequence[float], size: int
) -> dict[str, str]:
    """What a file says of itself: architecture, classes in the order of the logits, and what its pixels must be."""
    preprocessing = {
        "input": "RGB or grey pixels / 255, NCHW float32",
        "layout": "NCHW",
        "channels": "grey" if len(mean) == 1 else "RGB" if len(mean) == 3 else str(len(mean)),
        "size": size,
        "resize": "the centre square, bilinear",
        "scale": 1 / 255,
        "folded_mean": list(mean),
        "folded_std": list(std),
    }
    return {"architecture": arch.to_json(), "classes": json.dumps(list(classes)), "preprocessing": json.dumps(preprocessing)}


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
