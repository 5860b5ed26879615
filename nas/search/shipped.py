"""The card of a model as it goes out: of the files that go with it, and no others. And the folder that they go to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nas.errors import InputError
from nas.metrics import Metric

__all__ = ["FIGURES_TITLE", "FILES_TITLE", "Figures", "figure_row", "refuse_other_model", "shipped_card"]

FIGURES_TITLE = "## Figures"
FILES_TITLE = "## Files, run on the test images"
"""Of the part of a card that has a row for each file and runtime, its name in the first cell."""
PRUNED_TITLE = "## Pruned from"
SMALL_FILE = "model.int8.onnx"
OF_SMALL_FILE = frozenset({"accuracy_test_int8", "latency_int8_s"})
"""Figures that a study's card has beside those of an fp32 model."""
PAPERS = frozenset({"architecture.json", "card.md", "check.json", "labels.txt", "weights.safetensors"})
_OPEN_BATCH = "; ["


@dataclass(frozen=True, slots=True)
class Figures:
    """What the figures of a card become when some of a model's files go out.

    Attributes:
        title: whose figures they are, a line above them.
        dropped: metrics that the card has of other files or of another target; none of `metrics` is lost by it.
        metrics: in their place.
    """

    title: str
    dropped: frozenset[str] = OF_SMALL_FILE
    metrics: Mapping[str, Metric] = field(default_factory=dict)


def figure_row(name: str, metric: Metric) -> str:
    """A metric as a row of the card's first table."""
    spread = f"{metric.low:.6g} to {metric.high:.6g}" if metric.low is not None else f"± {metric.std:.2g}" if metric.std else ""
    scope = f" ({metric.scope})" if metric.scope else ""
    return f"| {name} | {metric.value:.6g} | {spread} | {metric.unit}{scope} | {metric.source} |"


def shipped_card(text: str, files: Collection[str], figures: Figures, rows: Sequence[str] = (), openvino_int8: str = "") -> str:
    """A card (`nas.search.card.card`) of the files that go out.

    Args:
        files: names of those that go out: models, and labels.txt.
        rows: of files that were made for this, at the end of the table of files.
        openvino_int8: how OpenVINO's int8 file was made, where there is one.
    """
    head, title, table = text.partition(FILES_TITLE)
    if not title:  # somebody else's
        return text
    lines: list[str] = []
    heading = ""
    for line in head.split("\n"):
        heading = line if line.startswith("#") else heading
        if heading == FIGURES_TITLE or heading.startswith(PRUNED_TITLE):
            if _cell(line) not in figures.dropped:
                lines.append(line)
            continue
        lines += _told(line, files, openvino_int8)
    return "\n".join(_with_figures(lines, figures)) + title + "\n".join([*_of_files(table, files), *rows]) + "\n"


def refuse_other_model(out: Path, architecture: bytes) -> None:
    """A folder gets files of one model.

    Args:
        architecture: content of the model's architecture.json, which has the checksums of its files.

    Raises:
        InputError: `out` holds files of another model, or of this one as it was trained another time; names them.
    """
    names = sorted(path.name for path in out.iterdir() if _is_ours(path)) if out.is_dir() else []
    there = out / "architecture.json"
    if not names or (there.is_file() and there.read_bytes() == architecture):
        return
    card = out / "card.md"
    first = card.read_text(encoding="utf-8", errors="replace").partition("\n")[0] if card.is_file() else ""
    whose = f" ({first[2:]})" if first.startswith("# ") else ""
    raise InputError(f"{out} holds files of another model{whose}: {', '.join(names)}: choose another --out, or remove them")


def _is_ours(path: Path) -> bool:
    return path.name in PAPERS or (path.name.startswith("model.") and path.suffix in (".onnx", ".xml", ".bin"))


def _cell(line: str) -> str:
    """The first cell of a table's row."""
    return line.split("|")[1].strip() if line.startswith("| ") else ""


def _told(line: str, files: Collection[str], openvino_int8: str) -> Iterator[str]:
    """A line of the card's beginning."""
    if line.startswith("- int8: "):
        if SMALL_FILE in files:
            yield line
        if openvino_int8:
            yield f"- int8 for OpenVINO: {openvino_int8}"
        return
    if line.startswith("- Output ") and "labels.txt" not in files:
        line = line.replace("in the order of labels.txt:", "in this order:", 1)
    yield line if "model.dynamic.onnx" in files else _alone(line)


def _with_figures(lines: Sequence[str], figures: Figures) -> Iterator[str]:
    """With whose figures they are above the table, and the new rows at its end."""
    is_table = False
    for line in lines:
        if line.startswith("| metric | value "):
            yield from (figures.title, "")
            is_table = True
        if is_table and not line.startswith("|"):
            yield from (figure_row(name, metric) for name, metric in figures.metrics.items())
            is_table = False
        yield line


def _of_files(table: str, files: Collection[str]) -> Iterator[str]:
    """The lines of the table of files, without those of files that stay behind."""
    return (line for line in table.splitlines() if _cell(line) in ("", "file", *files))


def _alone(line: str) -> str:
    """The line on the input, without what it says of the file with an open batch."""
    begin, end = line.find(_OPEN_BATCH), line.find(" in model.dynamic.onnx)")
    return line[:begin] + line[end + len(" in model.dynamic.onnx") :] if 0 <= begin < end else line
