"""Multiply-adds and energy side by side: how far counting the one tells the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import InputError
from nas.report.canvas import Palette, figure_of, library, logarithmic, svg
from nas.report.front import DOMINATED, OUTSIDE, CandidateRecord, FrontRecord
from nas.report.roofline import colors_of, name_of
from nas.report.units import SHOWN
from nas.search.energy_axis import rho
from nas.target import Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["known_energies", "macs_energy_svg", "macs_energy_words"]

FEWEST = 3
"""Candidates that a rank correlation needs."""
NANO = 1e9
MEMBER, PRUNED = "on the front", "pruned finalists"
MARKS = ((OUTSIDE, "v", 4.2), (DOMINATED, "o", 4.2), (MEMBER, "o", 6.5), (PRUNED, "s", 6.5))
"""Kind of a candidate, its marker and size in points, from below."""


def known_energies(record: FrontRecord) -> dict[Target, list[CandidateRecord]]:
    """Candidates with multiply-adds and energy, by target; nothing where they are too few to be compared."""
    found: dict[Target, list[CandidateRecord]] = {}
    for each in record.candidates:
        if {"macs", "energy_j"} <= set(each.candidate.metrics):
            found.setdefault(each.candidate.target, []).append(each)
    enough = sum(map(len, found.values())) >= FEWEST
    return dict(sorted(found.items(), key=lambda pair: (pair[0].threads, pair[0].precision))) if enough else {}


def macs_energy_svg(record: FrontRecord, palette: Palette) -> bytes:
    """Energy over multiply-adds of every candidate, 7.6 x 3.6 inches.

    Raises:
        InputError: fewer than three candidates have both.
    """
    found = known_energies(record)
    if not found:
        raise InputError(f"energy over multiply-adds needs {FEWEST} candidates of {record.device} that have both")
    with library("matplotlib"):
        return svg(_macs_energy(record, found, palette))


def _macs_energy(record: FrontRecord, found: Mapping[Target, list[CandidateRecord]], palette: Palette) -> Figure:
    figure, axes = figure_of(7.6, 3.6, palette)
    for target, records in found.items():
        color = colors_of(record, palette)[target]
        for label, marker, size in MARKS:
            kept = [each for each in records if _kind(each) == label]
            if not kept:
                continue
            matters = label in (MEMBER, PRUNED)
            macs, energy = ([SHOWN[name].number(each.value(name) or 0.0) for each in kept] for name in ("macs", "energy_j"))
            axes.plot(
                np.array(macs) / 1e6, energy, marker, color=color, markersize=size, alpha=1.0 if matters else 0.35,
                markeredgecolor=palette.paper, markeredgewidth=0.6, zorder=3 if matters else 2,
                label=f"{name_of(target, tuple(found))}, {label}" if len(found) > 1 else label,
            )  # fmt: skip
    logarithmic(axes)
    axes.set(xlabel="multiply-adds, millions", ylabel=f"{SHOWN['energy_j'].axis} ({_origin(found)})")
    axes.legend(
        loc="upper left", labelcolor=palette.ink, frameon=True, framealpha=0.9, edgecolor="none", facecolor=palette.paper, fontsize=9
    )  # fmt: skip
    return figure


def _kind(each: CandidateRecord) -> str:
    return PRUNED if each.pruned else each.why_not or MEMBER


def macs_energy_words(record: FrontRecord) -> str:
    """How far multiply-adds tell energy, in a sentence or three; empty where nothing can be compared."""
    found = known_energies(record)
    if not found:
        return ""
    every = [each for records in found.values() for each in records]
    macs, energy = _values(every)
    ratio = NANO * energy / macs
    words = [
        f"Over {len(every):,} candidates multiply-adds rank energy ({_origin(found)}) with Spearman's ρ = {rho(macs, energy):.2f}, where "
        f"1 would mean that counting them is enough; a multiply-add takes {ratio.min():.2g} to {ratio.max():.2g} nJ."
    ]
    if len(found) > 1:
        within = [rho(*_values(records)) for records in found.values() if len(records) >= FEWEST]
        if within:
            words.append(f"On one target ρ is {min(within):.2f} or more: counts know nothing of threads and precision.")
    if all(each.candidate.metrics["energy_j"].source == "modelled" for each in every):
        words.append("Energy is watts times latency here, so on one target this is how far multiply-adds tell latency.")
    return " ".join(words)


def _origin(found: Mapping[Target, list[CandidateRecord]]) -> str:
    """Sources and scopes of the joules."""
    metrics = [each.candidate.metrics["energy_j"] for records in found.values() for each in records]
    return " and ".join(sorted({f"{metric.source}, {metric.scope}" for metric in metrics}))


def _values(records: list[CandidateRecord]) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    macs, energy = (np.array([each.value(name) or 0.0 for each in records]) for name in ("macs", "energy_j"))
    return macs, energy
