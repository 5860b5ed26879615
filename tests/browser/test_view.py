"""What a person sees who opens the link that `nas ui` prints: the front, without a click; the table; the registered models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nas.bench.page import open_view, read_table
from nas.report.record import read_front
from nas.report.tracking import sync
from nas.report.tracking.registry import ALIASES
from tests.browser.conftest import WAIT_S, Shoot, served
from tests.report.strategies import example_front
from tests.report.studies import write_study

if TYPE_CHECKING:
    from playwright.sync_api import Page

DEVICES = ("raspberrypi4", "pixel3")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study for two devices, which `nas ui` sends itself, and another one that must not be seen."""
    folder = tmp_path_factory.mktemp("browser") / "runs"
    sync(write_study(folder, [example_front(4, 2, study="other")]))
    write_study(folder, [example_front(12, 30, device=DEVICES[0], study="shown"), example_front(7, 20, device=DEVICES[1], study="shown")])
    return folder


@pytest.fixture(scope="module")
def address(runs: Path, browser: object) -> Iterator[str]:
    """Of the study's view; nothing is started where no browser is."""
    with served(runs, "shown") as found:
        yield found


def shown_points(runs: Path, *devices: str) -> list[tuple[float, float]]:
    """(latency ms, search accuracy) of the members of the fronts."""
    members = [each for device in devices for each in read_front(runs / "shown", device).front]
    return sorted((1e3 * (each.value("latency_s") or 0.0), each.value("accuracy_search") or 0.0) for each in members)


def test_the_link_opens_on_the_front_of_all_devices(page: Page, address: str, runs: Path, shoot: Shoot) -> None:
    seen = open_view(page, address, "latency_ms", "accuracy_search", WAIT_S)
    shoot("view")
    assert seen.clicks == 0
    assert sorted(seen.points) == [pytest.approx(point) for point in shown_points(runs, *DEVICES)]
    assert page.get_by_text("Pareto front of shown").first.is_visible()


@pytest.mark.parametrize("device", DEVICES)
def test_each_device_has_a_view(device: str, page: Page, address: str, runs: Path, shoot: Shoot) -> None:
    link = address.replace("viewStateShareKey=shown", f"viewStateShareKey=shown-{device}")
    seen = open_view(page, link, "latency_ms", "accuracy_search", WAIT_S)
    shoot(f"view-{device}")
    assert seen.clicks == 0
    assert sorted(seen.points) == [pytest.approx(point) for point in shown_points(runs, device)]


def test_the_table_has_the_metrics_of_every_candidate_fastest_first(page: Page, address: str, runs: Path, shoot: Shoot) -> None:
    columns = ["accuracy_search", "accuracy_test", "energy_mj", "latency_ms"]
    link = address.replace("viewStateShareKey=shown", f"viewStateShareKey=shown-{DEVICES[0]}").replace("=CHART", "=TABLE")
    rows = read_table(page, link, columns, WAIT_S)
    shoot("table")
    members = read_front(runs / "shown", DEVICES[0]).front
    assert [row["Run Name"] for row in rows] == [each.id for each in members]
    for row, each in zip(rows, members, strict=True):
        assert float(row["latency_ms"]) == pytest.approx(1e3 * (each.value("latency_s") or 0.0), rel=1e-3)
        assert float(row["accuracy_search"]) == pytest.approx(each.value("accuracy_search"), rel=1e-3)
        assert row["accuracy_test"] == "-" if not each.finalist else float(row["accuracy_test"]) == each.value("accuracy_test")


def test_the_note_leads_to_the_views(page: Page, address: str, shoot: Shoot) -> None:
    page.goto(address.replace("=CHART", "=TABLE"))
    page.locator("[data-component-id='mlflow.experiment.metadata_editor.expand_button']").click()
    page.get_by_text("How to read a view").wait_for()
    shoot("note")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="shown-pixel3", exact=True).click()
    assert "viewStateShareKey=shown-pixel3&compareRunsMode=CHART" in opened.value.url


def test_the_registry_shows_the_aliases(page: Page, address: str, shoot: Shoot) -> None:
    page.goto(f"{address.split('#')[0]}#/models/shown-{DEVICES[0]}")
    page.get_by_text(f"@ {ALIASES[0]}").first.wait_for()
    shoot("models")
    assert {alias: page.get_by_text(f"@ {alias}").count() > 0 for alias in ALIASES} == dict.fromkeys(ALIASES, True)
