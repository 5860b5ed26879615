"""What pictures share: colours, a figure without pyplot's global state, its bytes, and what to say where a library is missing."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nas.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BLUE", "GREY", "INK", "ORANGE", "figure_of", "library", "png"]

BLUE, ORANGE, GREY, INK = "#1b5e9e", "#d9641c", "#9aa5b1", "#27323f"


def figure_of(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of its own, inches, 160 pixels each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=10)
    axes.grid(color="#e3e8ee", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": "hwnas"})
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
