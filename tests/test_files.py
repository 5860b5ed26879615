"""Files are whole or absent."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nas.errors import InputError
from nas.files import check_writable, is_locked, locked, remove_stale, whole_folder, write_atomic, write_atomic_with


def test_a_place_is_tried_before_anything_is_written_there(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "found.json")
    assert not list((tmp_path / "new").iterdir())
    write_atomic(tmp_path / "new" / "found.json", "old")
    check_writable(tmp_path / "new" / "found.json")
    assert (tmp_path / "new" / "found.json").read_text() == "old"
    for path in (tmp_path / "new", tmp_path / "new" / "found.json" / "under it.json"):
        with pytest.raises(InputError, match=f"cannot write {re.escape(str(path))}: "):
            check_writable(path)


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "front.json"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*front\.json: No space left"):
        write_atomic(path, b"new")
    assert path.read_text() == "old"
    assert [each.name for each in path.parent.iterdir()] == ["front.json"]


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    def private(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.touch(0o600)

    write_atomic_with(tmp_path / "weights", private)
    (tmp_path / "other").touch()
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_write_atomic_where_the_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_atomic(tmp_path / "runs" / "front.json", "x")


def test_a_lock_says_who_holds_it_and_goes_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "study" / ".lock"
    with locked(path, "first"):
        expected = re.escape(f"it is taken: wait (it is process {os.getpid()} on {socket.gethostname()})")
        with pytest.raises(InputError, match=expected), locked(path, "it is taken: wait"):
            pass
    with locked(path, "second"):
        pass


def test_a_lock_that_a_program_inherits_ends_with_its_block(tmp_path: Path) -> None:
    """Between fork and exec a program that another thread starts has all open files."""
    path = tmp_path / ".lock"
    with locked(path, "first"):
        inherited = [os.dup(int(each.name)) for each in Path("/proc/self/fd").iterdir() if each.resolve() == path]
    assert inherited
    with locked(path, "second"):
        pass
    for number in inherited:
        os.close(number)


def test_a_lock_whose_holder_wrote_nothing_is_taken_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, "first"):
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(InputError, match=r"^taken$"), locked(path, "taken"):
            pass
        path.write_bytes(b"")
        with pytest.raises(InputError, match=r"^taken$"), locked(path, "taken"):
            pass


def test_a_folder_is_not_blamed_for_files_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "out") as temporary:
        shutil.copy2(tmp_path / "absent", temporary)
    with pytest.raises(InputError, match=r"cannot write to .*out: No such file"), whole_folder(tmp_path / "out") as temporary:
        (temporary / "deep" / "model.onnx").write_text("x")
    with pytest.raises(InputError, match=r"cannot write to .*out: No space left"), whole_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")  # of a file that is open: it names none
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_place_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match=r"cannot write to .*out: Not a directory: choose another folder"), whole_folder(tmp_path / "out"):
        pytest.fail("it is refused before anything is made")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_in_the_place_of_a_file_is_to_be_removed(tmp_path: Path) -> None:
    (tmp_path / "front.json").mkdir()
    for write in (check_writable, lambda path: write_atomic(path, "{}")):
        with pytest.raises(InputError, match=r"cannot write .*front\.json: Is a directory: remove it or choose another name"):
            write(tmp_path / "front.json")


def test_a_lock_is_looked_at_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_locked(path)
    with locked(path, "taken"):
        assert is_locked(path)
        path.write_text("process 1 on another")
    assert not is_locked(path)
    assert path.read_text() == "process 1 on another"
    path.unlink()
    path.mkdir()  # what cannot be read is not held by anybody that is known
    assert not is_locked(path)


def test_whoever_only_looks_keeps_nobody_out(tmp_path: Path) -> None:
    """However short it is, a look is a lock."""
    path = tmp_path / ".lock"
    path.touch()
    with path.open("rb") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        end = threading.Timer(0.01, fcntl.flock, (looked_at, fcntl.LOCK_UN))
        end.start()
        with locked(path, "taken"):
            assert path.read_text().startswith("process")
        end.join()


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    home = tmp_path / "models" / "a"
    left, fresh, folder, whole = home / ".model.onnx.1.tmp", home / ".model.onnx.2.tmp", tmp_path / ".b.1.tmp", home / "model.onnx"
    write_atomic(whole, "")
    folder.mkdir()
    for path in (left, fresh, folder / "model.onnx"):
        path.write_text("half")
    for path in (left, folder, whole):
        os.utime(path, (1e9, 1e9))
    remove_stale(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [fresh, whole]
    assert not folder.exists()


def test_what_another_process_writes_stays_as_long_as_it_lives(tmp_path: Path) -> None:
    host, out = socket.gethostname(), tmp_path / "out[1]"
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folders = {
        name: tmp_path / f".{name}.tmp" for name in (
            f"out[1].{host}.{other.pid}", f"out[1].{host}.{ended.pid}", f"out[1].{host}.{os.getpid()}", f"out[1].v2.{host}.{ended.pid}",
            f"out1.{host}.{ended.pid}", f"out[1].elsewhere.{ended.pid}", f"out[1].{ended.pid}",
        )
    }  # fmt: skip
    try:
        for folder in folders.values():
            folder.mkdir()
            (folder / "model.onnx").write_text("half")
        with whole_folder(out) as temporary:
            (temporary / "model.onnx").write_text("whole")
        gone = {name for name, folder in folders.items() if not folder.exists()}
        assert gone == {f"out[1].{host}.{ended.pid}", f"out[1].{host}.{os.getpid()}"}
    finally:
        other.kill()
        other.communicate()
    os.utime(folders[f"out[1].elsewhere.{ended.pid}"], (1e9, 1e9))
    shutil.rmtree(out)
    with whole_folder(out) as temporary:
        (temporary / "model.onnx").write_text("whole")
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith(".out[1].")}
    assert left == {f".out[1].v2.{host}.{ended.pid}.tmp", f".out[1].{ended.pid}.tmp"}


def test_a_folder_that_another_process_made_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    """Its card knows nothing of what was written here."""
    out = tmp_path / "out"

    def meanwhile(temporary: Path) -> None:
        (temporary / "model.int8.onnx").write_text("mine")
        out.mkdir()
        (out / "model.onnx").write_text("theirs")

    with pytest.raises(InputError, match=r"out was made by another process meanwhile: run this again"), whole_folder(out) as temporary:
        meanwhile(temporary)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "model.onnx"]
    with whole_folder(out) as temporary:
        (temporary / "model.int8.onnx").write_text("mine")
    assert sorted(path.name for path in out.iterdir()) == ["model.int8.onnx", "model.onnx"]
