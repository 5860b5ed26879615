"""Picture of an impact: kWh and CO2 equivalent of a year, a line a network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import InputError
from nas.report.canvas import LIGHT, figure_of, library, logarithmic, png
from nas.report.impact import Impact, Use, impact_notes
from nas.report.units import short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["impact_png"]


def impact_png(found: Sequence[Impact], baselines: Sequence[Impact], use: Use, device: str, pruned: Collection[str] = ()) -> bytes:
    """kWh a year with 90 % bands on a logarithmic axis, kg CO2e on the one above it; 1440 pixels wide, as high as it has networks.

    Args:
        baselines: one for each target of those found.
        pruned: names of those that are to be marked so.

    Raises:
        InputError: there is no network.
    """
    if not found:
        raise InputError("a picture of an impact needs at least one network")
    with library("matplotlib"):
        return png(_impact(found, baselines, use, device, pruned))


def _impact(found: Sequence[Impact], baselines: Sequence[Impact], use: Use, device: str, pruned: Collection[str]) -> Figure:
    from matplotlib.ticker import LogLocator, NullFormatter

    every = [*found, *baselines]
    figure, axes = figure_of(9.0, 2.6 + 0.36 * len(every))
    for place, each in enumerate(every):
        color = LIGHT.main if place < len(found) else LIGHT.second
        band = each.kwh_year
        axes.plot([band.low, band.high], [place, place], color=color, linewidth=5, alpha=0.25, solid_capstyle="round", zorder=2)
        axes.plot([band.value], [place], "o", color=color, markersize=8, markeredgecolor=LIGHT.paper, zorder=3)
        words = f"{short(band.value)} kWh, {short(each.co2e_kg_year.value)} kg CO2e"
        axes.annotate(words, (band.value, place), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8.5, color=LIGHT.ink)
    logarithmic(axes, only_x=True)
    axes.margins(x=0.14)
    axes.set(ylim=(len(every) - 0.4, -0.8), xlabel="kWh a year, 90 % band")
    marks = [*(" (pruned)" if each.name in pruned else "" for each in found), *(" (baseline)" for _ in baselines)]
    axes.set_yticks(range(len(every)), [f"{each.name}{mark}" for each, mark in zip(every, marks, strict=True)])
    axes.grid(visible=False, axis="y")
    kg_per_kwh = use.grid.kg_per_kwh
    if kg_per_kwh:
        above = axes.secondary_xaxis("top", functions=(lambda kwh: np.asarray(kwh) * kg_per_kwh, lambda kg: np.asarray(kg) / kg_per_kwh))
        above.set_xlabel("kg CO2e a year", color=LIGHT.ink)
        above.tick_params(colors=LIGHT.ink, labelsize=10)
        above.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        above.xaxis.set_major_formatter("{x:g}")
        above.xaxis.set_minor_formatter(NullFormatter())
        above.spines["top"].set_color(LIGHT.faint)
    title = f"{use.inferences_per_day:,.10g} inferences a day on {device}"
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=12, color=LIGHT.ink, parse_math=False)
    notes = "\n".join(impact_notes(found, use))
    figure.supxlabel(notes, x=0.01, ha="left", fontsize=8.5, color=LIGHT.soft, parse_math=False)
    return figure
