"""How the command line shows things: tables to standard output, events to standard error."""

from __future__ import annotations

import math
import sys
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from nas.events import Event
from nas.metrics import Metric
from nas.report.front import CandidateRecord, FrontRecord

__all__ = ["Display", "candidate_lines", "front_table", "print_table", "seconds_text"]

WIDTH = 150
"""Columns where standard output is not a terminal."""
PLAIN_INTERVAL_S = 15.0


def print_table(table: Table) -> None:
    """A table as wide as the terminal, or wide enough for everything in a file."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(table)


def seconds_text(seconds: float | None) -> str:
    """ "1 h 05 min", "2 min 10 s" or "12 s"; empty for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


class Display:
    """Shows events as they come: a progress bar with the best so far and the time left, or lines where there is no terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._live = self._console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"), console=self._console, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._shown = 0.0

    def __enter__(self) -> Display:
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        if event.kind in ("progress", "trial", "finalist") and event.share is not None:
            self._advance(event)
            return
        self._end_task()
        style = {"phase": "bold", "warning": "yellow"}.get(event.kind, "")
        prefix = "warning: " if event.kind == "warning" else ""
        self._console.print(f"{prefix}{escape(event.text)}", style=style or None, soft_wrap=True)

    def _advance(self, event: Event) -> None:
        left = f"{seconds_text(event.seconds_left)} left" if event.seconds_left is not None else ""
        if self._live:
            if self._task is None:
                self._task = self._progress.add_task(event.text, total=1.0, left=left)
            self._progress.update(self._task, description=escape(event.text), completed=event.share, left=left)
        elif time.monotonic() - self._shown > PLAIN_INTERVAL_S or event.share == 1.0:
            self._shown = time.monotonic()
            self._console.print(f"  {event.share or 0:4.0%}  {escape(event.text)}  {left}".rstrip(), soft_wrap=True)

    def _end_task(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def _accuracy(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    return f"{metric.value:.2%}" + (f" ± {metric.std * 100:.2f}" if metric.std is not None else "")


def _scaled(metric: Metric | None, factor: float) -> str:
    if metric is None:
        return "-"
    text = f"{metric.value * factor:.3g}"
    if metric.low is not None and metric.high is not None:
        text += f" ({metric.low * factor:.3g} to {metric.high * factor:.3g})"
    return text


COLUMNS = (
    ("accuracy_search", "search accuracy", None),
    ("accuracy_test", "test accuracy", None),
    ("latency_s", "latency ms", 1e3),
    ("latency_measured_s", "measured ms", 1e3),
    ("energy_j", "energy mJ", 1e3),
    ("params", "params k", 1e-3),
    ("size_bytes", "size MiB", 2**-20),
)


def front_table(record: FrontRecord) -> Table:
    """The front, fastest first. Each column's header names the source of its numbers."""
    members = record.front
    target = members[0].candidate.target.key if members else record.device
    table = Table(
        title=f"{record.study}: Pareto front for {target}, {record.space} on {record.data}",
        caption="≈ its gain in accuracy over a faster member may be chance   ★ finalist: fine-tuned, tested, exported\n"
        "± one standard error, in points   (low to high) 90 % band   test accuracy is never used to select",
        title_justify="left", caption_justify="left",
    )  # fmt: skip
    table.add_column("id", no_wrap=True)
    table.add_column("")
    shown = [column for column in COLUMNS if any(column[0] in each.candidate.metrics for each in members)]
    for name, label, _ in shown:
        sources = sorted({each.candidate.metrics[name].source for each in members if name in each.candidate.metrics})
        table.add_column(f"{label}\n{', '.join(sources)}", justify="right", no_wrap=True)
    for each in members:
        metrics = each.candidate.metrics
        cells = [_accuracy(metrics.get(name)) if factor is None else _scaled(metrics.get(name), factor) for name, _, factor in shown]
        table.add_row(each.id, ("★" if each.finalist else " ") + ("≈" if each.tied else " "), *cells)
    return table


def candidate_lines(each: CandidateRecord) -> list[str]:
    """A candidate with all its figures, one a line."""
    from nas.report.units import SHOWN, describe

    marks = [word for word, mark in (("on the front", each.on_front), ("finalist", each.finalist), ("tied", each.tied)) if mark]
    lines = [f"{each.id}  {', '.join(marks) or 'dominated'}  {each.candidate.target.key}", f"  {each.title}"]
    lines += [f"  {SHOWN[name].label:<18} {describe(name, metric)}" for name, metric in each.candidate.metrics.items()]
    if each.note:
        lines.append(f"  {'note':<18} {each.note}")
    return lines + [f"  {kind:<18} {path}" for kind, path in each.artifacts.items()]
