"""front.html: what the page holds. How it looks and works is tested in a browser (test_pages_in_browser.py)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from nas.errors import InputError
from nas.report.front_page import MOST_OTHERS, front_html

from .examples import EVIL, measured, without_energy
from .strategies import example_front, with_pruned
from .test_roofline import on_threads


def _data(page: str) -> Any:
    """The figures of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_hollow_diamonds_are_explained_where_there_are_some() -> None:
    front = example_front()
    assert "Hollow" not in _data(front_html([front]))["bars"]
    assert "Hollow diamonds are finalists that were pruned" in _data(front_html([front, with_pruned(front)]))["bars"]


def test_every_candidate_with_its_figures_and_sources() -> None:
    front = measured(example_front())
    data = _data(front_html([front]))
    (device,) = data["devices"]
    assert device["ids"] == [each.id for each in front.candidates]
    assert device["titles"] == [each.title for each in front.candidates]
    assert [mark & 1 for mark in device["marks"]] == [int(each.on_front) for each in front.candidates]
    assert [bool(mark & 4) for mark in device["marks"]] == [each.tied for each in front.candidates]
    assert sum(bool(mark & 8) for mark in device["marks"]) == 1
    latency = device["metrics"]["latency_s"]
    assert latency["value"][0] == pytest.approx(1e3 * front.candidates[0].candidate.metrics["latency_s"].value, rel=1e-4)
    assert set(latency["source"]) == {"predicted"}
    assert set(device["metrics"]["energy_j"]["source"]) == {"modelled (board)"}
    assert [value is not None for value in device["metrics"]["latency_measured_s"]["value"]] == [each.finalist for each in front.candidates]
    assert device["costs"] == ["latency_s", "energy_j"]
    assert data["metrics"]["latency_s"]["axis"] == "latency, ms (predicted)"
    assert data["metrics"]["energy_j"]["axis"] == "energy, mJ (modelled, board)"
    assert device["thinned"] == ""
    assert device["found"] == "digits-1, mobilenet_tiny: 12 of 52 evaluated networks are on the front"


def test_what_is_outside_the_constraints_is_marked() -> None:
    front = example_front(3, 4)
    *kept, last = front.candidates
    (device,) = _data(front_html([replace(front, candidates=(*kept, replace(last, feasible=False)))]))["devices"]
    assert [mark & 32 for mark in device["marks"]] == [0] * 6 + [32]


def test_three_dimensions_where_latency_and_energy_are_known() -> None:
    front = example_front()
    (device,) = _data(front_html([front]))["devices"]
    assert (device["in_space"], device["absent"]) == (True, "")
    (device,) = _data(front_html([without_energy(front)]))["devices"]
    assert (device["costs"], device["in_space"]) == (["latency_s"], False)
    assert device["absent"] == (
        "No energy on raspberrypi4 is known, so there is neither accuracy against energy nor the front in three dimensions."
    )


def test_a_front_over_several_targets_tells_them_apart() -> None:
    (device,) = _data(front_html([on_threads(example_front(3, 0), 1, 4)]))["devices"]
    assert device["targets"] == ["onnxruntime, fp32, 1 thread", "onnxruntime, fp32, 4 threads", "onnxruntime, fp32, 1 thread"]
    assert _data(front_html([example_front(3, 0)]))["devices"][0]["targets"] == []


def test_one_file_that_asks_for_nothing() -> None:
    page = front_html([example_front()])
    assert not re.search(r"<(script|img|link|iframe)[^>]*\s(src|href)=", page)
    assert "default-src 'none'" in page
    assert len(page) < 2.2e6


def test_all_fronts_in_one_page() -> None:
    devices = _data(front_html([example_front(), example_front(device="pixel3")]))["devices"]
    assert [each["device"] for each in devices] == ["raspberrypi4", "pixel3"]


def test_thousands_are_thinned_and_it_says_so() -> None:
    front = example_front(20, 9980)
    page = front_html([front])
    (device,) = _data(page)["devices"]
    assert len(device["ids"]) == MOST_OTHERS + 20
    assert len(set(device["ids"])) == len(device["ids"])
    assert device["thinned"] == "2,020 of 10,000 candidates are drawn: those off the front are thinned evenly."
    assert len(page) < 2.9e6


def test_words_cannot_break_out_of_the_page() -> None:
    front = example_front(3, 0)
    named = replace(front, data=EVIL, space=EVIL, candidates=tuple(replace(each, title=EVIL, note=EVIL) for each in front.candidates))
    page = front_html([named])
    assert "<script>window.broken" not in page
    assert "onerror='" not in page
    assert _data(page)["devices"][0]["titles"] == [EVIL] * 3


def test_nothing_to_show() -> None:
    with pytest.raises(InputError, match="at least one front"):
        front_html([])
    assert _data(front_html([example_front(0, 0)]))["devices"][0]["ids"] == []
