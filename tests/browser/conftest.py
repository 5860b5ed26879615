"""A real browser before a real `nas ui`: the system's chromium, driven by playwright; skipped with a word where there is none."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nas.bench.page import BROWSERS, browser_program, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WAIT_S = 120.0
"""For a page on a busy machine."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's browser."""
    pytest.importorskip("playwright", reason="playwright is not installed: the pages are not looked at")
    if browser_program() is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed: the pages are not looked at")
    with open_browser(is_root=os.getuid() == 0) as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own, with patience."""
    context = browser.new_context(viewport={"width": 1800, "height": 1250})
    context.set_default_timeout(1e3 * WAIT_S)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for the screenshots: NAS_SCREENSHOTS, or one under pytest's."""
    named = os.environ.get("NAS_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def served(runs: Path, study: str) -> Iterator[str]:
    """The address that `nas ui` prints, while it runs."""
    command = [sys.executable, "-m", "nas", "ui", study, "--port", "0", "--no-open", "--runs", str(runs)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#/experiments/.*", address), (address, process.communicate(timeout=60))
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)


Shoot = Callable[[str], None]
ASSISTANT = "[data-component-id='mlflow.assistant.chat_panel.close']"


@pytest.fixture
def shoot(page: Page, shots: Path) -> Shoot:
    """Saves a picture of the page, without MLflow's panel for a chat."""

    def save(name: str) -> None:
        if page.locator(ASSISTANT).count():
            page.locator(ASSISTANT).first.click()
        page.wait_for_timeout(1500)  # charts are drawn one after another
        page.screenshot(path=shots / f"{name}.png")

    return save
