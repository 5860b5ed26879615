"""From whatever names a network to its predicted figures. Works with the base install."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.architecture import Architecture, BlockSpec
from nas.cost import BYTES_PER_ELEMENT, count, count_ops
from nas.errors import InputError, MissingExtraError, ModelFileError, SpaceError, UnknownNameError
from nas.hardware.predictor import Part
from nas.hardware.profile import DeviceProfile, load_profile
from nas.hardware.stamp import is_as_exported
from nas.metrics import Metric
from nas.ops import Op, lower_block
from nas.report.units import digits
from nas.space import load_space, reference_blocks, reference_names
from nas.target import Target

__all__ = ["ArchitectureFile", "NamedNetwork", "Prediction", "network_of", "predict_network", "read_architecture"]

SCHEMA = 1
"""Of architecture.json."""


@dataclass(frozen=True, slots=True)
class NamedNetwork:
    """A network and what it is called.

    Attributes:
        model: what the user called it.
        parts: its blocks, or the operators of a graph that is not of our making, in order.
        names: of the parts.
        unknown: operators that no cost is known for.
        notes: what to say beside the prediction.
        precision: of a file's arithmetic; None where it is not said: a description can be run in any.
    """

    model: str
    parts: tuple[Part, ...]
    names: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    precision: str | None = None

    @classmethod
    def of_blocks(cls, model: str, blocks: Sequence[BlockSpec], precision: str | None = None) -> NamedNetwork:
        return cls(model, tuple(blocks), tuple(block.name for block in blocks), precision=precision)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Figures of a network on a target.

    Attributes:
        in_range: whether the network is like those that the predictor was fitted on.
        blocks: (name, MACs, seconds) in order; seconds are the predictor's without the cost of a run as such.
        notes: what else to know, one sentence each.
        is_measured: whether anything was measured on the device, or published of it.
        unknown: operators that no cost is known for: counts are at least what is said.
    """

    model: str
    target: Target
    in_range: bool
    metrics: dict[str, Metric]
    blocks: tuple[tuple[str, int, float], ...]
    notes: tuple[str, ...] = ()
    is_measured: bool = True
    unknown: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The form of `nas predict --json`, and where it applies what `lines` tells besides: "at_least" names the metrics that leave out
        what is "unknown"."""
        further = {
            "unknown": list(self.unknown),
            "at_least": [name for name, metric in self.metrics.items() if self.unknown and metric.source == "counted"],
            "notes": list(self.notes),
        }
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
            **({} if self.is_measured else {"is_measured": False}),
            **{name: told for name, told in further.items() if told},
        }

    def lines(self) -> list[str]:
        """For people."""
        latency, energy = self.metrics["latency_s"], self.metrics.get("energy_j")
        least = "at least " if self.unknown else ""
        shown = [
            f"latency   {_band(latency, 'ms')}   [{latency.source}]",
            "energy    unknown" if energy is None else f"energy    {_band(energy, 'mJ')}   [{energy.source}, {energy.scope}]",
            f"MACs      {least}{digits(self.metrics['macs'].value / 1e6, 4)} M   [counted]",
            f"params    {least}{digits(self.metrics['params'].value / 1e6, 4)} M   [counted]",
            f"weights   {least}{digits(self.metrics['size_bytes'].value / 2**20)} MiB   [counted]",
            f"memory    {least}{digits(self.metrics['peak_memory_bytes'].value / 2**20)} MiB, weights and activations   [counted]",
        ]
        if not self.is_measured:
            shown.append("nothing was measured: the band is that of the chip's facts")
        elif not self.in_range:
            shown.append("outside the range of what was measured: the band is widened")
        shown += self.notes
        total = sum(seconds for _, _, seconds in self.blocks) or 1.0
        width = max(12, *(len(name) for name, _, _ in self.blocks))
        return shown + [f"  {name:<{width}} {macs / 1e6:8.2f} M {s * 1e3:8.3f} ms {s / total:5.0%}" for name, macs, s in self.blocks]


def _band(metric: Metric, unit: str) -> str:
    """Value and 90 % band in thousandths of the unit."""
    band = "" if metric.low is None or metric.high is None else f" (90 % band {digits(metric.low * 1e3)} to {digits(metric.high * 1e3)})"
    return f"{digits(metric.value * 1e3)} {unit}{band}"


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
        file = read_architecture(path)
        return replace(NamedNetwork.of_blocks(model, file.blocks), notes=file.notes)
    if path.suffix in (".onnx", ".json"):
        raise ModelFileError(f"{model}: there is no such file")
    if model not in reference_names():
        raise UnknownNameError("model", model, reference_names(), hint="(a path to an .onnx or .json file works too)")
    return NamedNetwork.of_blocks(model, reference_blocks(model))


def _from_onnx(path: Path, allow_unknown: bool) -> NamedNetwork:
    """Our own exports say what their blocks are; other graphs, and those of exports that were edited since, are read: that needs `onnx`."""
    from nas.hardware.onnx_file import read_onnx
    from nas.hardware.onnx_graph import lower_graph

    try:
        file = read_onnx(path)
    except MissingExtraError:
        network = _from_own_export(path)
        if network is None:
            raise
        return network
    is_edited = "blocks" in file.metadata and is_as_exported(path) is False
    if "blocks" in file.metadata and not is_edited:
        return _as_it_says(path, _blocks(str(path), file.metadata["blocks"]), file.precision)
    graph = lower_graph(file, str(path), allow_unknown)
    notes = ["edited after its export: read from its graph"] if is_edited else []
    if graph.left_out:
        notes.append(f"left out as normalisation of the input: {', '.join(graph.left_out)}")
    if graph.unknown:
        notes.append(f"no cost is known for {', '.join(graph.unknown)}: counted as a pass over their tensors")
    if any(op.kind == "conv" and op.bias and op.role != "se" for op in graph.ops):
        notes.append("params are the file's: a batch norm folded into a bias counts one a channel, its blocks count scale and shift")
    return NamedNetwork(str(path), graph.ops, graph.names, graph.unknown, tuple(notes), file.precision)


def _from_own_export(path: Path) -> NamedNetwork | None:
    """Without `onnx`: what the file says of itself. None where it is not ours, was edited since, or only its graph tells its precision."""
    from nas.hardware.runtimes.onnxruntime import read_metadata

    text = read_metadata(path).get("blocks")
    if text is None or is_as_exported(path) is False:
        return None
    blocks, content = _blocks(str(path), text), path.read_bytes()
    if b"QuantizeLinear" in content:
        return _as_it_says(path, blocks, "int8")
    # Half the bytes: someone has converted it.
    return _as_it_says(path, blocks, "fp32") if len(content) >= count(blocks).weight_bytes else None


def _as_it_says(path: Path, blocks: tuple[BlockSpec, ...], precision: str | None) -> NamedNetwork:
    """One of our exports by its own words, with a note where nothing tells whether they are still true."""
    notes = () if is_as_exported(path) else ("carries no checksum: cannot tell whether it was edited after its export",)
    return replace(NamedNetwork.of_blocks(str(path), blocks, precision), notes=notes)


@dataclass(frozen=True, slots=True)
class ArchitectureFile:
    """What an architecture's JSON file says.

    Attributes:
        blocks: those that it states, or those of its genes.
        architecture: None where it states blocks alone.
        notes: what to say beside figures of the blocks.
    """

    blocks: tuple[BlockSpec, ...]
    architecture: Architecture | None = None
    notes: tuple[str, ...] = ()


def read_architecture(path: Path) -> ArchitectureFile:
    """An architecture's JSON file: genes of a space that it names, or blocks, or as models/<id>/architecture.json both.

    Raises:
        ModelFileError: it cannot be read, is of no such form, or its blocks are not those of its genes.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ModelFileError(f"{path}: cannot be read as JSON: {exc}") from exc
    if not isinstance(data, dict):
        raise ModelFileError(f'{path}: an architecture is {{"space": NAME, "genes": {{...}}}}, got {type(data).__name__}')
    if data.get("schema", SCHEMA) != SCHEMA:
        raise ModelFileError(f"{path}: has schema {data['schema']!r}, this version reads {SCHEMA}: upgrade hwnas")
    blocks = _blocks(str(path), json.dumps(data["blocks"])) if "blocks" in data else None
    told = data.get("architecture") if blocks else data
    if blocks and told is None:
        return ArchitectureFile(blocks)
    try:
        if not isinstance(told, dict):
            raise SpaceError(f"an architecture is an object, got {told!r}")
        arch = Architecture.from_dict(told)
        try:
            space = load_space(arch.space)
        except UnknownNameError:
            if blocks is None:
                raise
            return ArchitectureFile(blocks, arch, (f"space {arch.space!r} is not known here: these are the figures of the file's blocks",))
        if blocks:
            space = space.with_data(blocks[0].in_chs, blocks[-1].out_chs)
        decoded = space.decode(replace(space.canonical(dict(arch.genes)), widths=arch.widths))
    except InputError as exc:
        raise ModelFileError(f"{path}: {exc}") from exc
    if blocks is not None and blocks != decoded:
        raise ModelFileError(f"{path}: {_differing(blocks, decoded)}: leave out the blocks or the architecture, whichever is wrong")
    return ArchitectureFile(decoded, arch)


def _differing(blocks: Sequence[BlockSpec], decoded: Sequence[BlockSpec]) -> str:
    """The first difference between the blocks that a file states and those of its genes."""
    for stated, meant in zip(blocks, decoded, strict=False):
        if stated != meant:
            pairs = zip(stated.to_dict().items(), meant.to_dict().values(), strict=True)
            name, value, other = next((name, value, other) for (name, value), other in pairs if value != other)
            return f"block {stated.name!r} has {name} {value!r}, by the genes and widths beside it {other!r}"
    return f"it has {len(blocks)} blocks, by the genes and widths beside them {len(decoded)}"


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


def predict_network(
    network: NamedNetwork, device: str, runtime: str | None, precision: str | None, threads: int | None,
    together_with: Sequence[Target] = (),
) -> Prediction:  # fmt: skip
    """Counts, predicted latency and energy.

    Args:
        precision: None for the file's where it has one, else the profile's default. Another one than the file's is said in the notes.
        together_with: targets of the device whose joules are compared with these, so that all have one scope.

    Raises:
        UnknownNameError, InputError: as the profile says; a file in a precision that the device has no predictor for.
    """
    profile = load_profile(device)
    target = _target(network, profile, runtime, precision, threads)
    predictor = profile.predictor(target)
    latency = predictor.predict(network.parts, target.threads)
    ops = [_ops(part) for part in network.parts]
    cost = count_ops([op for each in ops for op in each], target.precision)
    energy = profile.energy_model(target, together_with)
    metrics = {"latency_s": latency, **cost.metrics()}
    if energy is not None:
        metrics["energy_j"] = energy.predict(network.parts, latency)
    seconds = predictor.predict_blocks(network.parts, target.threads)
    parts = tuple((name, sum(op.macs for op in each), part_s) for name, each, part_s in zip(network.names, ops, seconds, strict=True))
    in_range = predictor.in_range(network.parts) and not network.unknown
    notes = list(network.notes)
    if energy is None:
        notes.append(f"energy is not known: the profile of {profile.name} has no power data")
    if network.precision not in (None, target.precision):
        notes.append(f"the file is {network.precision}: these are the figures of the same network in {target.precision}")
    return Prediction(network.model, target, in_range, metrics, parts, tuple(notes), predictor.is_measured, network.unknown)


def _target(network: NamedNetwork, profile: DeviceProfile, runtime: str | None, precision: str | None, threads: int | None) -> Target:
    """Never a precision that neither the file nor the user has."""
    if precision is not None or network.precision is None:
        return profile.target(runtime, precision, threads)
    if network.precision not in BYTES_PER_ELEMENT:
        known = ", ".join(BYTES_PER_ELEMENT)
        raise InputError(f"{network.model} is {network.precision}: latency is predicted in {known}; name one by --precision")
    usual = profile.target(runtime, None, threads)  # what is wrong beside the precision
    try:
        return profile.target(runtime, network.precision, threads)
    except InputError as exc:
        measure = f"nas measure --device {profile.name} --precision int8, or " if network.precision == "int8" else ""
        raise InputError(
            f"{network.model} is {network.precision}, and {exc}. Try {measure}--precision {usual.precision} for the same network in it"
        ) from exc


def _ops(part: Part) -> tuple[Op, ...]:
    return (part,) if isinstance(part, Op) else lower_block(part)
