"""The roofline plot and what it says: who wastes the chip, and what the finding is worth."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from nas.errors import InputError
from nas.hardware.ceiling import Ceiling, Peak, Peaks
from nas.metrics import Metric
from nas.report.canvas import DARK, LIGHT
from nas.report.front import FrontRecord
from nas.report.roofline import by_target, name_of, roofline_svg, roofline_words
from nas.target import Target

from .examples import example_ceilings
from .strategies import example_front, with_pruned

ONE = Target("raspberrypi4", "onnxruntime", "1.22", "fp32", 1)
PEAKS = Peaks(Peak(6e9, "published", "a data sheet"), Peak(4e9, "measured", "a copy"))


def on_threads(front: FrontRecord, *threads: int) -> FrontRecord:
    """The same front with its candidates' threads, in turn."""
    candidates = []
    for number, each in enumerate(front.candidates):
        target = replace(each.candidate.target, threads=threads[number % len(threads)])
        candidates.append(replace(each, candidate=replace(each.candidate, target=target), artifacts={}))
    return replace(front, candidates=tuple(candidates))


def placed(front: FrontRecord, macs: float, moved_bytes: float, latency_s: float, source: str = "measured") -> dict[str, Ceiling]:
    """All of its members at one place."""
    latency = Metric(latency_s, "s", source)  # type: ignore[arg-type]
    return {each.id: Ceiling(each.candidate.target, macs, moved_bytes, latency, PEAKS) for each in front.shown}


def written(picture: bytes) -> list[tuple[str, float]]:
    """The words of a picture, which are paths with the words as a comment before them, and their height in points."""
    found = re.findall(r"<!-- (.*?) -->\s*<g [^>]*?translate\([\d.]+ ([\d.]+)\)", picture.decode())
    return [(words, float(height)) for words, height in found]


def words(front: FrontRecord, ceilings: dict[str, Ceiling], *, is_known: bool = True) -> str:
    return " ".join(f"{subject}: {text}" for subject, text in roofline_words(front, ceilings, is_known=is_known))


@pytest.mark.parametrize("front", [example_front(), example_front(1, 0), on_threads(example_front(), 1, 2, 4)])
def test_a_picture_has_every_network_and_is_the_same_twice(front: FrontRecord) -> None:
    ceilings = example_ceilings(front)
    light = roofline_svg(front, ceilings, LIGHT)
    assert light == roofline_svg(front, ceilings, LIGHT)
    assert DARK.paper.encode() in roofline_svg(front, ceilings, DARK)
    root = ElementTree.fromstring(light)
    marks = [each for each in root.iter() if each.tag.endswith("}use") and f"stroke: {LIGHT.series[0]}" in each.get("style", "")]
    on_first = len([each for each in front.shown if each.candidate.target == next(iter(by_target(front, ceilings)))])
    assert len(marks) == on_first


def test_what_was_pruned_has_a_mark_of_its_own() -> None:
    whole, front = example_front(), with_pruned(example_front())
    assert b"pruned finalist, predicted latency" in roofline_svg(front, example_ceilings(front), LIGHT)
    assert b"pruned finalist" not in roofline_svg(whole, example_ceilings(whole), LIGHT)


def test_targets_with_the_same_peaks_are_beneath_one_roof_and_the_legend_names_their_colours() -> None:
    front = example_front(4, 0)
    targets = (ONE, replace(ONE, precision="int8"))
    front = replace(
        front,
        candidates=tuple(
            replace(each, candidate=replace(each.candidate, target=targets[number % 2]), artifacts={})
            for number, each in enumerate(front.candidates)
        ),
    )
    shared = {each.id: Ceiling(each.candidate.target, 6e8, 1e8, Metric(0.4, "s", "predicted"), PEAKS) for each in front.shown}
    told = [words for words, _ in written(roofline_svg(front, shared, LIGHT))]
    assert told.count("6 GMAC/s, published") == 1
    assert {"1 thread, fp32", "1 thread, int8"} <= set(told)


def test_words_of_close_roofs_do_not_overlap() -> None:
    front = on_threads(example_front(4, 0), 1, 2)
    near = replace(PEAKS, macs_per_s=replace(PEAKS.macs_per_s, value=6.2e9))
    ceilings = {
        each.id: Ceiling(
            each.candidate.target, 6e8, 1e8, Metric(0.4, "s", "predicted"), PEAKS if each.candidate.target.threads == 1 else near
        )
        for each in front.shown
    }
    heights = [height for words, height in written(roofline_svg(front, ceilings, LIGHT)) if "GMAC/s" in words]
    assert len(heights) == 2
    assert abs(heights[0] - heights[1]) > 9  # points: the size of the letters


def test_targets_are_in_the_order_of_their_threads() -> None:
    front = on_threads(example_front(6, 0), 4, 1, 2)
    found = by_target(front, example_ceilings(front))
    assert [target.threads for target in found] == [1, 2, 4]
    assert [len(networks) for networks in found.values()] == [2, 2, 2]
    text = words(front, example_ceilings(front))
    assert "Peaks, 4 threads: 24 GMAC/s (published" in text
    assert "Peaks, 1 thread: 6 GMAC/s (published" in text


def test_a_target_is_named_by_what_tells_it_from_the_others() -> None:
    small, other = replace(ONE, precision="int8"), replace(ONE, runtime="openvino", threads=2)
    assert name_of(ONE, [ONE]) == "1 thread"
    assert [name_of(each, [ONE, small]) for each in (ONE, small)] == ["1 thread, fp32", "1 thread, int8"]
    assert name_of(other, [ONE, other]) == "2 threads, openvino"


def test_peaks_say_where_they_are_from() -> None:
    front = example_front(4, 0)
    assert "6 GMAC/s (published: a data sheet) and 4 GB/s (measured: a copy)." in words(front, placed(front, 6e8, 1e8, 0.2))


@pytest.mark.parametrize(
    ("macs", "moved_bytes", "latency_s", "told"),
    [
        (6e8, 1e8, 0.4, "allows 100 % of the multiply-add peak (median), and 25 % of that is reached: it is the runtime that wastes"),
        (6e8, 2e9, 0.6, "allows 20 % of the multiply-add peak (median), and 83 % of that is reached: it is the networks that waste"),
        (6e8, 2e9, 2.0, "and 25 % of that is reached: both waste it"),
        (6e8, 1e8, 0.15, "and 67 % of that is reached: neither the networks nor the runtime waste much"),
        (6e8, 2e9, 0.2, "They rise above memory's roof"),
    ],
)
def test_who_wastes_the_chip(macs: float, moved_bytes: float, latency_s: float, told: str) -> None:
    front = example_front(4, 0)
    assert told in words(front, placed(front, macs, moved_bytes, latency_s))


def test_what_is_reached_is_told_in_both_units() -> None:
    front = example_front(4, 0)
    text = words(front, placed(front, 6e8, 1e8, 0.4))
    assert "4 networks reach 1.5 GMAC/s (25 % of the peak) and 250 MB/s (6.2 % of the peak). At 6 multiply-adds a byte" in text


def test_a_prediction_says_what_it_is_worth() -> None:
    front = example_front(4, 0)
    assert "prediction" not in words(front, placed(front, 6e8, 1e8, 0.4))
    predicted = placed(front, 6e8, 1e8, 0.4, "predicted")
    assert "latency is predicted, by a model of measured networks" in words(front, predicted)
    assert "our assumption and no finding" in words(front, predicted, is_known=False)
    first = front.shown[0].id
    assert "the latency of 1 of them is predicted" in words(front, {**placed(front, 6e8, 1e8, 0.4), first: predicted[first]})


def test_int8_is_compared_with_the_peak_of_fp32_and_says_so() -> None:
    front = example_front(4, 0)
    int8 = {name: replace(each, target=replace(ONE, precision="int8")) for name, each in placed(front, 6e8, 1e8, 0.4).items()}
    candidates = [replace(e, candidate=replace(e.candidate, target=replace(ONE, precision="int8")), artifacts={}) for e in front.candidates]
    told = replace(front, candidates=tuple(candidates))
    ceilings = {each.id: next(iter(int8.values())) for each in told.shown}
    assert "int8 instructions may do more" in words(told, ceilings)
    assert "Peaks, 1 thread, int8" in words(told, ceilings)


def test_nothing_to_show() -> None:
    with pytest.raises(InputError, match="needs the peaks of a chip"):
        roofline_svg(example_front(), {}, LIGHT)
    assert not list(roofline_words(example_front(), {}, is_known=True))
