"""report.html: a study for an engineer who did not run it.

One page that needs nothing else: question, answer, front, table, how sure, chip, use, cost, networks, what next.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nas.metrics import OBJECTIVES, Metric
from nas.report.canvas import DARK, LIGHT
from nas.report.certainty import sentence, sure_of_front, sure_of_search
from nas.report.chip_section import chip_section
from nas.report.cost_section import cost_section
from nas.report.drawing import architecture_svg
from nas.report.facts import StudyFacts
from nas.report.figures import front_svg, hypervolume_svg
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.highlights import ACCURACY, choice, cost_of, highlights, target_words
from nas.report.impact_section import impact_section
from nas.report.pages import embedded, picture, render
from nas.report.predicted import predicted_png
from nas.report.units import SHOWN, describe, origin, seconds_text, short
from nas.search.fleet import fleet_name
from nas.search.judging import VALIDATION

__all__ = ["report_html"]

COLUMNS = (
    ACCURACY, VALIDATION.metric, "accuracy_test", "accuracy_test_int8", "latency_measured_s", "latency_s", "energy_j", "macs", "params",
    "size_bytes", "peak_memory_bytes",
)  # fmt: skip
"""Metrics of the table, where any member has them."""


def report_html(facts: StudyFacts) -> str:
    """The page.

    Raises:
        InputError: a front has no cost or no accuracy.
    """
    first = facts.fronts[0]
    data = Path(first.data).name
    values = {
        "title": f"{data} on {_all(record.device for record in facts.fronts)}",
        "study": first.study,
        "created": first.created[:10],
        "lead": _lead(facts),
        "question": list(_question(facts)),
        "devices": [_device(record, facts) for record in facts.fronts],
        "chips": chip_section(facts),
        "impact": impact_section(facts),
        "progress": picture(hypervolume_svg(facts.progress, LIGHT), hypervolume_svg(facts.progress, DARK)) if _moves(facts) else None,
        "cost": cost_section(facts),
        "cost_notes": [sentence(text) for text in dict.fromkeys(_supernet_words(facts))],
        "sure": list(sure_of_search(facts)),
        "drawings": list(_drawings(facts)),
        "commands": list(_commands(facts)),
    }
    return render("report.html", values)


def _all(words: Iterator[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _moves(facts: StudyFacts) -> bool:
    return any(len(pairs) > 1 for pairs in facts.progress.values())


def _lead(facts: StudyFacts) -> str:
    """The study in a sentence a device: what was found, and the knee."""
    return " ".join(_found(record) for record in facts.fronts)


def _found(record: FrontRecord) -> str:
    words = f"On {record.device}, {record.found}"
    best, cost = highlights(record).get("knee"), cost_of(record)
    if best is None:
        return f"{words}."
    metrics = best.candidate.metrics
    name = "accuracy_test" if "accuracy_test" in metrics else ACCURACY
    right = "of the test images" if name == "accuracy_test" else "of the search-validation images, by the " + metrics[name].source
    paid = _paid(best, cost)
    price = f"{SHOWN[cost].text(paid.value)} {SHOWN[cost].unit or SHOWN[cost].label}"
    which = "the knee, a pruned finalist," if best.pruned else "the knee"
    return f"{words}; {which} takes {price} ({paid.source}) and classifies {100 * metrics[name].value:.1f} % {right}."


def _paid(each: CandidateRecord, cost: str) -> Metric:
    """What a network costs: its latency as it was measured, where it was."""
    metrics = each.candidate.metrics
    return metrics.get("latency_measured_s", metrics[cost]) if cost == "latency_s" else metrics[cost]


# --- the question ---------------------------------------------------------------------------------------------------------------


def _question(facts: StudyFacts) -> Iterator[tuple[str, str]]:
    """(term, what was asked) pairs."""
    config, first = facts.config, facts.fronts[0]
    yield "Devices", "; ".join(target_words(record) for record in facts.fronts)
    size = "" if facts.space_size is None else f", {short(facts.space_size)} architectures"
    yield "Search space", f"{first.space}{size}"
    yield "Data", _images(facts)
    goals = [f"{each.direction} {SHOWN[each.metric].label}" for each in (OBJECTIVES[name] for name in config.objectives)]
    yield "Objectives", ", ".join(goals)
    bounds = [_bound(each.metric, each.kind, each.bound) for each in config.constraints]
    yield "Constraints", ", ".join(bounds) or "none"
    budget = f"{config.trials:,} trials"
    budget += f", {seconds_text(config.time_budget_s)} in all" if config.time_budget_s else ""
    yield "Budget", f"{budget}; sampler {config.sampler}, seed {config.seed}"
    again = (
        ""
        if config.prune is None
        else (
            f", and once more each in fp32, pruned to {100 * config.prune:.3g} % of its predicted latency (--prune), where it earns a place"
        )
    )
    yield "Accuracy from", f"{config.evaluator}; {config.finalists} finalists at most are trained and tested{again}"


def _bound(metric: str, kind: str, bound: float) -> str:
    shown = SHOWN[metric]
    return f"{shown.label} {'≤' if kind == 'max' else '≥'} {shown.text(bound)}{' ' + shown.unit if shown.unit else ''}"


def _images(facts: StudyFacts) -> str:
    first, known = facts.fronts[0], facts.data
    words = [Path(first.data).name]
    if "sets" in known:
        counts = [f"{each['images']:,} {name.replace('_', '-')}" for name, each in known["sets"].items()]
        words.append(f"{', '.join(counts)} images of {len(known['classes'])} classes")
    if first.data_fingerprint:
        words.append(f"fingerprint {first.data_fingerprint[:12]}")
    return "; ".join(words)


# --- a device -------------------------------------------------------------------------------------------------------------------


def _device(record: FrontRecord, facts: StudyFacts) -> dict[str, Any]:
    """What the page says of a device."""
    shown = record.shown
    predictor = facts.predictors.get(record.device)
    found = predictor.evaluation if predictor else None
    columns = [name for name in COLUMNS if any(name in each.candidate.metrics for each in shown)]
    if not any(each.pruned for each in shown):  # it decides nothing then
        columns = [name for name in columns if name != VALIDATION.metric]
    return {
        "name": record.device,
        "target": target_words(record),
        "cards": list(_cards(record, facts)),
        "chosen": sentence(choice(record).words),
        "front": picture(front_svg(record, LIGHT), front_svg(record, DARK)),
        "alt": f"Accuracy against {SHOWN[cost_of(record)].label} on {record.device}: {len(record.front)} networks on the front.",
        "columns": [_header(name, shown) for name in columns],
        "rows": [_row(each, columns) for each in shown],
        "sure": list(sure_of_front(record, predictor)),
        "unknown": predictor.unknown if predictor else (),
        "predictor": None if found is None else embedded(predicted_png(found, f"{record.device}: {len(found.measured_s)} networks"), "png"),
    }


def _cards(record: FrontRecord, facts: StudyFacts) -> Iterator[dict[str, Any]]:
    """The fastest, the knee and the most accurate; one network that is two of them has one card."""
    cost = cost_of(record)
    roles: dict[str, list[str]] = {}
    found = highlights(record)
    for role, each in found.items():
        roles.setdefault(each.id, []).append(role)
    for each in {each.id: each for each in found.values()}.values():
        metrics = each.candidate.metrics
        paid = SHOWN[cost].text(_paid(each, cost).value)
        accuracy = metrics["accuracy_test" if "accuracy_test" in metrics else ACCURACY]
        yield {
            "role": " · ".join(roles[each.id]),
            "id": each.id,
            "title": each.title,
            "cost": f"{paid} {SHOWN[cost].unit or SHOWN[cost].label}",
            "accuracy": f"{100 * accuracy.value:.1f} %",
            "accuracy_kind": "on test images" if "accuracy_test" in metrics else "in the search",
            "figures": [(SHOWN[name].label, describe(name, metrics[name])) for name in SHOWN if name in metrics],
            "tied": each.tied,
            "drawn": each.id in facts.blocks,
        }


def _header(name: str, shown: Sequence[CandidateRecord]) -> dict[str, str]:
    sources = sorted({origin(each.candidate.metrics[name]) for each in shown if name in each.candidate.metrics})
    return {"label": SHOWN[name].label, "unit": SHOWN[name].unit, "source": "; ".join(sources)}


def _row(each: CandidateRecord, columns: Sequence[str]) -> dict[str, Any]:
    """A line of the table."""
    cells = [_cell(name, each.candidate.metrics.get(name)) for name in columns]
    marks = {"finalist": each.finalist, "tied": each.tied, "on_front": each.on_front, "pruned": each.pruned}
    return {"id": each.id, "title": each.title, **marks, "cells": cells}


def _cell(name: str, metric: Metric | None) -> dict[str, str]:
    """What is read, how far it may be off, and what the column is sorted by."""
    if metric is None:
        return {"value": "", "text": "–", "error": ""}
    shown = SHOWN[name]
    value = shown.number(metric.value)
    error = f"± {shown.number(metric.std):.2g}" if metric.std is not None else ""
    if metric.low is not None and metric.high is not None:
        error = f"{shown.text(metric.low)}–{shown.text(metric.high)}"
    return {"value": f"{value:.9g}", "text": f"{value:.2f}" if shown.percent else shown.text(metric.value), "error": error}


# --- networks, commands -----------------------------------------------------------------------------------------------------------


def _supernet_words(facts: StudyFacts) -> Iterator[str]:
    """What the log says of the supernet: trained here, or found."""
    for event in facts.log:
        text = str(event.get("text", ""))
        if event.get("kind") == "info" and text.startswith("supernet "):
            yield text


def _drawings(facts: StudyFacts) -> Iterator[dict[str, Any]]:
    """Each finalist's network once, though several devices may have it; knees are open."""
    seen: set[str] = set()
    knees = {best.candidate.arch.arch_id for record in facts.fronts if (best := highlights(record).get("knee")) is not None}
    for each in (each for record in facts.fronts for each in record.finalists if each.id in facts.blocks):
        arch = each.candidate.arch.arch_id
        if arch not in seen:
            seen.add(arch)
            ids = [other.id for record in facts.fronts for other in record.finalists if other.candidate.arch.arch_id == arch]
            svg = architecture_svg(facts.blocks[each.id], each.id)
            yield {"ids": ids, "id": each.id, "title": each.title, "svg": svg, "note": sentence(each.note), "open": arch in knees}


def _commands(facts: StudyFacts) -> Iterator[tuple[str, str]]:
    """(what for, command) pairs, with this study's names."""
    first, config = facts.fronts[0], facts.config
    device = ["--device", first.device] if len(facts.fronts) > 1 else []
    best = highlights(first).get("knee")
    if best is not None:
        latency_s = best.value("latency_s")
        bound = ["--max-latency", f"{_rounded_up(1e3 * latency_s):g}ms"] if latency_s else ["--knee"]
        yield "One network within a bound, with every figure", shlex.join(["nas", "pick", first.study, *device, *bound])
        yield "The knee's files for deployment, checked on the test images", shlex.join(["nas", "export", first.study, *device, "--knee"])
    for record in facts.fronts:
        predictor = facts.predictors.get(record.device)
        is_fleet = facts.config.joint is not None and record.device == fleet_name(facts.config.joint)
        if record.device != "host" and not is_fleet and (predictor is None or predictor.evaluation is None):
            words = f"Measure 40 networks on a real {record.device}, so that its bands narrow"
            yield words, shlex.join(["nas", "measure", "--device", record.device, "--via", "ssh://user@host", "-n", "40"])
    more = f"Go on to {2 * config.trials:,} trials; a refitted predictor is taken up"
    yield more, shlex.join(["nas", "search", "--resume", first.study, "--trials", str(2 * config.trials)])
    yield "The table and the interactive front again", shlex.join(["nas", "front", first.study, *device, "--plot", "front.html"])
    yield "All runs side by side in MLflow", shlex.join(["nas", "ui", first.study])


def _rounded_up(value: float) -> float:
    """To two significant digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / step) * step
