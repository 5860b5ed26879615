from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hardware.transports.sshd import Sshd, running


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A device behind ssh with python3, numpy and onnxruntime."""
    yield from running(tmp_path)
