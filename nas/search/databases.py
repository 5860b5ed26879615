"""Storages of studies by URL: SQLite, a server's database, Optuna's journal."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from nas.errors import MissingExtraError, StudyError
from nas.passwords import shown_uri
from nas.search.trial_rows import TrialRows

__all__ = ["Database", "open_storage"]

T = TypeVar("T")
JOURNAL = "journal://"
SERVERS = ("postgresql", "mysql", "mariadb")
WAIT_S = 180.0
"""For a database server that is away: it restarts, or the network does."""
BEHIND_THE_CACHE = ("_create_new_trial", "_get_best_trial_id", "_set_trial_param", "get_trial_id_from_study_id_trial_number")
"""What Optuna's cache calls of a database besides the methods of every storage, and `_get_trials`."""
PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0


def open_storage(url: str) -> BaseStorage:
    """A storage by URL: "sqlite:////path/study.db", "postgresql://user:password@host/database" or "journal:////path/study.journal".

    A server that goes away for some minutes later on is waited for.

    Raises:
        StudyError: it cannot be opened.
        MissingExtraError: the driver of the database is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if url.startswith(JOURNAL):
        return _journal(Path(url.removeprefix(JOURNAL)))
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    is_server = url.startswith(SERVERS)
    options: dict[str, Any] = {"pool_pre_ping": True} if is_server else {"connect_args": {"timeout": 60}} if "sqlite" in url else {}
    try:
        storage = Database(url, engine_kwargs=options)
        storage.wait_s = WAIT_S if is_server else 0.0
        if url.startswith("sqlite"):
            _write_ahead(storage)
        return storage
    except ImportError as exc:
        if "psycopg" in url:
            raise MissingExtraError("psycopg", "postgres") from exc
        raise StudyError(f"storage {shown_uri(url)} cannot be opened: its driver is not installed ({exc})") from exc
    except Exception as exc:  # SQLAlchemy's and every driver's own errors
        raise StudyError(f"storage {shown_uri(url)} cannot be opened: {shown_uri(str(exc).splitlines()[0])}") from exc


def _journal(path: Path) -> BaseStorage:
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (OSError, ValueError, KeyError) as exc:
        raise StudyError(f"storage {path} cannot be opened: {str(exc).splitlines()[0]}") from exc


def _write_ahead(storage: RDBStorage) -> None:
    """SQLite appends to a log instead of rewriting pages, and syncs it at checkpoints: three times as fast a commit.

    What was committed survives the death of the process; after a power cut the last commits may be missing, the rest is whole
    (sqlite.org/wal.html and pragma.html#pragma_synchronous).
    """

    def prepare(connection: Any, record: object) -> None:  # noqa: ARG001
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    storage.engine.dispose()  # connections that were opened before know nothing of it
    event.listen(storage.engine, "connect", prepare)


class Database(RDBStorage):
    """Optuna's storage in a database. Each call waits for a server that is away, and is made again, though it may have been the answer
    that was lost. What that does twice is one trial more at most: one that runs is reaped, one that was queued is told from what is known.

    Attributes:
        wait_s: for how long; 0 for a file, which does not come back by waiting. What is called after it was waited for in vain, as a search
            ends, waits no more.
    """

    wait_s = 0.0
    _is_away = False

    @functools.cached_property
    def _rows(self) -> TrialRows:
        return TrialRows()

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self.patiently(lambda: self._rows.one(self.engine, trial_id))

    def _get_trials(
        self, study_id: int, states: Container[TrialState] | None, included_trial_ids: set[int], trial_id_greater_than: int
    ) -> list[FrozenTrial]:
        """What Optuna's cache has not: trials that were not finished when it looked, and later ones."""
        wanted = None if states is None else [state for state in TrialState if state in states]

        def read() -> list[FrozenTrial]:
            return self._rows.of_study(self.engine, study_id, wanted, included_trial_ids, trial_id_greater_than)

        found = self.patiently(read)
        if not found:
            self.get_study_name_from_id(study_id)  # raises KeyError where there is no such study
        return found

    def patiently(self, call: Callable[[], T]) -> T:
        """Calls, and where the database is away calls again until it is back.

        Raises:
            StudyError: it did not come back, or it cannot be written.
        """
        until, pause_s, tried = time.monotonic() + (0.0 if self._is_away else self.wait_s), PAUSE_S, 0
        while True:
            try:
                found = call()
                self._is_away = False
                return found
            except UpdateFinishedTrialError:
                if not tried:
                    raise
                return True  # type: ignore[return-value]  # the first call did it, its answer was lost
            except (SQLAlchemyError, StorageInternalError) as exc:
                cause = exc if isinstance(exc, SQLAlchemyError) else exc.__cause__
                if not isinstance(cause, OperationalError | InterfaceError):
                    raise
                if time.monotonic() >= until:
                    self._is_away = True
                    raise StudyError(self._refusal(str(cause).splitlines()[0])) from exc
                tried += 1
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def close(self) -> None:
        """Closes its connections."""
        self.remove_session()
        self.engine.dispose()

    def _refusal(self, reason: str) -> str:
        if self.wait_s:
            return f"the storage has been away for {self.wait_s:.0f} s ({reason}): go on with --resume when it is back"
        return f"the storage cannot be used ({reason}): free some space or make it writable, then go on with --resume"


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Database, *args: Any, **kwargs: Any) -> Any:
        return self.patiently(lambda: method(self, *args, **kwargs))

    return call


for _name in (*BaseStorage.__abstractmethods__, *BEHIND_THE_CACHE):
    if hasattr(RDBStorage, _name) and _name not in vars(Database):
        setattr(Database, _name, _patient(getattr(RDBStorage, _name)))
