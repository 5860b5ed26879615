"""A real MLflow server, and servers that fail."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from nas.report.ui import free_port


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server with a store and artifacts of its own."""
    home, port = tmp_path_factory.mktemp("server"), free_port(0)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}", "--artifacts-destination", (home / "artifacts").as_uri()]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=home, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}", process, home / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 9)
        process.wait(10)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start:\n{log.read_text()}")


class Answering(Protocol):
    """Starts a server that answers every request in the same way, and returns its address."""

    def __call__(self, status: int, *, after: int = 0, upstream: str = "", silence_s: float = 0.0, token: str = "", host: str = "") -> str:
        """
        Args:
            status: of the answers.
            after: requests that are passed on to `upstream` first.
            silence_s: before an answer.
            token: requests that have it are passed on.
            host: that requests are passed on for.
        """
        ...


@pytest.fixture
def answering() -> Iterator[Answering]:
    with ExitStack() as stack:
        ended = threading.Event()

        def start(
            status: int,
            *,
            after: int = 0,
            failures: int = 10**6,
            upstream: str = "",
            silence_s: float = 0.0,
            token: str = "",
            host: str = "",
        ) -> str:
            count = [0]

            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def answer(self) -> None:
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    ended.wait(silence_s)
                    code, content = status, b"no"
                    count[0] += 1
                    has_token = bool(token) and self.headers.get("Authorization") == f"Bearer {token}"
                    if has_token or not after < count[0] <= after + failures:
                        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "content-length")}
                        headers |= {"host": host} if host else {}
                        found = httpx.request(
                            self.command, upstream + self.path, content=body, headers=headers, trust_env=False, timeout=30
                        )  # fmt: skip
                        code, content = found.status_code, found.content
                    self.send_response(code)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

                do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

                def log_message(self, format: str, *args: object) -> None:
                    """Nothing is printed."""

            httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            httpd.daemon_threads = True
            thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(httpd.server_close)
            stack.callback(httpd.shutdown)
            stack.callback(ended.set)
            return f"http://127.0.0.1:{httpd.server_port}"

        yield start
