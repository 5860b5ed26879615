"""The pictures: of the promised size, for fronts of every shape."""

from __future__ import annotations

import struct
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from nas.errors import InputError
from nas.report import figures
from nas.report.canvas import DARK, LIGHT, library
from nas.report.figures import accuracy_limits, front_png, front_svg, hypervolume_png
from nas.report.front import CANDIDATES, FrontRecord

from .strategies import example_front, with_pruned


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def three_objectives(front: FrontRecord) -> FrontRecord:
    return replace(front, objectives=("accuracy_search", "latency_s", "energy_j"), reference_point=(0.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "front",
    [
        example_front(),
        example_front(0, 0),
        example_front(1, 0),
        example_front(0, 3),
        with_pruned(example_front()),
        three_objectives(example_front()),
        replace(example_front(), objectives=("accuracy_search", "params"), reference_point=(0.0, 1e7)),
        replace(example_front(study="a" * 100), data="/a/very/long/path/$x_1$/to/photos.zip", space="$y$"),
    ],
    ids=["usual", "empty", "one", "only dominated", "pruned", "three objectives", "without latency", "long names with dollars"],
)
def test_fronts_of_every_shape(front: FrontRecord) -> None:
    assert _size(front_png(front)) == (1440, 900)


def test_a_picture_for_a_page_is_the_same_twice_and_dark_where_asked() -> None:
    front = example_front(5, 5)
    light, dark = front_svg(front, LIGHT), front_svg(front, DARK)
    assert light == front_svg(front, LIGHT)
    assert ElementTree.fromstring(light).tag.endswith("svg")
    assert LIGHT.paper.encode() in light
    assert DARK.paper.encode() in dark
    assert b"<script" not in light


def test_a_pruned_finalist_is_drawn_with_its_test_accuracy() -> None:
    front = example_front()
    assert front_svg(with_pruned(front), LIGHT).count(b"<use") > front_svg(front, LIGHT).count(b"<use")


def test_the_frame_holds_the_front() -> None:
    front = example_front()
    low, high = accuracy_limits(front)
    assert all(low < 100 * (each.value("accuracy_search") or 0.0) < high <= 100.4 for each in front.front)


def test_hypervolume() -> None:
    assert _size(hypervolume_png({"pi": [(0, 0.0), (5, 0.1)]})) == (1440, 576)
    assert _size(hypervolume_png({"pi": [(0, 0.0), (5, 0.1)], "pixel": [(1, 0.0), (9, 0.0)], "host": []})) == (1440, 576)
    with pytest.raises(InputError, match="at least one trial"):
        hypervolume_png({"pi": []})


def test_a_front_without_a_cost_has_no_picture() -> None:
    with pytest.raises(InputError, match="an accuracy and a cost"):
        front_png(replace(example_front(), objectives=("accuracy_search",), reference_point=(0.0,)))


def test_what_is_outside_the_constraints_is_not_drawn_as_dominated() -> None:
    front = example_front(3, 4)
    outside = tuple(replace(each, feasible=each.on_front or number % 2 == 0) for number, each in enumerate(front.candidates))
    some, none = (front_svg(each, LIGHT) for each in (replace(front, candidates=outside), front))
    assert [b"<!-- outside the constraints -->" in drawn for drawn in (some, none)] == [True, False]
    assert all(b"<!-- dominated -->" in drawn for drawn in (some, none))


def test_counts_are_those_of_the_search_where_some_are_drawn() -> None:
    front = replace(example_front(), search={"trials": 1500.0, CANDIDATES: 3000.0})
    with library("matplotlib"):
        (axes,) = figures._front(front, LIGHT, 9.0, 5.625, titled=True).axes
    words = "\n".join(text.get_text() for text in axes.texts)
    assert "digits-1, mobilenet_tiny: 12 of 1,500 evaluated networks are on the front" in words
    assert "52 of 3,000 candidates drawn" in words
