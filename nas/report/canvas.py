"""What pictures share: colours, a figure without pyplot's global state, its bytes, and what to say where a library is missing."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BLUE", "DARK", "GREY", "INK", "LIGHT", "ORANGE", "Palette", "figure_of", "library", "logarithmic", "png", "svg"]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of a picture, as HTML knows them.

    Attributes:
        main: of the front and what was found in the search.
        second: of what was tested, or stands out.
        faint: of dominated candidates and lines that only guide the eye.
        series: of several devices in one picture, `main` first.
    """

    paper: str
    ink: str
    soft: str
    grid: str
    faint: str
    main: str
    second: str
    series: tuple[str, ...]


# Okabe & Ito's colours (jfly.uni-koeln.de/color, 2008), darkened or lightened: they differ for the colour-blind too.
LIGHT = Palette(
    "#ffffff", "#24303c", "#5a6675", "#e6ebf0", "#9aa5b1", "#1b5e9e", "#d9641c",
    ("#1b5e9e", "#d9641c", "#00805f", "#a8508a", "#8a6d00", "#3a93c8", "#6b4fa0", "#5a6675"),
)  # fmt: skip
DARK = Palette(
    "#12171d", "#e4e9ee", "#9da9b5", "#26303a", "#8a97a5", "#6db3f2", "#f59a5f",
    ("#6db3f2", "#f59a5f", "#3cc9a1", "#dd8fc2", "#d8bb4a", "#9ad4f5", "#b19be0", "#9da9b5"),
)  # fmt: skip
BLUE, ORANGE, GREY, INK = LIGHT.main, LIGHT.second, LIGHT.faint, LIGHT.ink


def figure_of(width: float, height: float, palette: Palette = LIGHT) -> tuple[Figure, Axes]:
    """A figure of its own, inches, 160 pixels each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor=palette.paper)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=palette.paper)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(palette.faint)
    axes.tick_params(colors=palette.ink, labelsize=10)
    axes.xaxis.label.set_color(palette.ink)
    axes.yaxis.label.set_color(palette.ink)
    axes.title.set_color(palette.ink)
    axes.grid(color=palette.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def logarithmic(axes: Axes, *, only_x: bool = False) -> None:
    """Makes the axes logarithmic, with numbers in full: 1, 2, 5, 10 rather than powers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis, scale in ((axes.xaxis, axes.set_xscale), *(() if only_x else ((axes.yaxis, axes.set_yscale),))):
        scale("log")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": "hwnas"})
    return file.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file, words as paths: it looks the same everywhere, and twice the same figure is twice the same file."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "hwnas", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": "hwnas"})
    return file.getvalue()


@contextmanager
def library(name: str) -> Iterator[None]:
    """Says which extra is missing, and keeps the libraries' own warnings from users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            yield
        except ModuleNotFoundError as exc:
            raise MissingExtraError(exc.name or name, "search") from exc
