"""Passwords of databases and servers are shown nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.passwords import shown_uri, without_passwords
from nas.report.tracking import Connection

PASSWORDS = st.text("aZ9/:#%+?&='\"\\@.-", min_size=1, max_size=12).map(lambda text: f"s3cret{text}s3cret")
PLACES = st.sampled_from(["host/db", "10.0.0.7:5432/db?sslmode=require", "[::1]:5432/db", "host"])
SCHEMES = st.sampled_from(["postgresql", "postgresql+psycopg", "mysql+pymysql", "mssql", "http", "https"])


@given(SCHEMES, st.sampled_from(["me", "", "me%40work"]), PASSWORDS, PLACES)
def test_no_password_is_shown_alone_or_in_a_text(scheme: str, user: str, password: str, place: str) -> None:
    uri = f"{scheme}://{user}:{password}@{place}"
    assert shown_uri(uri) == f"{scheme}://***@{place}"
    text = f"cannot connect to {uri!r}: ask {user}"
    assert "s3cret" not in shown_uri(text)
    assert shown_uri(text).endswith(f": ask {user}")
    config = {"storage": uri, "recipe": {"lr": 0.1}, "devices": [uri, 1, None]}
    shown = json.dumps(without_passwords(config))
    assert "s3cret" not in shown
    assert json.loads(shown) == {"storage": shown_uri(uri), "recipe": {"lr": 0.1}, "devices": [shown_uri(uri), 1, None]}


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://host/db?user=me&password=s/e&sslmode=require", "postgresql://host/db?user=me&password=***&sslmode=require"),
        ("https://token@host/mlflow", "https://***@host/mlflow"),
    ],
)
def test_passwords_elsewhere(uri: str, shown: str) -> None:
    assert shown_uri(uri) == shown


@pytest.mark.parametrize(
    "text",
    ["http://host:5000", "sqlite:////home/a@b/c:d@e/mlflow.db", "postgresql://host:5432/db", "models:/a@b", "me@work", "a://b c:d@e"],
)
def test_what_holds_none_stays_as_it_is(text: str) -> None:
    assert shown_uri(text) == text
    assert Connection(Path("runs"), text).shown == text
