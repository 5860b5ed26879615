"""One small search on real digits through the real command line, for every test here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Ended

QUICK = ("search", "--device", "raspberrypi4", "--epochs", "1", "--trials", "10", "--finalists", "2", "--seed", "3")


def nas(folder: Path, *arguments: str) -> Ended:
    """Runs a command in a process of its own, in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "nas", *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with spaces in its path, in which the study "first" was searched for two devices."""
    folder = tmp_path_factory.mktemp("a user's folder")
    done = nas(folder, *QUICK, "--device", "pixel3", "--study", "first", "--json")
    assert done.code == 0, done.err
    assert "Warning" not in done.err
    return folder
