"""A tracking store or server, and the one place where failures of mlflow, of its store and of the network become a `TrackingError`."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nas.errors import InputError, MissingExtraError, NasError
from nas.passwords import shown_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ENVIRONMENT", "Connection", "TrackingError", "check_uri", "local_store"]

ENVIRONMENT = MappingProxyType(
    {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # `Background` and `nas sync` try again, with what is still missing
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "GIT_PYTHON_REFRESH": "quiet",
    }
)
"""Settings of mlflow that hold where the user has none of their own."""
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
ADVICE = MappingProxyType(
    {
        401: "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        403: "this user may not write there, or the server does not know the host's name (mlflow server --allowed-hosts)",
    }
)
"""What to do about answers that trying again does not change."""
DAMAGED = ("file is not a database", "database disk image is malformed")
"""SQLite's words."""
PACKAGES = MappingProxyType(
    {
        "MySQLdb": "mysqlclient",
        "azure": "azure-storage-blob azure-identity",
        "botocore": "boto3",
        "google": "google-cloud-storage",
        "psycopg2": "psycopg2-binary",
    }
)
"""Of modules that mlflow loads for a store, where the package has another name."""


class TrackingError(NasError):
    """The tracking store or server did not do what was asked. The study's files hold all that it should have got.

    Args:
        refused: trying again would change nothing: somebody has to do something first.
    """

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class TrackingServerError(TrackingError):
    """A server, or a database that is no file here, does not answer, or not as it should."""

    exit_code = 4


class TrackingRefusedError(TrackingError):
    """A server does not let this user, or this name of it, in."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(message, refused=True)


def local_store(runs: Path) -> str:
    """URI of the store that a laptop uses: SQLite in runs/mlflow."""
    return f"sqlite:///{(runs / 'mlflow' / 'mlflow.db').resolve()}"


def check_uri(uri: str) -> str:
    """The URI of a store or server, if it can be one.

    Raises:
        InputError: it is malformed, or of a kind that MLflow does not write to.
    """
    forms = "http://host:5000, https://host, sqlite:////folder/mlflow.db or postgresql://user@host/database"
    try:
        parts = urlsplit(uri)
        fits = bool(parts.hostname) if parts.scheme in ("http", "https") else parts.scheme.split("+")[0] in DATABASES and ":/" in uri
        fits = fits and (parts.port is None or parts.port > 0) and not re.search(r"\s", uri)
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"--tracking-uri must be {forms}, got {shown_uri(uri)!r}")
    return uri


class Connection:
    """A store or server. Nothing is connected, and mlflow is not loaded, before the first call.

    Args:
        runs: the folder of the studies; the local store lives in its mlflow/.
        uri: another store or server.

    Attributes:
        database: file of a SQLite store.
        artifacts: folder for files; None where a server decides.
        answered_at: when the last call succeeded, on the clock of `time.monotonic`.
    """

    def __init__(self, runs: Path, uri: str | None = None) -> None:
        self.uri = uri or local_store(runs)
        is_file = self.uri.startswith("sqlite:///")
        self.database = Path(self.uri.removeprefix("sqlite:///")).resolve() if is_file else None
        beside = self.database.parent if self.database else (runs / "mlflow").resolve()
        self.artifacts = None if self.is_server else beside / "artifacts"
        self.answered_at = time.monotonic()
        self._client: MlflowClient | None = None

    @property
    def is_server(self) -> bool:
        return self.uri.startswith("http")

    @property
    def shown(self) -> str:
        """The URI without a password."""
        return shown_uri(self.uri)

    @property
    def is_made(self) -> bool:
        """Whether it can be asked: a file is made when the first study is logged."""
        return self.database is None or self.database.is_file()

    @contextmanager
    def client(self) -> Iterator[MlflowClient]:
        """mlflow's client, for one or a few calls.

        Raises:
            TrackingError: in one line, without passwords; refused where a library is missing that the store needs.
            MissingExtraError: mlflow is not installed.
        """
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from alembic.util.exc import CommandError
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError
        except ModuleNotFoundError as exc:
            raise MissingExtraError(exc.name or "mlflow", "search") from exc
        for name in ("mlflow", "mlflow.store.db.utils", "alembic"):  # mlflow sets the level of its own when it is loaded
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            if self._client is None:
                self.answered_at = time.monotonic()  # loading mlflow takes seconds, and is not the server's silence
                if self.artifacts is not None:
                    self.artifacts.mkdir(parents=True, exist_ok=True)
                self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
                self._write_ahead()
            yield self._client
        except MlflowException as exc:
            raise self._failed(exc, _status(exc)) from exc
        except (SQLAlchemyError, CommandError, OSError) as exc:  # requests' errors are OSErrors
            raise self._failed(exc, 0) from exc
        except ImportError as exc:  # a driver of the database, or a client of the artifact store: mlflow loads it when it is used
            name = (exc.name or "").partition(".")[0]
            advice = f": pip install {PACKAGES.get(name, name)}" if name else ""
            raise TrackingRefusedError(f"tracking to {self.shown} failed: {exc}{advice}") from exc
        except Exception as exc:
            # Artifact stores let the errors of their clients out: botocore's, boto3's, Google's and Azure's have no class in common, and
            # none of those libraries is installed with us. What Python or we raise ourselves is no failure of the store.
            if type(exc).__module__.partition(".")[0] in ("builtins", "nas"):
                raise
            raise self._failed(exc, 0) from exc
        self.answered_at = time.monotonic()

    def _write_ahead(self) -> None:
        """One sync a commit instead of three, and readers (`nas ui`) that wait for no writer. The file keeps the mode."""
        if self.database is not None:
            with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self.database)) as database:  # busy: the next one does it
                database.execute("PRAGMA journal_mode=WAL")

    def _failed(self, exc: Exception, status: int) -> TrackingError:
        text = f"tracking to {self.shown} failed: {_cause(exc)}"
        if status in ADVICE:
            return TrackingRefusedError(f"{text}: {ADVICE[status]}")
        if self.database is not None and any(words in text for words in DAMAGED):
            return TrackingRefusedError(f"{text}: move {self.database} away, and nas sync STUDY sends a study to a new one")
        return TrackingError(text) if self.database is not None else TrackingServerError(text)


def _cause(exc: Exception) -> str:
    """The reason in one line, without what requests and SQLAlchemy tell around it."""
    text = shown_uri(str(exc))
    if found := re.search(r"too many (\d+) error responses", text):
        return f"the server answered {found[1]}"
    if found := re.search(
        r"(Connection refused|Connection reset by peer|Name or service not known|[Rr]ead timed out|certificate verify failed)", text
    ):
        return f"no answer from the server: {found[1].lower()}"
    lines = text.strip().splitlines() or [type(exc).__name__]
    return re.split(r" with url| \(Caused by|\. Response body", lines[0])[0][:300]


def _status(exc: Exception) -> int:
    """HTTP status of a server's answer, 0 where there was none."""
    found = re.search(r"error code (4\d\d|5\d\d)", str(exc)) or re.match(r"(4\d\d|5\d\d) ", str(exc))
    if found:
        return int(found[1])
    status = getattr(exc, "get_http_status_code", lambda: 0)()
    return status if isinstance(status, int) else 0
