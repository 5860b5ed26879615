"""The card of a model, Markdown: one text of what is known of the model, of the files that are there and of the figures.

What it says lies in two files of a finalist's folder: architecture.json has what holds of the network wherever it runs (`Description`),
card.json what was the study's alone (`CardFacts`). The figures are the candidate's, as the study's front has them. No card is made
of another.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nas.architecture import Architecture
from nas.compress.check import Check
from nas.errors import InputError
from nas.metrics import Candidate, Metric, contradicts, measured_first, standard_error

__all__ = ["OF_SMALL_FILE", "CardFacts", "Description", "Figures", "Origin", "Shipment", "card", "is_of_another"]

SCHEMA = 1
"""Version of card.json."""
SMALL_FILE, OPEN_FILE, LABELS = "model.int8.onnx", "model.dynamic.onnx", "labels.txt"
OF_SMALL_FILE = frozenset({"accuracy_test_int8", "latency_int8_s"})
"""Figures that a candidate has beside those of an fp32 model."""
FOUND = ("trained", "measured")
"""Sources of figures that hold of a model's files as they were made, and of no others."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a card says of a network and its files, on whatever target, and which files these are: part of architecture.json.

    Attributes:
        classes: in the order of the logits.
        size: height and width of a picture, pixels.
        mean, std: of each channel; they are inside the files.
        int8: how the int8 file was made, or why there is none.
        checks: of all files.
        architecture: of the network.
        files: name to checksum (`nas.files.digest_of`), as they were tested.
    """

    classes: tuple[str, ...]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    int8: str
    checks: tuple[Check, ...]
    architecture: Architecture
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.classes or self.size < 1:
            raise InputError(f"a classifier has classes and pixels, got {len(self.classes)} and {self.size}")
        if not self.mean or len(self.mean) != len(self.std):
            raise InputError(f"each channel has a mean and a deviation, got {len(self.mean)} and {len(self.std)}")
        if not all(isinstance(each, str) for each in self.files.values()):
            raise InputError(f"each file has a checksum, got {dict(self.files)}")

    @classmethod
    def read(cls, path: Path) -> Description:
        """Of an architecture.json.

        Raises:
            InputError: it does not say all of this.
        """
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(told, dict):
                raise InputError(f"it must be an object, got {type(told).__name__}")
            said = told["preprocessing"]
            return cls(
                tuple(map(str, told["classes"])), int(said["size"]), tuple(map(float, said["folded_mean"])),
                tuple(map(float, said["folded_std"])), str(told["int8"]), tuple(map(Check.from_dict, told["checks"])),
                Architecture.from_dict(told["architecture"]), {**told.get("files", {})},
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as exc:  # InputError is a ValueError
            why = f"{exc} is missing" if isinstance(exc, KeyError) else exc
            raise InputError(f"{path}: was changed since it was written ({why}): delete it, and nas export makes it again") from exc


@dataclass(frozen=True, slots=True)
class Origin:
    """What a network was pruned from.

    Attributes:
        changes: of each metric that both have, before and after, as one predictor told them.
    """

    id: str
    changes: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, whole: Candidate, pruned: Candidate) -> Origin:
        both = [name for name in pruned.metrics if name in whole.metrics]
        return cls(whole.id, {name: (whole.metrics[name].value, pruned.metrics[name].value) for name in both})


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says of how a model came about: card.json.

    Attributes:
        title: the architecture in one line.
        data: name of the images that it was trained on.
        fingerprint: of these, at the model's size, or with the size that it is at.
        note: how it was trained.
        unmeasured: why a latency was not measured on the target.
        origin: what it was pruned from.
        metrics: when its files were made: the study's front has those of finalists alone, and of files that an export made again none.
        id: of the candidate; empty where an earlier version wrote it.
    """

    title: str
    data: str
    fingerprint: str
    note: str
    unmeasured: str = ""
    origin: Origin | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    id: str = ""

    def __post_init__(self) -> None:
        for name in ("title", "data", "fingerprint", "note", "unmeasured", "id"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} must be words, got {getattr(self, name)!r}")

    def figures_of(self, candidate: Candidate) -> Candidate:
        """The candidate with what was found of its files when they were made; what is counted or predicted stays as it is told now."""
        found = {name: metric for name, metric in self.metrics.items() if metric.source in FOUND or name not in candidate.metrics}
        known = {**candidate.metrics, **found}.items()
        return replace(candidate, metrics={name: each for name, each in known if name in self.metrics or each.source not in FOUND})

    def to_dict(self) -> dict[str, object]:
        """With "origin" only where something was pruned."""
        found: dict[str, object] = {
            "schema": SCHEMA, "id": self.id, "title": self.title, "data": {"name": self.data, "fingerprint": self.fingerprint},
            "note": self.note, "unmeasured": self.unmeasured,
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
        }  # fmt: skip
        if self.origin is None:
            return found
        changes = {name: list(pair) for name, pair in self.origin.changes.items()}
        return {**found, "origin": {"id": self.origin.id, "changes": changes}}

    @classmethod
    def read(cls, path: Path, candidate_id: str) -> CardFacts | None:
        """Of a candidate's card.json; None where there is none, as earlier versions left it.

        Raises:
            InputError: it is of a newer version or of another candidate, or does not hold together.
        """
        if not path.is_file():
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["schema"] != SCHEMA:
                raise InputError(f"schema {told['schema']!r}, this version reads {SCHEMA}: upgrade hwnas")
            data, known = told["data"], told.get("origin")
            changes = {name: (float(before), float(after)) for name, (before, after) in known["changes"].items()} if known else {}
            origin = Origin(str(known["id"]), changes) if known else None
            metrics = {name: Metric.from_dict(each) for name, each in told["metrics"].items()}
            found = cls(
                told["title"], data["name"], data["fingerprint"], told["note"], told["unmeasured"], origin, metrics, told.get("id", "")
            )
        except (AttributeError, KeyError, TypeError, ValueError) as exc:  # InputError is a ValueError
            why = f"{exc} is missing" if isinstance(exc, KeyError) else exc
            raise InputError(f"{path}: cannot be read ({why}); without this file the card says what the study's front does") from exc
        if found.id not in ("", candidate_id):
            raise InputError(f"{path} is of {found.id}, not {candidate_id}: delete it, and the card says what the study's front does")
        return found


@dataclass(frozen=True, slots=True)
class Figures:
    """What the figures of a card become when some of a model's files go out.

    Attributes:
        title: whose figures they are, a line above them.
        dropped: metrics that the candidate has of other files or of another target; none of `metrics` is lost by it.
        metrics: in their place.
        elsewhere: latencies of the same network on other targets, by the target's key.
    """

    title: str
    dropped: frozenset[str] = OF_SMALL_FILE
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    elsewhere: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shipment:
    """What goes out of a model.

    Attributes:
        files: names of those that go out: models, and labels.txt.
        figures: of which of them.
        checks: of files that were made for this.
        openvino_int8: how OpenVINO's int8 file was made, where there is one.
    """

    files: Collection[str]
    figures: Figures
    checks: Sequence[Check] = ()
    openvino_int8: str = ""


def card(candidate: Candidate, facts: CardFacts, model: Description, shipment: Shipment | None = None) -> str:
    """What the model is, what it wants, every figure with its source, how its files compare with torch, how it was made.

    Args:
        shipment: what goes out of it; None for the study's own card, of all files and with the candidate's figures.
    """
    figures = Figures("", frozenset()) if shipment is None else shipment.figures
    files = {LABELS, OPEN_FILE, *(check.file for check in model.checks)} if shipment is None else shipment.files
    kept = {name: metric for name, metric in candidate.metrics.items() if name not in figures.dropped}
    shown = measured_first({**kept, **figures.metrics})
    checks = [*(check for check in model.checks if check.file in files), *(shipment.checks if shipment else ())]
    lines = [
        f"# {candidate.id}",
        "",
        f"Image classifier for {len(model.classes)} classes of `{facts.data}`, found by hwnas for {candidate.target.key}.",
        "",
        f"- Architecture ({candidate.arch.space}): {facts.title}",
        *([f"- Channels after pruning, by group: {_widths(candidate)}"] if candidate.arch.widths else []),
        *_contract(model, files),
        f"- Data fingerprint: {facts.fingerprint}",
        f"- Training: {facts.note}",
        *([f"- int8: {model.int8}"] if shipment is None or SMALL_FILE in files else []),
        *([f"- int8 for OpenVINO: {shipment.openvino_int8}"] if shipment and shipment.openvino_int8 else []),
        "- Licence: not stated; that of the training images applies",
        "",
        "## Figures",
        "",
        *([figures.title, ""] if figures.title else []),
        "| metric | value | 90 % band or standard error | unit | source |",
        "|---|---|---|---|---|",
        *(_figure_row(name, metric) for name, metric in shown.items()),
    ]
    if contradicts(shown):
        lines += ["", "The measured latency is outside the 90 % band of the predicted one: count on the measured."]
    if facts.unmeasured:
        lines += ["", f"{facts.unmeasured[0].upper()}{facts.unmeasured[1:]}."]
    if figures.elsewhere:
        lines += _elsewhere(figures.elsewhere)
    if facts.origin is not None:
        lines += _pruned(facts.origin, figures.dropped)
    lines += [
        "",
        "## Files, run on the test images",
        "",
        "Accuracy of each file as its runtime classifies them; agreement and the largest difference of a logit are against torch in fp32.",
        "",
        "| file | precision | runtime | images | accuracy | same class as torch | largest difference |",
        "|---|---|---|---|---|---|---|",
        *map(_check_row, checks),
    ]
    return "\n".join(lines) + "\n"


def is_of_another(path: Path, arch: Architecture) -> bool:
    """Whether an architecture.json tells of another network, with files of which a folder was overwritten; not where nothing is told."""
    try:
        return Architecture.from_dict(json.loads(path.read_text(encoding="utf-8"))["architecture"]).arch_id != arch.arch_id
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _contract(model: Description, files: Collection[str]) -> list[str]:
    """What goes into the files that are there, and what comes out."""
    channels, size = len(model.mean), model.size
    chs = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    many = f"; [batch, {channels}, {size}, {size}] in {OPEN_FILE}" if OPEN_FILE in files else ""
    order = f"in the order of {LABELS}" if LABELS in files else "in this order"
    return [
        f"- Input `images`: float32 [1, {channels}, {size}, {size}] ({chs}{many}), the centre square of a picture, resized bilinearly, "
        f"pixels / 255. Normalisation is inside the files: mean {_numbers(model.mean)}, deviation {_numbers(model.std)}",
        f"- Output `logits`: [batch, {len(model.classes)}], {order}: {', '.join(model.classes)}",
    ]


def _figure_row(name: str, metric: Metric) -> str:
    spread = f"{metric.low:.6g} to {metric.high:.6g}" if metric.low is not None else f"± {metric.std:.2g}" if metric.std else ""
    scope = f" ({metric.scope})" if metric.scope else ""
    return f"| {name} | {metric.value:.6g} | {spread} | {metric.unit}{scope} | {metric.source} |"


def _check_row(check: Check) -> str:
    """What a runtime made of a file. nas/bench/check_export.py looks for file, images and accuracy."""
    accuracy = f"{check.accuracy:.6g} ± {standard_error(check.correct, check.images):.2g}"
    return (
        f"| {check.file} | {check.precision} | {check.runtime} | {check.images} | {accuracy} | {check.agreement:.2%} | "
        f"{check.max_error:.1e} |"
    )


def _elsewhere(latencies: Mapping[str, Mapping[str, Metric]]) -> list[str]:
    """What the study knows of the network's latency on other targets."""
    rows = [f"| {key} {_figure_row(name, each)}" for key, found in latencies.items() for name, each in measured_first(found).items()]
    head = ["| target | metric | value | 90 % band or standard error | unit | source |", "|---|---|---|---|---|---|"]
    return ["", "## Latency on other targets of the study", "", *head, *rows]


def _pruned(origin: Origin, dropped: Collection[str]) -> list[str]:
    """Figures before and after."""
    rows = []
    for name, (before, after) in ((name, pair) for name, pair in origin.changes.items() if name not in dropped):
        change = f"{100 * (after - before):+.2f} points" if name.startswith("accuracy") else f"{after / before - 1:+.1%}" if before else ""
        rows.append(f"| {name} | {before:.6g} | {after:.6g} | {change} |")
    return ["", f"## Pruned from {origin.id}", "", "| metric | before | after | change |", "|---|---|---|---|", *rows]


def _widths(candidate: Candidate) -> str:
    """Of the groups that are narrower than the genes say, the stem and the head among them; 0 is a residual block that left."""
    return ", ".join(f"{group} {width}" for group, width in candidate.arch.widths)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
