"""A study's view as a person sees it: MLflow's page in a real browser, driven by playwright. For the benchmark and the browser tests."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["BROWSERS", "Seen", "browser_program", "open_browser", "open_view", "read_table"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
POINTS = """([x, y]) => {
  for (const chart of document.querySelectorAll('.js-plotly-plot')) {
    const title = axis => axis?.title?.text ?? axis?.title;
    if (title(chart.layout?.xaxis) === x && title(chart.layout?.yaxis) === y && chart.data[0].type === 'scatter'
        && chart.querySelector('.scatterlayer .point'))
      return Array.from(chart.data[0].x, (value, row) => [value, chart.data[0].y[row]]);
  }
  return null;
}"""
"""Points of the scatter chart with these axes, once it is drawn; null before."""
CELLS = """names => {
  const rows = {};
  for (const cell of document.querySelectorAll('.ag-center-cols-container .ag-cell, .ag-pinned-left-cols-container .ag-cell')) {
    const id = cell.closest('.ag-row').getAttribute('row-index'), column = cell.getAttribute('col-id');
    const name = names.find(each => column.includes(`\\`${each}\\``));
    if (name) (rows[id] ??= {})[name] = cell.innerText.split('\\n').pop();
  }
  const found = Object.values(rows);
  return found.length && found.every(row => names.every(name => name in row)) ? found : null;
}"""
"""Rows of the table of runs, by column, once it has all columns; null before. "Run Name" is one of them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a person saw of a view.

    Attributes:
        points: (x, y) of the chart.
        clicks: after the link was opened, until the chart was there.
        seconds: from opening the link until all of its points were drawn.
    """

    points: tuple[tuple[float, float], ...]
    clicks: int
    seconds: float


def browser_program() -> str | None:
    """Path of the system's browser; None where there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def open_browser(*, is_root: bool) -> Iterator[Browser]:
    """The system's browser, without a window.

    Args:
        is_root: chromium keeps no sandbox for root.

    Raises:
        MissingExtraError: playwright is not installed.
        InputError: there is no browser.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as exc:
        raise MissingExtraError("playwright", "dev") from exc
    program = browser_program()
    if program is None:
        raise InputError(f"no browser is installed: one of {', '.join(BROWSERS)} is needed, e.g. apt install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"] if is_root else [])
        try:
            yield browser
        finally:
            browser.close()


def open_view(page: Page, address: str, x: str, y: str, wait_s: float) -> Seen:
    """Opens a link and waits for the chart of `y` against `x`; clicks on the charts' button where it does not come by itself.

    Args:
        x, y: metrics.
        wait_s: for the chart, before the click and after.

    Raises:
        playwright.sync_api.TimeoutError: it never came.
    """
    from playwright.sync_api import TimeoutError as Late

    started, clicks = time.perf_counter(), 0
    page.goto(address)
    try:
        page.wait_for_function(POINTS, arg=[x, y], timeout=1e3 * wait_s)
    except Late:
        page.get_by_role("radio", name="chart").or_(page.locator("[aria-label*='chart' i]")).first.click()
        clicks += 1
        page.wait_for_function(POINTS, arg=[x, y], timeout=1e3 * wait_s)
    points = page.evaluate(POINTS, [x, y])
    return Seen(tuple((float(a), float(b)) for a, b in points), clicks, time.perf_counter() - started)


def read_table(page: Page, address: str, columns: list[str], wait_s: float) -> list[dict[str, str]]:
    """Opens the link of a table and reads its rows: "Run Name" and columns of metrics, as they are shown.

    Raises:
        playwright.sync_api.TimeoutError: it never had these columns.
    """
    page.goto(address)
    page.wait_for_function(CELLS, arg=["Run Name", *columns], timeout=1e3 * wait_s)
    rows: list[dict[str, str]] = page.evaluate(CELLS, ["Run Name", *columns])
    return rows
