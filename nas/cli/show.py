"""How the command line shows things: tables to standard output, events to standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import typer
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from nas.events import Event
from nas.metrics import Metric
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.units import digits, seconds_text

__all__ = ["Column", "Display", "candidate_lines", "print_front", "print_table"]

WIDTH = 150
"""Columns where standard output is not a terminal and nobody says how wide it is."""
PLAIN_INTERVAL_S = 15.0
HEADER_WIDTH = 24
"""Columns that a source with what it is of takes in the head of a table."""


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table.

    Attributes:
        wraps: its cells may take several lines.
        rank: where all do not fit, columns of the highest rank are left out first; those of rank 0 never are.
    """

    header: str
    right: bool = False
    wraps: bool = False
    rank: int = 0


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str = "", caption: str = "", all_of_it: str = "") -> None:
    """A table that fits the terminal: nothing is cut off, but columns may be left out, which is said.

    Args:
        all_of_it: the command that shows what is left out.
    """
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH, highlight=False)
    kept = list(range(len(columns)))
    while True:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for i in kept:
            whole = max(cell_len(line) for text in (columns[i].header, *(row[i] for row in rows)) for line in text.split("\n"))
            table.add_column(
                columns[i].header, justify="right" if columns[i].right else "left", overflow="fold",
                min_width=None if columns[i].wraps else whole,
            )  # fmt: skip
        for row in rows:
            table.add_row(*(escape(row[i]) for i in kept))
        needed = console.measure(table, options=console.options.update(width=10_000)).minimum
        last = max(kept, key=lambda i: columns[i].rank)
        if needed <= console.width or not columns[last].rank:
            break
        kept.remove(last)
    left_out = [column.header.splitlines()[0] for i, column in enumerate(columns) if i not in kept]
    hint = f"not shown for want of width: {', '.join(left_out)} ({all_of_it} has them)" if left_out else ""
    console.width = max(console.width, needed)
    with console.capture() as captured:
        if title:
            console.print(escape(title), style="bold", soft_wrap=True)
        console.print(table)
        for line in filter(None, (*caption.splitlines(), hint)):
            console.print(escape(line), style="dim", soft_wrap=True)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


class Display:
    """Shows events as they come: a progress bar with the best so far and the time left, or lines where there is no terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"), console=self._console, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._trial: Event | None = None
        self._shown = 0.0

    def __enter__(self) -> Display:
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        if event.kind in ("progress", "trial") and event.share is not None:
            self._trial = event if event.kind == "trial" else None
            self._advance(event)
            return
        self._end_task()
        style = {"phase": "bold", "warning": "yellow"}.get(event.kind, "")
        prefix = {"warning": "warning: ", "finalist": "  "}.get(event.kind, "")
        self._print(f"{prefix}{escape(event.text)}", style)

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style or None, soft_wrap=True)

    def _advance(self, event: Event) -> None:
        left = f"{seconds_text(event.seconds_left)} left" if event.seconds_left is not None else ""
        if self._live:
            if self._task is None:
                self._task = self._progress.add_task(event.text, total=1.0, left=left)
            self._progress.update(self._task, description=escape(event.text), completed=event.share, left=left)
        elif time.monotonic() - self._shown > PLAIN_INTERVAL_S and event.share != 1.0:
            self._shown = time.monotonic()
            self._print(f"  {event.share or 0:4.0%}  {escape(event.text)}  {left}".rstrip())

    def _end_task(self) -> None:
        """What a search has found stays on the screen; a bar does not."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._progress.refresh()
            self._task = None
        if self._trial is not None:
            self._print(f"  {escape(self._trial.text)}")
            self._trial = None


def _accuracy(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    return f"{metric.value:.2%}" + (f" ± {metric.std * 100:.2f}" if metric.std is not None else "")


def _scaled(metric: Metric | None, factor: float) -> str:
    if metric is None:
        return "-"
    text = digits(metric.value * factor)
    if metric.low is not None and metric.high is not None:
        text += f" ({digits(metric.low * factor)}–{digits(metric.high * factor)})"
    return text


VALIDATION = "accuracy_validation"
"""Shown where it decides: beside pruned networks."""
COLUMNS = (
    # metric, header, factor (None for shares), rank
    ("accuracy_search", "search accuracy", None, 0),
    (VALIDATION, "validation accuracy", None, 2),
    ("accuracy_test", "test accuracy", None, 0),
    ("accuracy_test_int8", "int8", None, 3),
    ("latency_measured_s", "measured ms", 1e3, 1),
    ("latency_s", "latency ms", 1e3, 0),
    ("energy_j", "energy mJ", 1e3, 2),
    ("params", "params k", 1e-3, 3),
    ("size_bytes", "size MiB", 2**-20, 4),
)


def print_front(record: FrontRecord) -> None:
    """The front and what was pruned from its finalists, fastest first. Each column's header names the source of its numbers."""
    from nas.report.units import origin

    pruned = (each for each in record.finalists if each.pruned)
    members = sorted((*record.front, *pruned), key=lambda each: (each.value("latency_s") or 0.0, each.id))
    targets = {each.candidate.target for each in members}
    target = next(iter(targets)).key if len(targets) == 1 else record.device
    also = " and pruned finalists" if any(each.pruned for each in members) else ""
    shown = [column for column in COLUMNS if any(column[0] in each.candidate.metrics for each in members)]
    shown = [column for column in shown if also or column[0] != VALIDATION]
    differing = [name for name in ("runtime", "precision", "threads") if len({getattr(each, name) for each in targets}) > 1]
    columns = [Column("id"), Column(""), *(Column(name, right=name == "threads") for name in differing)]
    for name, label, _, rank in shown:
        sources = sorted({origin(each.candidate.metrics[name]) for each in members if name in each.candidate.metrics})
        told = (line for source in sources for line in wrap(source, HEADER_WIDTH))
        columns.append(Column("\n".join((label, *told)), right=True, rank=rank))
    rows = []
    for each in members:
        metrics = each.candidate.metrics
        cells = [_accuracy(metrics.get(name)) if factor is None else _scaled(metrics.get(name), factor) for name, _, factor, _ in shown]
        where = [str(getattr(each.candidate.target, name)) for name in differing]
        rows.append([each.id, ("★" if each.finalist else " ") + ("≈" if each.tied else "p" if each.pruned else " "), *where, *cells])
    print_table(
        columns, rows, f"{record.study}: Pareto front{also} for {target}, {record.space} on {record.data}",
        "★ finalist: fine-tuned, tested, exported   ≈ its gain in accuracy over a faster member may be chance\n"
        + ("p pruned from a finalist, so without a search accuracy: chosen by that on search-validation\n" if also else "")
        + "± one standard error, in points   (low–high) 90 % band   test accuracy is never used to select", "nas front --json",
    )  # fmt: skip


def candidate_lines(each: CandidateRecord) -> list[str]:
    """A candidate with all its figures, one a line."""
    from nas.metrics import measured_first
    from nas.report.units import SHOWN, contradiction, describe

    metrics = each.candidate.metrics
    known = (("on the front", each.on_front), ("finalist", each.finalist), ("tied", each.tied), ("pruned", each.pruned))
    marks = [word for word, mark in known if mark]
    lines = [f"{each.id}  {', '.join(marks) or each.why_not}  {each.candidate.target.key}", f"  {each.title}"]
    lines += [f"  {SHOWN[name].label:<18} {describe(name, metric)}" for name, metric in measured_first(metrics).items()]
    if told := contradiction(metrics):
        lines.append(f"  {'warning':<18} {told}")
    if each.note:
        lines.append(f"  {'note':<18} {each.note}")
    return lines + [f"  {kind:<18} {path}" for kind, path in each.artifacts.items()]
