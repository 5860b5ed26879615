"""The thread that sends: what it waits for, what it tries again, and that a dead server costs nothing. No time is asserted."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from nas.report.tracking import Background, Connection, TrackingError, background
from nas.report.tracking.background import Patience

SHORT = Patience(silence_s=0.2, least_s=0.1, most_s=5.0)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PAUSE_S", 0.01)


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    return Connection(tmp_path, "http://127.0.0.1:1")


def test_nothing_to_send(connection: Connection) -> None:
    assert Background(connection, pytest.fail).close() is None


def test_points_in_between_go_together_and_none_is_left(connection: Connection) -> None:
    made, sent = [0], []
    sending = Background(connection, lambda: sent.append(made[0]))
    for _ in range(1000):
        made[0] += 1
        sending.wake()
    assert sending.close(SHORT) is None
    assert sent[-1] == 1000
    assert len(sent) < 500


def test_a_failure_is_tried_again(connection: Connection) -> None:
    outcomes = [TrackingError("down"), TrackingError("down"), None]
    done = threading.Event()

    def send() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        done.set()

    sending = Background(connection, send)
    sending.wake()
    assert done.wait(30)
    assert sending.close(SHORT) is None


@pytest.mark.parametrize(
    ("error", "says"), [(TrackingError("who are you?", refused=True), "who are you"), (KeyError("a bug"), "KeyError: 'a bug'")]
)
def test_a_refusal_and_a_bug_are_not(error: Exception, says: str, connection: Connection) -> None:
    tried = []

    def send() -> None:
        tried.append(1)
        raise error

    sending = Background(connection, send)
    sending.wake()
    found = sending.close(SHORT)
    sending.wake()
    assert says in str(found)
    assert tried == [1]


def test_the_end_tries_once_more_and_says_why(connection: Connection) -> None:
    tried = []

    def send() -> None:
        tried.append(1)
        raise TrackingError(f"down {len(tried)}")

    sending = Background(connection, send)
    sending.wake()
    assert str(sending.close(SHORT)) == f"down {len(tried)}"


def test_a_silent_server_is_left_alone(connection: Connection) -> None:
    ended = threading.Event()
    sending = Background(connection, lambda: ended.wait(60) or None)  # type: ignore[func-returns-value]
    sending.wake()
    assert "no answer" in str(sending.close(SHORT))
    ended.set()


def test_idle_is_not_silent(connection: Connection) -> None:
    """Nothing was asked of the server while finalists were fine-tuned: its last answer is minutes old, and the end is waited for."""
    sent = []

    def send() -> None:
        time.sleep(0.3)
        sent.append(1)

    connection.answered_at -= 600
    sending = Background(connection, send)
    sending.wake()
    assert sending.close(Patience(silence_s=60.0, least_s=0.0)) is None
    assert sent == [1]


def test_a_server_that_failed_before_the_end_is_not_waited_for(connection: Connection) -> None:
    tried, ended = [], threading.Event()
    again = threading.Event()

    def send() -> None:
        tried.append(1)
        if len(tried) > 1:
            again.set()
            ended.wait(60)
        raise TrackingError("down")

    connection.answered_at -= 600
    sending = Background(connection, send)
    sending.wake()
    assert again.wait(30)
    assert str(sending.close(Patience(silence_s=300.0, least_s=0.1, most_s=600.0))) == "down"
    assert not ended.is_set()
    ended.set()
