"""From whatever names a network to its predicted figures. Works with the base install."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.architecture import Architecture, BlockSpec
from nas.cost import count_ops
from nas.errors import InputError, MissingExtraError, ModelFileError, SpaceError, UnknownNameError
from nas.hardware.energy import modelled_energy
from nas.hardware.predictor import Part
from nas.hardware.profile import load_profile
from nas.metrics import Metric
from nas.ops import Op, lower_block
from nas.space import load_space, reference_blocks, reference_names
from nas.target import Target

__all__ = ["NamedNetwork", "Prediction", "network_of", "predict_network"]


@dataclass(frozen=True, slots=True)
class NamedNetwork:
    """A network and what it is called.

    Attributes:
        model: what the user called it.
        parts: its blocks, or the operators of a graph that is not of our making, in order.
        names: of the parts.
        unknown: operators that no cost is known for.
        notes: what to say beside the prediction.
    """

    model: str
    parts: tuple[Part, ...]
    names: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of_blocks(cls, model: str, blocks: Sequence[BlockSpec]) -> NamedNetwork:
        return cls(model, tuple(blocks), tuple(block.name for block in blocks))


@dataclass(frozen=True, slots=True)
class Prediction:
    """Figures of a network on a target.

    Attributes:
        in_range: whether the network is like those that the predictor was fitted on.
        blocks: (name, MACs, seconds) in order; seconds are the predictor's without the cost of a run as such.
        notes: what else to know, one sentence each.
    """

    model: str
    target: Target
    in_range: bool
    metrics: dict[str, Metric]
    blocks: tuple[tuple[str, int, float], ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The form of `nas predict --json`."""
        return {
            "schema": 1,
            "model": self.model,
            "target": self.target.to_dict(),
            "in_range": self.in_range,
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
            "blocks": [
                {"name": name, "macs": macs, "latency_s": {"value": seconds, "unit": "s", "source": "predicted"}}
                for name, macs, seconds in self.blocks
            ],
        }

    def lines(self) -> list[str]:
        """For people."""
        latency, energy = self.metrics["latency_s"], self.metrics["energy_j"]
        shown = [
            f"latency   {_band(latency, 'ms')}   [{latency.source}]",
            f"energy    {_band(energy, 'mJ')}   [{energy.source}, {energy.scope}]",
            f"MACs      {self.metrics['macs'].value / 1e6:.4g} M   [counted]",
            f"params    {self.metrics['params'].value / 1e6:.4g} M   [counted]",
            f"weights   {self.metrics['size_bytes'].value / 2**20:.3g} MiB   [counted]",
            f"memory    {self.metrics['peak_memory_bytes'].value / 2**20:.3g} MiB, weights and activations   [counted]",
        ]
        if not self.in_range:
            shown.append("outside the range of what was measured: the band is widened")
        shown += self.notes
        total = sum(seconds for _, _, seconds in self.blocks) or 1.0
        width = max(12, *(len(name) for name, _, _ in self.blocks))
        return shown + [f"  {name:<{width}} {macs / 1e6:8.2f} M {s * 1e3:8.3f} ms {s / total:5.0%}" for name, macs, s in self.blocks]


def _band(metric: Metric, unit: str) -> str:
    """Value and 90 % band in thousandths of the unit."""
    band = "" if metric.low is None or metric.high is None else f" (90 % band {metric.low * 1e3:.3g} to {metric.high * 1e3:.3g})"
    return f"{metric.value * 1e3:.3g} {unit}{band}"


def network_of(model: str, allow_unknown: bool = False) -> NamedNetwork:
    """A reference architecture, an architecture's JSON file, or an ONNX file of anyone's.

    Args:
        allow_unknown: operators of a graph that no cost is known for count as a pass over their tensors, instead of being refused.

    Raises:
        UnknownNameError: neither a reference nor a file.
        ModelFileError: a file that cannot be read, or with operators that no cost is known for.
    """
    path = Path(model)
    if path.suffix == ".onnx" and path.is_file():
        return _from_onnx(path, allow_unknown)
    if path.suffix == ".json" and path.is_file():
        return NamedNetwork.of_blocks(model, _from_json(path))
    if path.suffix in (".onnx", ".json"):
        raise ModelFileError(f"{model}: there is no such file")
    if model not in reference_names():
        raise UnknownNameError("model", model, reference_names(), hint="(a path to an .onnx or .json file works too)")
    return NamedNetwork.of_blocks(model, reference_blocks(model))


def _from_onnx(path: Path, allow_unknown: bool) -> NamedNetwork:
    """Our own exports say what their blocks are; the graphs of others are read, which needs `onnx`."""
    from nas.hardware.onnx_file import read_onnx
    from nas.hardware.onnx_graph import lower_graph

    try:
        file = read_onnx(path)
    except MissingExtraError:
        from nas.hardware.runtimes.onnxruntime import read_metadata

        text = read_metadata(path).get("blocks")
        if text is None:
            raise
        return NamedNetwork.of_blocks(str(path), _blocks(str(path), text))
    if "blocks" in file.metadata:
        return NamedNetwork.of_blocks(str(path), _blocks(str(path), file.metadata["blocks"]))
    graph = lower_graph(file, str(path), allow_unknown)
    notes = []
    if graph.left_out:
        notes.append(f"left out as normalisation of the input: {', '.join(graph.left_out)}")
    if graph.unknown:
        notes.append(f"no cost is known for {', '.join(graph.unknown)}: counted as a pass over their tensors")
    return NamedNetwork(str(path), graph.ops, graph.names, graph.unknown, tuple(notes))


def _from_json(path: Path) -> tuple[BlockSpec, ...]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ModelFileError(f"{path}: cannot be read as JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise ModelFileError(f'{path}: an architecture is {{"space": NAME, "genes": {{...}}}}, got {type(data).__name__}')
    if "blocks" in data:
        return _blocks(str(path), json.dumps(data["blocks"]))
    try:
        arch = Architecture.from_dict(data)
        space = load_space(arch.space)
        return space.decode(space.canonical(dict(arch.genes)))
    except InputError as exc:
        raise ModelFileError(f"{path}: {exc}") from exc


def _blocks(where: str, text: str) -> tuple[BlockSpec, ...]:
    try:
        items = json.loads(text)
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            raise ModelFileError(f"{where}: blocks must be a list of objects")
        return tuple(BlockSpec.from_dict(item) for item in items)
    except ModelFileError:
        raise
    except (ValueError, SpaceError) as exc:
        raise ModelFileError(f"{where}: {exc}") from exc


def predict_network(network: NamedNetwork, device: str, runtime: str | None, precision: str | None, threads: int | None) -> Prediction:
    """Counts, predicted latency and modelled energy.

    Raises:
        UnknownNameError, InputError: as the profile says.
    """
    profile = load_profile(device)
    target = profile.target(runtime, precision, threads)
    predictor = profile.predictor(target)
    latency = predictor.predict(network.parts, target.threads)
    ops = [_ops(part) for part in network.parts]
    cost = count_ops([op for each in ops for op in each], target.precision)
    metrics = {"latency_s": latency, "energy_j": modelled_energy(latency, profile.power, target.threads), **cost.metrics()}
    seconds = predictor.predict_blocks(network.parts, target.threads)
    parts = tuple((name, sum(op.macs for op in each), part_s) for name, each, part_s in zip(network.names, ops, seconds, strict=True))
    in_range = predictor.in_range(network.parts) and not network.unknown
    return Prediction(network.model, target, in_range, metrics, parts, network.notes)


def _ops(part: Part) -> tuple[Op, ...]:
    return (part,) if isinstance(part, Op) else lower_block(part)
