"""front.html and report.html in a real browser, opened from a file, with every network request refused: none is attempted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nas.report.front_page import front_html
from nas.report.report_page import report_html
from tests.report.examples import EVIL, example_facts, measured, with_drawings, without_energy
from tests.report.strategies import example_front

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_MS = 120_000
RENDERING = ("[.WebGL", "Canvas2D:")
"""Beginnings of what the browser says of its own speed where it has no graphics card."""


@dataclass
class Visit:
    """A page that was opened, and what it said and asked for meanwhile."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def traces(self) -> dict[str, dict[str, Any]]:
        """What Plotly drew: name, type and points of each trace, by its kind, or by its name where devices are compared."""
        return self.page.evaluate(
            """() => Object.fromEntries(document.getElementById("chart").data.map((each) => [
                 each.meta === "front" && !each.name.startsWith("front") ? each.name : each.meta,
                 {name: each.name, mode: each.mode, x: each.x, y: each.y, text: each.text, bars: Boolean(each.error_x)}]))"""
        )  # type: ignore[no-any-return]

    def layout(self) -> dict[str, Any]:
        return self.page.evaluate(
            '() => { const l = document.getElementById("chart").layout; return {x: l.xaxis.type, title: l.xaxis.title.text}; }'
        )  # type: ignore[no-any-return]

    def choose(self, label: str) -> None:
        """Clicks one of the buttons above the chart."""
        self.page.locator("#controls label", has_text=label).first.click()


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """Opens a page from a file; fails in the end where it complained or asked for anything."""
    visits = []

    def opened(content: str, ready: str = "#chart .main-svg", **options: Any) -> Visit:
        path = tmp_path / f"page{len(visits)}.html"
        path.write_text(content, encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(PATIENCE_MS)
        made = Visit(context.new_page())
        visits.append(made)
        made.page.on("console", lambda message: None if message.text.startswith(RENDERING) else made.said.append(message.text))
        made.page.on("pageerror", lambda error: made.said.append(str(error)))
        made.page.on(
            "request", lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else made.asked.append(request.url)
        )
        context.route("http*://**", lambda route: route.abort())
        made.page.goto(path.as_uri())
        made.page.wait_for_selector(ready)
        return made

    yield opened
    for made in visits:
        assert made.said == []
        assert made.asked == []
        assert not made.page.evaluate("Boolean(window.broken)")
        made.page.context.close()


def test_the_front_shows_every_candidate_once(visit: Callable[..., Visit]) -> None:
    front = measured(example_front())
    found = visit(front_html([front]))
    traces = found.traces()
    assert len(traces["dominated"]["x"]) + len(traces["front"]["x"]) == len(front.candidates)
    assert len(traces["front"]["x"]) == len(front.front)
    assert len(traces["tested"]["x"]) == len(front.finalists)
    assert traces["front"]["mode"] == "lines+markers"
    assert traces["front"]["bars"]
    assert found.page.locator(".scatterlayer .point").count() >= len(front.candidates)
    for each, hover in zip(front.front, traces["front"]["text"], strict=True):
        assert each.id in hover
        assert each.title.split(",")[0] in hover
        assert all(source in hover for source in ("supernet", "predicted", "modelled (board)", "counted"))
    assert "gain may be chance" in traces["front"]["text"][4]
    assert not found.page.locator("#device-field").is_visible()
    found.page.locator("#chart").hover()
    buttons = found.page.locator(".modebar-btn").evaluate_all("(all) => all.map((each) => each.dataset.title)")
    assert buttons
    assert not [words for words in buttons if "cloud" in words.lower() or "chart studio" in words.lower() or "share" in words.lower()]


def test_buttons_change_what_is_drawn(visit: Callable[..., Visit]) -> None:
    front = measured(example_front())
    found = visit(front_html([front]))
    predicted = found.traces()
    assert found.layout() == {"x": "linear", "title": "latency, ms (predicted)"}
    found.choose("measured")
    traces = found.traces()
    assert traces["front"]["x"] == pytest.approx(
        [1.1 * x for each, x in zip(front.front, predicted["front"]["x"], strict=True) if each.finalist], rel=1e-3
    )
    assert "dominated" not in traces
    assert "run on the target" in found.page.locator("#note").inner_text()
    found.choose("log")
    assert found.layout()["x"] == "log"
    found.choose("energy")
    assert found.layout() == {"x": "log", "title": "energy, mJ (modelled, board)"}
    assert found.traces()["front"]["x"] == pytest.approx([3.9 * x for x in predicted["front"]["x"]], rel=1e-3)
    assert not found.page.locator("#source-field").is_visible()


def test_what_is_outside_the_constraints_is_told_apart(visit: Callable[..., Visit]) -> None:
    front = example_front(3, 4)
    *kept, last = front.candidates
    traces = visit(front_html([replace(front, candidates=(*kept, replace(last, feasible=False)))])).traces()
    assert (len(traces["dominated"]["x"]), len(traces["outside"]["x"])) == (3, 1)
    assert "outside the constraints" in traces["outside"]["text"][0]


def test_the_front_in_three_dimensions(visit: Callable[..., Visit]) -> None:
    front = example_front()
    fronts = [front, example_front(5, 2, device="pixel3")]
    found = visit(front_html(fronts))
    if "needs WebGL" in found.page.locator("#note").inner_text():
        pytest.skip("this browser has no WebGL: the page says so")
    found.choose("both (3-D)")
    found.page.wait_for_selector("#chart .gl-container canvas")
    drawn = found.page.evaluate(
        '() => document.getElementById("chart").data.map((each) => ({type: each.type, meta: each.meta, x: each.x, y: each.y, z: each.z}))'
    )
    assert {each["type"] for each in drawn} == {"scatter3d"}
    points = {each["meta"]: each for each in drawn}
    assert len(points["dominated"]["x"]) + len(points["front"]["x"]) == len(front.candidates)
    for axis, name, factor in (("x", "latency_s", 1e3), ("y", "energy_j", 1e3), ("z", "accuracy_search", 100)):
        expected = sorted(factor * (each.value(name) or 0.0) for each in front.front)
        assert sorted(points["front"][axis]) == pytest.approx(expected, rel=1e-3)
    titles = found.page.evaluate(
        """() => { const scene = document.getElementById("chart").layout.scene;
                   return [scene.xaxis, scene.yaxis, scene.zaxis].map((axis) => axis.title.text); }"""
    )
    assert titles == ["latency, ms (predicted)", "energy, mJ (modelled, board)", "accuracy, %"]
    assert "Drag to turn" in found.page.locator("#note").inner_text()
    found.choose("log")
    found.page.select_option("#device", label="all devices")
    names = found.page.evaluate('() => document.getElementById("chart").data.map((each) => each.name)')
    assert names == ["raspberrypi4", "pixel3"]
    found.choose("energy")
    assert found.layout()["title"] == "energy, mJ (modelled, board)"


def test_without_energy_there_is_a_word(visit: Callable[..., Visit]) -> None:
    found = visit(front_html([without_energy(example_front())]))
    assert not found.page.locator("#cost-field").is_visible()
    assert "No energy on raspberrypi4 is known" in found.page.locator("#note").inner_text()


def test_devices_one_by_one_and_together(visit: Callable[..., Visit]) -> None:
    fronts = [example_front(), example_front(5, 2, device="pixel3")]
    found = visit(front_html(fronts))
    assert found.page.locator("#device option").all_inner_texts() == ["raspberrypi4", "pixel3", "all devices"]
    found.page.select_option("#device", label="pixel3")
    traces = found.traces()
    assert (len(traces["front"]["x"]), len(traces["dominated"]["x"])) == (5, 2)
    found.page.select_option("#device", label="all devices")
    assert {name: len(trace["x"]) for name, trace in found.traces().items()} == {"raspberrypi4": 12, "pixel3": 5}


def test_small_fronts(visit: Callable[..., Visit]) -> None:
    fronts = [example_front(1, 0), example_front(0, 3, device="dominated"), example_front(0, 0, device="empty")]
    found = visit(front_html(fronts))
    for front in (*fronts, fronts[0]):
        found.page.select_option("#device", label=front.device)
        shown = {name: len(trace["x"]) for name, trace in found.traces().items() if name in ("front", "dominated")}
        assert sum(shown.values()) == len(front.candidates)
        assert ("No candidate is known" in found.page.locator("#chart").inner_text()) == (not front.candidates)
    found.page.select_option("#device", label="all devices")
    assert list(found.traces()) == ["raspberrypi4"]


def test_ten_thousand_candidates_are_bearable(visit: Callable[..., Visit]) -> None:
    found = visit(front_html([example_front(20, 9980)]))
    assert len(found.traces()["dominated"]["x"]) == 2000
    assert "2,020 of 10,000 candidates are drawn" in found.page.locator("#note").inner_text()


def test_evil_names_are_words(visit: Callable[..., Visit]) -> None:
    front = with_drawings(example_front(3, 2))
    named = replace(front, data=EVIL, candidates=tuple(replace(each, title=EVIL, note=EVIL) for each in front.candidates))
    found = visit(front_html([named]))
    assert "window.broken" in found.page.locator("h1").inner_text()
    x, y = found.page.evaluate(
        """() => { const box = document.querySelector(".scatterlayer .trace:last-of-type .point").getBoundingClientRect();
                   return [box.x + box.width / 2, box.y + box.height / 2]; }"""
    )
    found.page.mouse.move(x, y)
    found.page.wait_for_selector(".hoverlayer .hovertext")
    assert "window.broken" in str(found.page.locator(".hoverlayer").text_content())
    visit(report_html(example_facts(named)), ready="footer")


def test_the_front_fits_a_phone_in_the_dark(visit: Callable[..., Visit]) -> None:
    found = visit(front_html([example_front()]), viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert found.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"


def test_the_report_sorts(visit: Callable[..., Visit]) -> None:
    front = with_drawings(measured(example_front()))
    found = visit(report_html(example_facts(front)), ready="footer")
    heading = found.page.locator("table.candidates thead th", has_text="energy")
    column = heading.evaluate("(cell) => cell.cellIndex")

    def shown() -> list[float]:
        cells = found.page.locator(f"table.candidates tbody tr td:nth-child({column + 1})")
        return [float(cell) for cell in cells.evaluate_all("(cells) => cells.map((cell) => cell.dataset.value)")]

    energies = sorted(1e3 * (each.value("energy_j") or 0.0) for each in front.front)
    heading.get_by_role("button").click()
    assert (shown(), heading.get_attribute("aria-sort")) == (pytest.approx(energies), "ascending")
    heading.get_by_role("button").click()
    assert (shown(), heading.get_attribute("aria-sort")) == (pytest.approx(energies[::-1]), "descending")
    tested = found.page.locator("table.candidates thead th", has_text="test accuracy")
    tested.get_by_role("button").click()
    last = found.page.locator("table.candidates tbody tr").last.locator("td").nth(tested.evaluate("(cell) => cell.cellIndex") - 1)
    assert last.inner_text() == "–"


def test_the_report_is_whole_without_scripts_and_fits_a_phone(visit: Callable[..., Visit]) -> None:
    facts = example_facts(with_drawings(example_front()), with_drawings(example_front(device="pixel3")))
    found = visit(report_html(facts), ready="footer", viewport={"width": 390, "height": 800}, java_script_enabled=False)
    assert found.page.locator("h2").all_inner_texts() == [
        "The question", "The answer", "The front as a table", "How sure", "How well it uses the chip", "What it means in use",
        "What it cost", "The finalists' networks", "What to run next",
    ]  # fmt: skip
    assert found.page.locator("article.card").count() == 6
    assert found.page.evaluate("document.documentElement.scrollWidth") <= 390
    found.page.emulate_media(media="print", color_scheme="dark")
    assert found.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for picture in found.page.locator("picture img").all():
        assert picture.evaluate("(image) => image.complete && image.naturalWidth > 100")
