"""Files that are whole or absent: written to a temporary name in the same folder, synced, renamed. And lock files."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.errors import InputError

__all__ = [
    "check_writable",
    "digest_of",
    "is_locked",
    "locked",
    "remove_stale",
    "try_folder",
    "whole_folder",
    "write_atomic",
    "write_atomic_with",
]

LOOKS = 3
LOOK_S = 0.02
"""Before a lock counts as taken: whoever only looks (`is_locked`) has it for a moment."""
STALE_S = 86_400.0
"""Age of a temporary file or folder that nobody writes any more: the slowest, an export that trains in between, takes hours."""


@contextmanager
def locked(path: Path, taken: str, lockless: str = "") -> Iterator[None]:
    """Holds a lock file while the context lasts. The system lets go of it when the process ends, however it ends.

    Args:
        taken: what to say where another process holds it; which one it is, and on which host, is added.
        lockless: what to say where the file system has no locks; empty where it will do without.

    Raises:
        InputError: another process holds it, there are no locks though they are needed, or the folder cannot be written to.
    """
    try:
        import fcntl
    except ImportError:  # Windows: nothing is locked
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as exc:
        raise InputError(f"cannot write {path}: {_why(exc)}") from exc
    with file:
        for look in range(LOOKS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                if look == LOOKS - 1:
                    raise InputError(f"{taken}{_holder(path)}") from exc
                time.sleep(LOOK_S)
                continue
            except OSError as exc:
                if lockless:
                    raise InputError(lockless) from exc
            break
        with suppress(OSError):  # a full disk: then it does not say who holds it
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        try:
            yield
        finally:  # not by closing alone: a program that another thread starts just then holds the file too until it is loaded
            with suppress(OSError):  # no locks, and none needed
                fcntl.flock(file, fcntl.LOCK_UN)


def _holder(path: Path) -> str:
    """What the process that holds a lock wrote of itself, as an addition to a sentence."""
    try:
        who = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        who = ""
    return f" (it is {who})" if who else ""


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock file. It is only looked at: nothing is written, and whoever takes it just then gets it.

    False where there is no such file, or it may not be read: nothing says then that it is held.
    """
    try:
        import fcntl
    except ImportError:  # Windows: nothing is locked
        return False
    try:
        file = path.open("rb")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no locks here
            return False
        fcntl.flock(file, fcntl.LOCK_UN)
    return False


def remove_stale(folder: Path) -> None:
    """Removes from a folder, and from those in it, what `write_atomic` and `whole_folder` left when their process was killed."""
    found = list[Path]()
    with suppress(OSError):  # a folder in it goes just now
        found = list(folder.rglob(".*.tmp"))
    for left in found:
        with suppress(OSError):  # gone, or somebody else's
            if not _is_stale(left):
                continue
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


def _is_stale(path: Path) -> bool:
    """Whether nobody writes a temporary file or folder any more."""
    return path.stat().st_mtime <= time.time() - STALE_S


def check_writable(path: Path) -> None:
    """Creates the folder of a file that is written much later, and tries it: a refusal after hours of work would lose them.

    Raises:
        InputError: the folder cannot be written to, or `path` is a folder itself.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        try_folder(path.parent)
    except OSError as exc:
        raise InputError(f"cannot write {path}: {_why(exc)}") from exc


def _why(exc: OSError) -> str:
    """Why something cannot be written, and what to do about it."""
    is_taken = exc.errno == errno.EISDIR
    return f"{exc.strerror or exc}: {'remove it or choose another name' if is_taken else 'choose another folder or free some space'}"


def try_folder(folder: Path) -> None:
    """Creates a folder, and a file in it that is gone at once.

    Raises:
        OSError: it cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def digest_of(content: Path | str) -> str:
    """SHA-256 of a file or of a text, hex."""
    return hashlib.sha256(content.read_bytes() if isinstance(content, Path) else content.encode()).hexdigest()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes `data` to `path`, creating its folder; a crash leaves the old file or the new one, never half of one.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    content = data.encode() if isinstance(data, str) else data
    write_atomic_with(path, lambda temporary: temporary.write_bytes(content))


def write_atomic_with(path: Path, write: Callable[[Path], object]) -> None:
    """Like `write_atomic` for libraries that write a file themselves: `write` gets the temporary path. Who may read the file is decided by
    the umask, whatever mode the library gives it: safetensors lets the owner alone.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as exc:
        raise InputError(f"cannot write {path}: {_why(exc)}") from exc
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder to write files to, which become `path` when the context ends well; an interruption leaves none of them.

    Where `path` is there already it keeps its other files, and each new one takes its place whole.

    Raises:
        InputError: `path` is a file, or was made by another process meanwhile, the place cannot be written to, or the disk is full. Another
            error of the context stays as it is.
    """
    is_new = not path.is_dir()
    place = path.parent if is_new else path
    temporary = place / f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp"
    with _writing_to(path):
        if is_new and os.path.lexists(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        place.mkdir(parents=True, exist_ok=True)
        _remove_left(place, path.name)
        temporary.mkdir()
    try:
        with _writing_to(path, temporary):
            yield temporary
        with _writing_to(path):
            if is_new:
                _rename_new(temporary, path)
            else:
                for file in sorted(temporary.iterdir()):
                    file.replace(path / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_left(place: Path, name: str) -> None:
    """Removes what `whole_folder` left of a folder of that name when its process was killed. Whether one of this host lives is known; of
    other hosts, and of numbers that were given again, only the age tells."""
    import psutil

    for left in place.iterdir():
        made = re.fullmatch(rf"\.{re.escape(name)}\.(?:(.+)\.)?(\d+)\.tmp", left.name)
        if made is None:
            continue
        is_dead = made[1] == socket.gethostname() and (int(made[2]) == os.getpid() or not psutil.pid_exists(int(made[2])))
        with suppress(OSError):  # gone meanwhile
            if is_dead or _is_stale(left):
                shutil.rmtree(left)


def _rename_new(folder: Path, path: Path) -> None:
    """Gives a folder its name, which nobody has.

    Raises:
        InputError: another process has made a folder of that name since: what it wrote does not know of this.
    """
    try:
        folder.rename(path)
    except OSError as exc:
        if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise InputError(f"{path} was made by another process meanwhile: run this again to add to it, or choose another") from exc


@contextmanager
def _writing_to(path: Path, within: Path | None = None) -> Iterator[None]:
    """Tells an OSError as one of `path`.

    Args:
        within: folder that is written to. An error that names files, none of them in it, has another cause and stays as it is.
    """
    try:
        yield
    except OSError as exc:
        given = (name for name in (exc.filename, exc.filename2) if isinstance(name, str | bytes | os.PathLike))
        named = [Path(os.fsdecode(name)).absolute() for name in given]
        if within is not None and named and not any(name.is_relative_to(within.absolute()) for name in named):
            raise
        raise InputError(f"cannot write to {path}: {_why(exc)}") from exc
