"""The model card of a finalist, Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from nas.compress.parity import Check
from nas.metrics import Candidate, contradicts, measured_first
from nas.search.shipped import FIGURES_TITLE, FILES_TITLE, figure_row
from nas.training.data import ImageData
from nas.training.evaluate import standard_error

__all__ = ["card", "check_row"]


def card(
    candidate: Candidate, title: str, data: ImageData, checks: Sequence[Check], note: str, int8: str, origin: Candidate | None = None,
    unmeasured: str = "",
) -> str:  # fmt: skip
    """What the model is, what it wants, every figure with its source, how its files compare with torch, how it was made.

    Args:
        note: how it was trained.
        int8: how its int8 file was made, or why there is none.
        origin: what it was pruned from, with its figures.
        unmeasured: why a latency was not measured on the target.
    """
    chs = {1: "grey", 3: "RGB"}.get(data.in_chs, f"{data.in_chs} channels")
    lines = [
        f"# {candidate.id}",
        "",
        f"Image classifier for {len(data.classes)} classes of `{data.name}`, found by hwnas for {candidate.target.key}.",
        "",
        f"- Architecture ({candidate.arch.space}): {title}{'  (pruned)' if candidate.arch.widths else ''}",
        *([f"- Channels after pruning, by group: {_widths(candidate)}"] if candidate.arch.widths else []),
        f"- Input `images`: float32 [1, {data.in_chs}, {data.size}, {data.size}] ({chs}; [batch, {data.in_chs}, {data.size}, {data.size}] "
        "in model.dynamic.onnx), the centre square of a picture, resized bilinearly, pixels / 255. Normalisation is inside the files: "
        f"mean {_numbers(data.mean)}, deviation {_numbers(data.std)}",
        f"- Output `logits`: [batch, {len(data.classes)}], in the order of labels.txt: {', '.join(data.classes)}",
        f"- Data fingerprint: {data.fingerprint}",
        f"- Training: {note}",
        f"- int8: {int8}",
        "- Licence: not stated; that of the training images applies",
        "",
        FIGURES_TITLE,
        "",
        "| metric | value | 90 % band or standard error | unit | source |",
        "|---|---|---|---|---|",
    ]
    lines += [figure_row(name, metric) for name, metric in measured_first(candidate.metrics).items()]
    if contradicts(candidate.metrics):
        lines += ["", "The measured latency is outside the 90 % band of the predicted one: count on the measured."]
    if unmeasured:
        lines += ["", f"{unmeasured[0].upper()}{unmeasured[1:]}."]
    if origin is not None:
        lines += _pruned(candidate, origin)
    lines += [
        "",
        FILES_TITLE,
        "",
        "Accuracy of each file as its runtime classifies them; agreement and the largest difference of a logit are against torch in fp32.",
        "",
        "| file | precision | runtime | images | accuracy | same class as torch | largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [check_row(check) for check in checks]
    return "\n".join(lines) + "\n"


def check_row(check: Check) -> str:
    """What a runtime made of a file, as a row of the card's last table."""
    accuracy = f"{check.accuracy:.6g} ± {standard_error(check.correct, check.images):.2g}"
    return (
        f"| {check.file} | {check.precision} | {check.runtime} | {check.images} | {accuracy} | {check.agreement:.2%} | "
        f"{check.max_error:.1e} |"
    )


def _pruned(candidate: Candidate, origin: Candidate) -> list[str]:
    """Figures before and after, of the metrics that both have."""
    rows = []
    for name in (name for name in candidate.metrics if name in origin.metrics):
        before, after = origin.metrics[name].value, candidate.metrics[name].value
        change = f"{100 * (after - before):+.2f} points" if name.startswith("accuracy") else f"{after / before - 1:+.1%}" if before else ""
        rows.append(f"| {name} | {before:.6g} | {after:.6g} | {change} |")
    return ["", f"## Pruned from {origin.id}", "", "| metric | before | after | change |", "|---|---|---|---|", *rows]


def _widths(candidate: Candidate) -> str:
    """Of the groups that are narrower than the genes say, the stem and the head among them; 0 is a residual block that left."""
    return ", ".join(f"{group} {width}" for group, width in candidate.arch.widths)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
