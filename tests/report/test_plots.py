"""The pictures: what is in the page, that it needs no network, and that the files are pictures of the promised size."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.errors import InputError
from nas.report.front import FrontRecord
from nas.report.plots import front_html, front_png, hypervolume_png, write_plots

from .strategies import example_front


def _traces(page: str) -> dict[str, dict[str, Any]]:
    """The traces of a page, by name without the number of points."""
    call = page.index("Plotly.newPlot(")
    traces, _ = json.JSONDecoder().raw_decode(page, page.index("[{", call))
    return {trace["name"].rpartition(" (")[0]: trace for trace in traces}


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_front_html() -> None:
    front = example_front()
    page = front_html(front)
    assert "<script src=" not in page
    assert "plotly.js v" in page
    assert "<link" not in page[:1000]
    traces = _traces(page)
    assert {name: len(trace["text"]) for name, trace in traces.items()} == {
        "dominated": 40,
        "front, search accuracy": 12,
        "finalists": 4,
        "finalists trained, on the test set": 4,
    }
    for each, hover in zip(front.front, traces["front, search accuracy"]["text"], strict=True):
        assert each.id in hover
        assert each.title in hover
        assert "latency: " in hover
        assert "predicted" in hover
        assert "counted" in hover
    assert traces["front, search accuracy"]["mode"] == "lines+markers"
    assert traces["front, search accuracy"]["error_x"]["visible"]
    assert traces["dominated"]["mode"] == "markers"
    assert '"args":[{"xaxis.type":"log"' in page


def test_words_cannot_break_out_of_the_page() -> None:
    front = example_front(3, 0)
    evil = "</script><script>alert(1)</script>"
    page = front_html(replace(front, data=evil, candidates=tuple(replace(each, title=evil, note=evil) for each in front.candidates)))
    assert evil not in page


def test_pngs() -> None:
    assert _size(front_png(example_front())) == (1440, 900)
    assert _size(hypervolume_png([(0, 0.0), (5, 0.1)])) == (1440, 576)
    with pytest.raises(InputError, match="at least one trial"):
        hypervolume_png([])


def _three_objectives(front: FrontRecord) -> FrontRecord:
    return replace(front, objectives=("accuracy_search", "latency_s", "energy_j"), reference_point=(0.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "front",
    [
        example_front(0, 0),
        example_front(1, 0),
        example_front(0, 3),
        _three_objectives(example_front()),
        replace(example_front(), objectives=("accuracy_search", "params"), reference_point=(0.0, 1e7)),
    ],
    ids=["empty", "one", "only dominated", "three objectives", "without latency"],
)
def test_fronts_of_every_shape(front: FrontRecord) -> None:
    assert front_png(front)
    traces = _traces(front_html(front)) if front.candidates else {}
    for trace in traces.values():
        assert ("lines" in trace["mode"]) == (trace["name"].startswith("front") and len(front.objectives) == 2)


def test_a_front_without_a_cost_has_no_picture() -> None:
    with pytest.raises(InputError, match="an accuracy and a cost"):
        front_png(replace(example_front(), objectives=("accuracy_search",), reference_point=(0.0,)))


def test_write_plots(tmp_path: Path) -> None:
    assert [path.name for path in write_plots(tmp_path, example_front(3, 3))] == ["front.html", "front.png"]
    assert [path.name for path in write_plots(tmp_path, example_front(3, 3), [(0, 0.0), (1, 0.1)])][2] == "hypervolume.png"
    assert all(path.stat().st_size > 5000 for path in tmp_path.iterdir())
