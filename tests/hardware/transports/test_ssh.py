from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from nas.architecture import BlockSpec
from nas.config import MeasureProtocol
from nas.errors import InputError, LinkLostError, TargetError
from nas.hardware import calibrate as calibrate_module
from nas.hardware.calibrate import calibrate
from nas.hardware.roofline import CoreFacts, roofline
from nas.hardware.rows import network_hash, read_rows, rows_path, runs_path
from nas.hardware.session import Patience, Session
from nas.hardware.transports.ssh import SshTransport, parse_address
from nas.target import Target
from nas.testing import TransportContract
from tests.hardware.models import write_model
from tests.hardware.test_fitting import networks
from tests.hardware.transports.sshd import Sshd

TARGET = Target("board", "onnxruntime", "unknown", "fp32", 1)
PROTOCOL = MeasureProtocol(windows=3, window_s=0.05, warmup_runs=2, max_warmup_s=0.1, max_drift=9.0, max_repeats=20)
PRIOR = roofline(CoreFacts(1.5e9, 4.0, 4.6e9))


def device(sshd: Sshd, address: str = "ssh://board", key: str = "test") -> SshTransport:
    return SshTransport(address, key, sshd.config)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is away is asked again soon."""
    patience = Patience(pauses_s=(0.1, 0.2, 0.5, 1, 2, 4))
    monkeypatch.setattr(calibrate_module, "Session", lambda transport, note: Session(transport, note, patience))


def export(blocks: Sequence[BlockSpec], path: Path) -> None:
    """A convolution whose size follows the blocks: every network another file."""
    size = 16 + len(blocks) + sum(block.out_chs for block in blocks) % 64
    write_model(path, sizes=(size, size))


class TestSsh(TransportContract):
    @pytest.fixture
    def transport(self, sshd: Sshd) -> Iterator[SshTransport]:
        transport = device(sshd)
        yield transport
        transport.close()

    @pytest.fixture
    def model_path(self, tmp_path: Path) -> Path:
        return write_model(tmp_path / "tiny.onnx")

    def test_it_cleans_up_and_leaves_others_alone(self, transport: SshTransport, sshd: Sshd, model_path: Path) -> None:
        other = sshd.home / ".cache" / "hwnas" / "another"
        other.mkdir(parents=True)
        transport.connect()
        transport.put(model_path, "model.onnx")
        folder = sshd.home / ".cache" / "hwnas" / "test"
        assert {path.name for path in folder.iterdir()} == {"models", "results", "runner.pyz"}
        assert folder.stat().st_mode & 0o077 == 0
        transport.close()
        assert not folder.exists()
        assert other.exists()
        assert sshd.kill_runner() == 0

    def test_the_device_measures_with_the_bundle(self, transport: SshTransport) -> None:
        facts = transport.connect()
        assert set(facts["runtimes"]) == {"onnxruntime"}  # openvino is installed here, not there


@pytest.mark.parametrize("break_it", [Sshd.cut, Sshd.kill_runner, lambda sshd: (sshd.stop(), sshd.start())], ids=["cut", "kill", "reboot"])
def test_a_measuring_that_breaks_in_the_middle_goes_on(sshd: Sshd, tmp_path: Path, break_it: Callable[[Sshd], object]) -> None:
    nets = networks(5)
    broken = threading.Event()

    def progress(done: int, total: int, what: str) -> None:
        if done == 2 and not broken.is_set():
            broken.set()
            threading.Timer(0.2, break_it, (sshd,)).start()

    notes: list[str] = []
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, PRIOR, progress, device(sshd), notes.append)
    rows = read_rows(rows_path(tmp_path, TARGET), TARGET)
    assert [row.network for row in rows] == [network_hash(net) for net in nets]
    assert all(runs_path(tmp_path, TARGET, row.network, row.runtime_version).is_file() for row in rows)
    assert any("connecting again" in note for note in notes)
    assert not (sshd.home / ".cache" / "hwnas" / "test").exists()


def test_a_measuring_that_is_killed_here_goes_on_with_what_is_there(sshd: Sshd, tmp_path: Path) -> None:
    nets = networks(4)

    class Killed(BaseException):
        """As SIGKILL: nothing is cleaned up on the device."""

    def kill(done: int, total: int, what: str) -> None:
        if done == 2:
            sshd.stop()
            raise Killed

    with pytest.raises(Killed):
        calibrate(tmp_path, TARGET, nets, export, PROTOCOL, PRIOR, kill, device(sshd))
    assert len(read_rows(rows_path(tmp_path, TARGET))) == 2
    sshd.start()
    counts: list[int] = []
    calibrate(tmp_path, TARGET, nets, export, PROTOCOL, PRIOR, lambda done, total, what: counts.append(done), device(sshd))
    assert counts[0] == 2
    assert len(read_rows(rows_path(tmp_path, TARGET))) == 4


def test_a_second_measuring_is_kept_off_the_device(sshd: Sshd) -> None:
    first, second, same = device(sshd), device(sshd, key="second"), device(sshd)
    try:
        first.connect()
        with pytest.raises(TargetError, match=r"another measuring runs.*wait until it is done, or end that process there"):
            second.connect()
        # The same measuring after a crash here takes over.
        same.connect()
        with pytest.raises(LinkLostError):
            first.ask({"id": "1", "op": "facts"}, 20)
        assert same.ask({"id": "1", "op": "facts"}, 60)["ok"]
    finally:
        for transport in (first, second, same):
            transport.close()


def test_a_wrong_key_is_named(sshd: Sshd) -> None:
    sshd.config.write_text(sshd.config.read_text().replace("/key\n", "/other_key\n"))
    with pytest.raises(TargetError, match="refuses the key: ssh-copy-id board"):
        device(sshd).connect()


@pytest.mark.parametrize(("right", "wrong"), [("/key\n", "/other_key\n"), ("HostName 127.0.0.1", "HostName no-such-host.invalid")])
def test_a_device_that_boots_is_waited_for(sshd: Sshd, right: str, wrong: str) -> None:
    transport = device(sshd)
    config = sshd.config.read_text()
    try:
        transport.connect()
        answer = sshd.home / ".cache" / "hwnas" / "test" / "results" / "kept.json"
        answer.write_text("{}")
        sshd.config.write_text(config.replace(right, wrong))
        with pytest.raises(LinkLostError, match=r"refuses the key|no host of that name"):
            transport.connect()
        sshd.config.write_text(config)
        transport.connect()
        assert answer.exists()
    finally:
        transport.close()
    assert not answer.exists()


def test_a_failed_reconnect_keeps_answers_and_a_failed_start_leaves_nothing(sshd: Sshd) -> None:
    folder = sshd.home / ".cache" / "hwnas" / "test"
    python = sshd.tools / "python3"
    python.rename(sshd.folder / "python3")
    with pytest.raises(TargetError, match="no python3"):
        device(sshd).connect()
    assert not folder.exists()
    (sshd.folder / "python3").rename(python)
    transport = device(sshd)
    transport.connect()
    (folder / "results" / "kept.json").write_text("{}")
    python.unlink()
    for again in (transport, device(sshd)):  # after a lost link, and after a crash here
        with pytest.raises(TargetError, match="no python3"):
            again.connect()
        again.close()
        assert (folder / "results" / "kept.json").exists()


def test_an_unknown_host_key_is_named(sshd: Sshd) -> None:
    (sshd.folder / "known_hosts").write_text("")
    with pytest.raises(TargetError, match="host key is not known: run ssh board once"):
        device(sshd).connect()


def test_a_machine_without_ssh_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match="there is no ssh on this machine: sudo apt install openssh-client"):
        SshTransport("ssh://board", "test").connect()


@pytest.fixture
def ssh_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a script first on the path as ssh; gives the folder that it runs in."""

    def make(script: str) -> Path:
        tools = tmp_path / "tools"
        tools.mkdir()
        (tools / "ssh").write_text(f"#!{sys.executable}\n{script}\n")
        (tools / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make


def test_ctrl_c_reaches_no_ssh_that_copies(ssh_that: Callable[[str], Path]) -> None:
    folder = ssh_that("import os, pathlib\npathlib.Path('group').write_text(str(os.getpgrp()))\nraise SystemExit(3)")
    with pytest.raises(TargetError, match="cannot copy files there: exit status 3"):
        SshTransport("ssh://board", "test").connect()
    assert int((folder / "group").read_text()) != os.getpgrp()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Permission denied (publickey).", "ssh-copy-id -p 2222 pi@board, or name the key"),
        ("Host key verification failed.", "run ssh -p 2222 pi@board once"),
        ("Connection refused", "does ssh -p 2222 pi@board work"),
    ],
)
def test_commands_to_try_name_the_port(ssh_that: Callable[[str], Path], said: str, words: str) -> None:
    ssh_that(f"import sys\nprint({said!r}, file=sys.stderr)\nraise SystemExit(255)")
    with pytest.raises((TargetError, LinkLostError), match=re.escape(words)):
        SshTransport("ssh://pi@board:2222", "test").connect()


def test_an_unreachable_host_is_named(sshd: Sshd) -> None:
    sshd.stop()
    with pytest.raises(LinkLostError, match="cannot be reached: is it on"):
        device(sshd).connect()
    with pytest.raises(TargetError, match="no host of that name"):
        device(sshd, "ssh://no-such-host.invalid").connect()


def test_a_device_without_python_is_named(sshd: Sshd) -> None:
    (sshd.tools / "python3").unlink()
    with pytest.raises(TargetError, match=r"no python3: install Python 3\.9"):
        device(sshd).connect()


def test_a_device_without_onnxruntime_is_told_what_to_install(sshd: Sshd) -> None:
    (sshd.folder / "site" / "onnxruntime").unlink()
    with pytest.raises(TargetError, match="has no onnxruntime: run there: python3 -m venv"):
        device(sshd).connect()
    (sshd.folder / "site" / "numpy").unlink()
    with pytest.raises(TargetError, match="has no numpy: run there"):
        device(sshd).connect()


@pytest.mark.parametrize("library", ["onnxruntime", "numpy"])
def test_a_library_that_does_not_load_is_not_called_missing(sshd: Sshd, library: str) -> None:
    (sshd.folder / "site" / library).unlink()
    (sshd.folder / "site" / library).mkdir()
    broken = 'raise ImportError("a page\\nof words") from ImportError("libopenblas.so.0: no such file")\n'
    (sshd.folder / "site" / library / "__init__.py").write_text(broken)
    with pytest.raises(TargetError, match=rf"ssh://board: {library} is there and does not load: libopenblas\.so\.0: no such file$"):
        device(sshd).connect()


def test_the_devices_own_environment_is_preferred(sshd: Sshd) -> None:
    own = sshd.home / ".hwnas" / "bin"
    own.mkdir(parents=True)
    (sshd.tools / "python3").rename(own / "python")
    (sshd.tools / "python3").write_text("#!/bin/sh\nexit 9\n")
    (sshd.tools / "python3").chmod(0o755)
    transport = device(sshd)
    try:
        assert transport.connect()["ok"]
    finally:
        transport.close()


def test_a_full_disk_on_the_device_is_named(sshd: Sshd, tmp_path: Path) -> None:
    cache = sshd.home / ".cache"
    cache.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(cache)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    transport = device(sshd)
    try:
        transport.connect()
        big = tmp_path / "big.onnx"
        big.write_bytes(bytes(2**20))
        with pytest.raises(TargetError, match="no space left on the device"):
            transport.put(big, "big.onnx")
        transport.close()
        assert {path.name for path in (cache / "hwnas").iterdir()} == {"lock"}
    finally:
        transport.close()
        sshd.stop()
        subprocess.run(["umount", "--lazy", str(cache)], check=True)


@pytest.mark.parametrize(
    ("text", "destination", "port"),
    [
        ("ssh://pi@Board", "pi@Board", None),
        ("ssh://10.0.0.7:2222", "10.0.0.7", 2222),
        ("ssh://my_pi", "my_pi", None),
        ("ssh://Pi@pi", "Pi@pi", None),
        ("ssh://pi@Pi:7", "pi@Pi", 7),
        ("ssh://[fe80::1%enP8p1s0]", "fe80::1%enP8p1s0", None),
        ("ssh://pi@[fe80::1%enP8p1s0]:22", "pi@fe80::1%enP8p1s0", 22),
    ],
)
def test_addresses(text: str, destination: str, port: int | None) -> None:
    address = parse_address(text)
    assert (address.destination, address.port) == (destination, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "ssh://",
        "ssh://-oProxyCommand=x",
        "http://pi",
        "ssh://pi/x",
        "ssh://a b",
        "ssh://pi:99999",
        "ssh://pi;ls",
        "ssh://h#frag",
        "ssh://h#",
        "ssh://h?q",
        "ssh://h?",
        "ssh://h:0",
    ],
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="ssh://user@host"):
        parse_address(text)


def test_keys_that_are_none() -> None:
    with pytest.raises(InputError, match="key"):
        SshTransport("ssh://pi", "../..")
