"""Pictures of a study: front.html (Plotly, self-contained), front.png and hypervolume.png (matplotlib, no display needed).

The home of plotly and matplotlib, imported when a picture is asked for. The search accuracy of the front and the test accuracy of
its finalists are never one line: they were taken on different images of differently trained networks.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import InputError
from nas.files import write_atomic
from nas.metrics import Metric
from nas.report.canvas import BLUE, GREY, INK, ORANGE, figure_of, library, png
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.units import SHOWN, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["front_html", "front_png", "hypervolume_png", "write_plots"]


def write_plots(folder: Path, record: FrontRecord, progress: Sequence[tuple[int, float]] = ()) -> tuple[Path, ...]:
    """Writes front.html, front.png and, where there are two points or more, hypervolume.png. Returns what was written.

    Args:
        progress: (trial, hypervolume) pairs.
    """
    pictures: dict[str, bytes | str] = {"front.html": front_html(record), "front.png": front_png(record)}
    if len(progress) > 1:
        pictures["hypervolume.png"] = hypervolume_png(progress)
    for name, content in pictures.items():
        write_atomic(folder / name, content)
    return tuple(folder / name for name in pictures)


def front_html(record: FrontRecord) -> str:
    """The front as an interactive page that needs no network: hover tells everything about a candidate, a button makes the cost axis
    logarithmic, the legend hides and shows."""
    with library("plotly"):
        import plotly.graph_objects as go

        cost = _axes(record)[0]
        figure = go.Figure()
        for name, members, metric, style in _layers(record, cost):
            found = [(each, each.candidate.metrics[cost], each.candidate.metrics[metric]) for each in members]
            figure.add_trace(
                go.Scatter(
                    name=f"{name} ({len(found)})",
                    x=[SHOWN[cost].number(x.value) for _, x, _ in found],
                    y=[SHOWN[metric].number(y.value) for _, _, y in found],
                    error_x=_plotly_error([x for _, x, _ in found], cost, style),
                    error_y=_plotly_error([y for _, _, y in found], metric, style),
                    text=[_hover(each) for each, _, _ in found],
                    hovertemplate="%{text}<extra>" + html.escape(name) + "</extra>",
                    mode="lines+markers" if style["line"] else "markers",
                    line={"shape": "hv", "width": 2, "color": style["color"]},
                    marker=style["marker"],
                    opacity=style["opacity"],
                )
            )
        title, subtitle = _titles(record)
        figure.update_layout(
            title={"text": f"<b>{html.escape(title)}</b><br><sup>{html.escape(subtitle)}</sup>"},
            template="plotly_white",
            font={"color": INK, "size": 14},
            hoverlabel={"align": "left", "bgcolor": "white", "font": {"size": 13}},
            legend={"orientation": "h", "y": -0.2, "x": 0},
            margin={"t": 100, "r": 30},
            xaxis={"title": {"text": SHOWN[cost].axis}, "rangemode": "tozero", "showline": True, "linecolor": GREY},
            yaxis={"title": {"text": "accuracy, %"}, "range": _limits(record), "showline": True, "linecolor": GREY},
            updatemenus=[
                {
                    "type": "buttons",
                    "direction": "right",
                    "x": 1,
                    "xanchor": "right",
                    "y": -0.07,
                    "yanchor": "top",
                    "buttons": [
                        {
                            "label": f"{kind} {SHOWN[cost].label}",
                            "method": "relayout",
                            "args": [{"xaxis.type": kind, "xaxis.autorange": True}],
                        }
                        for kind in ("linear", "log")
                    ],
                }
            ],
        )
        page: str = figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False, "responsive": True})
    return page.replace("<head>", f"<head><title>{html.escape(title)}</title>", 1)


def front_png(record: FrontRecord) -> bytes:
    """The front as a picture for a README or a report, 1440 x 900 pixels."""
    with library("matplotlib"):
        cost, accuracy = _axes(record)
        figure, axes = figure_of(9.0, 5.625)
        for name, members, metric, style in _layers(record, cost):
            found = [each.candidate.metrics for each in members]
            x = [SHOWN[cost].number(each[cost].value) for each in found]
            y = [SHOWN[metric].number(each[metric].value) for each in found]
            if style["line"]:
                axes.plot(x, y, drawstyle="steps-post", color=style["color"], linewidth=1.8, zorder=3)
            if style["error"]:
                bands = {
                    key: [[_error(each[of], of)[side] for each in found] for side in (0, 1)]
                    for key, of in (("xerr", cost), ("yerr", metric))
                }
                axes.errorbar(x, y, **bands, fmt="none", ecolor=style["color"], elinewidth=0.9, alpha=0.35, zorder=2)  # type: ignore[arg-type]
            hollow = "-open" in style["marker"]["symbol"]
            axes.scatter(
                x,
                y,
                s=style["marker"]["size"] ** 2 * 0.62,
                marker="D" if "diamond" in style["marker"]["symbol"] else "o",
                facecolors="none" if hollow else style["color"],
                edgecolors=style["color"] if hollow else "white",
                linewidths=1.7 if hollow else 0.7,
                alpha=style["opacity"],
                label=name,
                zorder=4 if style["error"] or hollow else 1,
            )
        title, subtitle = _titles(record)
        axes.set_xlabel(SHOWN[cost].axis)
        axes.set_ylabel("accuracy, %")
        axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=26)
        axes.text(0, 1.025, subtitle, transform=axes.transAxes, fontsize=9.5, color="#5a6675", va="bottom")
        _frame(axes, record, cost, accuracy)
        if record.candidates:
            axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9.5)
        return png(figure)


def hypervolume_png(progress: Sequence[tuple[int, float]]) -> bytes:
    """The hypervolume of the front over trials: is the search still finding something?

    Args:
        progress: (trial, hypervolume) pairs.
    """
    if not progress:
        raise InputError("a picture of the hypervolume needs at least one trial")
    with library("matplotlib"):
        trials, volumes = zip(*sorted(progress), strict=True)
        figure, axes = figure_of(9.0, 3.6)
        axes.fill_between(trials, volumes, step="post", color=BLUE, alpha=0.12, linewidth=0)
        axes.plot(trials, volumes, drawstyle="steps-post", color=BLUE, linewidth=1.9)
        axes.set_xlabel("trials")
        axes.set_ylabel("hypervolume")
        axes.set_title("Hypervolume of the front over the search", loc="left", fontsize=13, fontweight="bold", pad=10)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        return png(figure)


def _axes(record: FrontRecord) -> tuple[str, str]:
    """Cost and accuracy metrics that the picture shows: latency where it is an objective, else the first cost."""
    costs = [name for name in record.objectives if not name.startswith("accuracy")]
    accuracies = [name for name in record.objectives if name.startswith("accuracy")]
    if not costs or not accuracies:
        raise InputError(f"a picture of a front needs an accuracy and a cost, its objectives are {', '.join(record.objectives)}")
    return ("latency_s" if "latency_s" in costs else costs[0]), accuracies[0]


def _layers(record: FrontRecord, cost: str) -> Iterator[tuple[str, list[CandidateRecord], str, dict[str, Any]]]:
    """(name, candidates, accuracy metric, style) of each trace, the lowest first; a style's marker is Plotly's."""
    accuracy = _axes(record)[1]
    known = [each for each in record.candidates if cost in each.candidate.metrics]
    known.sort(key=lambda each: (each.value(cost) or 0.0, each.id))
    dominated = [each for each in known if not each.on_front and accuracy in each.candidate.metrics]
    front = [each for each in known if each.on_front]
    finalists = [each for each in known if each.finalist and accuracy in each.candidate.metrics]
    tested = [each for each in known if "accuracy_test" in each.candidate.metrics]
    ring = {"size": 16, "symbol": "circle-open", "color": BLUE, "line": {"width": 2}}
    if dominated:
        yield "dominated", dominated, accuracy, _style(GREY, {"size": 7, "symbol": "circle", "color": GREY}, opacity=0.45)
    if front:
        style = _style(BLUE, {"size": 9, "symbol": "circle", "color": BLUE}, error=True, line=len(record.objectives) == 2)
        yield f"front, {SHOWN[accuracy].label}", front, accuracy, style
    if finalists:
        yield "finalists", finalists, accuracy, _style(BLUE, ring)
    if tested:
        style = _style(ORANGE, {"size": 9, "symbol": "diamond", "color": ORANGE}, error=True)
        yield "finalists trained, on the test set", tested, "accuracy_test", style


def _style(color: str, marker: dict[str, Any], opacity: float = 1.0, error: bool = False, line: bool = False) -> dict[str, Any]:
    return {"color": color, "marker": marker, "opacity": opacity, "error": error, "line": line}


def _limits(record: FrontRecord) -> tuple[float, float]:
    """Ends of the accuracy axis, per cent: far-off dominated candidates would press the front into a corner."""
    names = (_axes(record)[1], "accuracy_test")
    shown = [metric for each in record.front for name in names if (metric := each.candidate.metrics.get(name)) is not None]
    known = [value for each in record.candidates if (value := each.value(names[0])) is not None] + [metric.value for metric in shown]
    low = min((metric.value for metric in shown), default=min(known, default=0.0))
    high = max((metric.value + _error(metric, names[0])[1] / 100 for metric in shown), default=max(known, default=1.0))
    span = max(high - low, 0.01)
    return 100 * max(min(known, default=low) - 0.05 * span, low - 0.6 * span), min(100 * (high + 0.08 * span), 100.4)


def _frame(axes: Axes, record: FrontRecord, cost: str, accuracy: str) -> None:
    """Frames the front, and says how many candidates are outside."""
    right = min(axes.get_xlim()[1], 1.5 * max((SHOWN[cost].number(each.value(cost) or 0.0) for each in record.front), default=float("inf")))
    bottom, top = _limits(record)
    axes.set_xlim(0, right)
    axes.set_ylim(bottom, top)
    numbers = [(each.value(cost), each.value(accuracy)) for each in record.candidates]
    outside = sum(SHOWN[cost].number(x) > right or 100 * y < bottom for x, y in numbers if x is not None and y is not None)
    if outside:
        axes.set_xlabel(f"{SHOWN[cost].axis}   ({outside} dominated outside the frame)")


def _titles(record: FrontRecord) -> tuple[str, str]:
    cost, accuracy = _axes(record)
    title = f"{record.data} on {record.device}: {SHOWN[accuracy].label.removeprefix('search ')} against {SHOWN[cost].label}"
    sources = sorted({each.candidate.metrics[cost].source for each in record.candidates if cost in each.candidate.metrics})
    subtitle = f"{record.study}: {len(record.front)} on the front of {len(record.candidates)} networks of {record.space}"
    return title, f"{subtitle}; {SHOWN[cost].label} {' and '.join(sources)}; bars: one standard error, 90 % band"


def _error(metric: Metric, name: str) -> tuple[float, float]:
    """How far the error bar goes down and up from the value, in the unit that is shown: the band, else one standard error."""
    if metric.low is not None and metric.high is not None:
        return SHOWN[name].number(metric.value - metric.low), SHOWN[name].number(metric.high - metric.value)
    return (SHOWN[name].number(metric.std or 0.0),) * 2


def _plotly_error(metrics: list[Metric], name: str, style: dict[str, Any]) -> dict[str, Any]:
    down, up = [_error(metric, name)[0] for metric in metrics], [_error(metric, name)[1] for metric in metrics]
    visible = style["error"] and any(map(any, (down, up)))
    color = f"rgba({', '.join(str(int(style['color'][at : at + 2], 16)) for at in (1, 3, 5))}, 0.35)"
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "visible": visible,
        "thickness": 1.2,
        "width": 0,
        "color": color,
    }


def _hover(record: CandidateRecord) -> str:
    """Everything about a candidate, as the lines of a hover label."""
    words = [word for word, holds in (("on the front", record.on_front), ("finalist", record.finalist), ("tied", record.tied)) if holds]
    target = record.candidate.target
    lines = [f"<b>{record.id}</b> {', '.join(words)}", html.escape(record.title)]
    lines += [f"{SHOWN[name].label}: {html.escape(describe(name, metric))}" for name, metric in record.candidate.metrics.items()]
    lines += [
        html.escape(f"{target.runtime} {target.runtime_version}, {target.precision}, {target.threads} thread(s)"),
        html.escape(record.note),
    ]
    return "<br>".join(line for line in lines if line)
