from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nas.errors import LinkLostError, TargetError, UnknownNameError
from nas.hardware.session import Patience, Session, open_transport
from nas.hardware.transports.link import Link
from nas.hardware.transports.local import LocalTransport
from nas.testing import TransportContract
from tests.hardware.models import write_model


class TestLocal(TransportContract):
    @pytest.fixture
    def transport(self) -> Iterator[LocalTransport]:
        transport = LocalTransport()
        yield transport
        transport.close()

    @pytest.fixture
    def model_path(self, tmp_path: Path) -> Path:
        return write_model(tmp_path / "tiny.onnx")


def test_transports_are_found_by_scheme() -> None:
    assert isinstance(open_transport("local", "key"), LocalTransport)
    assert open_transport("ssh://pi@board", "key").address == "ssh://pi@board"
    with pytest.raises(UnknownNameError, match="transport 'serial'"):
        open_transport("serial://tty", "key")


def test_a_runner_that_is_killed_is_started_again(tmp_path: Path) -> None:
    transport = LocalTransport()
    notes: list[str] = []
    with Session(transport, notes.append, Patience(pauses_s=(0.0,))) as session:
        psutil.Process(int(session.hello["pid"])).kill()
        assert session.facts()["chip"]
    assert len(notes) == 1
    assert "the runner" in notes[0]


def test_a_full_disk_here_is_named(tmp_path: Path) -> None:
    transport = LocalTransport()
    try:
        transport.connect()
        with pytest.raises(TargetError, match="cannot copy the model"):
            transport.put(tmp_path / "absent.onnx", "model.onnx")
    finally:
        transport.close()


def test_programs_that_do_not_answer() -> None:
    with pytest.raises(LinkLostError, match="cannot start"):
        Link(["/no/such/program"])
    link = Link(["sh", "-c", "echo not json; echo '[1]'; echo it broke >&2; exit 3"])
    with pytest.raises(LinkLostError, match="it broke"):
        link.receive("hello", 10)
    assert link.status() == 3
    with pytest.raises(LinkLostError):
        link.receive("hello", 10)
    link.close()
    with pytest.raises(LinkLostError):
        link.send({"id": "1"})
    slow = Link(["sleep", "60"])
    with pytest.raises(LinkLostError, match="no answer"):
        slow.receive("hello", 0.05)
    slow.close()
