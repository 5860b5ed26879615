"""What is shown, sent and kept of addresses that hold passwords."""

from __future__ import annotations

import re

__all__ = ["shown_uri", "without_passwords"]

_LOGIN = re.compile(r"(?<=://)(?:[^/\s:@]*:\S*|[^/\s@]+)@")
_QUERY = re.compile(r"(?<=[?&])((?:ssl)?passw(?:or)?d)=[^&\s]*")


def shown_uri(text: str) -> str:
    """Without the passwords that URIs in a text may hold.

    SQLAlchemy takes all up to the "@" for the password, so that "/", "#" and "?" may stand in it as they are. A database's driver takes one
    in the query too.
    """
    return _QUERY.sub(r"\1=***", _LOGIN.sub("***@", text))


def without_passwords(value: object) -> object:
    """A configuration, or a part of it, as `shown_uri` shows its texts.

    Args:
        value: what JSON can hold.
    """
    if isinstance(value, dict):
        return {key: without_passwords(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_passwords(each) for each in value]
    return shown_uri(value) if isinstance(value, str) else value
