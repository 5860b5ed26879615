"""One small search on real digits through the real command line, for every test here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

QUICK = ("search", "--device", "raspberrypi4", "--epochs", "1", "--trials", "10", "--finalists", "2", "--seed", "3")


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def nas(folder: Path, *arguments: str) -> Done:
    """Runs a command in a process of its own, in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "nas", *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with spaces in its path, in which the study "first" was searched for two devices."""
    folder = tmp_path_factory.mktemp("a user's folder")
    done = nas(folder, *QUICK, "--device", "pixel3", "--study", "first", "--json")
    assert done.code == 0, done.err
    assert "Warning" not in done.err
    (folder / "result.json").write_text(done.out)
    return folder
