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


def test_no_file_of_the_current_folder_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("nas.py", "random.py", "queue.py"):
        (tmp_path / name).write_text("raise SystemExit(7)\n")
    transport = LocalTransport()
    try:
        assert transport.connect()["ok"]
    finally:
        transport.close()


def test_one_measuring_at_a_time_runs_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    first, second, same = LocalTransport(key="one"), LocalTransport(key="two"), LocalTransport(key="one")
    try:
        first.connect()
        with pytest.raises(TargetError, match=r"this machine: another measuring runs on it \(process \d+\): wait until it is done"):
            second.connect()
        # What a crash of the same measuring left is ended.
        same.connect()
        with pytest.raises(LinkLostError):
            first.ask({"id": "1", "op": "facts"}, 20)
        same.close()
        assert second.connect()["ok"]
    finally:
        for transport in (first, second, same):
            transport.close()
    assert {path.name for path in (tmp_path / "hwnas").iterdir()} == {"lock"}


def test_answers_that_could_not_be_saved_are_found_by_the_same_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    answer = tmp_path / "hwnas" / "local-one" / "results" / "kept.json"
    for keep, key in ((True, "one"), (False, "one"), (True, "")):
        transport = LocalTransport(key=key)
        transport.connect()
        assert answer.exists() is (not keep)
        if key:
            answer.write_text("{}")
        transport.close(keep)
        assert answer.exists() is (keep and bool(key))
    assert {path.name for path in (tmp_path / "hwnas").iterdir()} == {"lock"}


def test_a_machine_without_a_folder_to_measure_in_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file"))
    with pytest.raises(TargetError, match="set NAS_CACHE to one that can be written to"):
        LocalTransport().connect()
    (tmp_path / "hwnas" / "lock").mkdir(parents=True)
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    with pytest.raises(TargetError, match=r"this machine: .*lock: Is a directory"):
        LocalTransport().connect()


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
