"""Who searches a study: one driver at a time, on whatever machine, with a lease that it renews; and what it has lent to workers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from optuna.study import Study

from nas.errors import StudyError

__all__ = ["driving", "is_own", "lease"]

DRIVER = "driver"
"""Attribute of a study: who drives it."""
RENEW_S, EXPIRES_S = 15.0, 60.0
"""A driver that is alive renews four times before its lease is over."""
GIVE_BACK_S = 10.0
"""That a driver which ends waits for its lease to be given back, at most: the storage may be away, and the lease is over by itself then."""


def lease(attempt: int, seconds: float) -> dict[str, Any]:
    """What a trial carries while it is evaluated: by whom it was lent, until when, how often it was tried.

    For `is_own` and those who look at the study: a resume ends whatever still runs, as no other driver is alive then.
    """
    return {"owner": os.getpid(), "host": socket.gethostname(), "expiry": time.time() + seconds, "attempt": attempt}


def is_own(known: Mapping[str, Any]) -> bool:
    """Whether a lease is of this process; one that was not written yet is."""
    mine = lease(1, 0.0)
    return not known or (known["owner"], known["host"]) == (mine["owner"], mine["host"])


@contextmanager
def driving(study: Study) -> Iterator[threading.Event]:
    """Holds the study's driver lease while the context lasts; gives an event that is set when another driver has taken it.

    Clocks of machines that share a study must agree within half a minute. A storage that is away when the context ends
    does not change how it ends.

    Raises:
        StudyError: another driver is alive, here or elsewhere.
    """
    me = {"host": socket.gethostname(), "pid": os.getpid(), "began": _began(os.getpid())}
    _refuse_other(study, me)
    taken, over = threading.Event(), threading.Event()
    _renew(study, me)

    def keep() -> None:
        while not over.wait(RENEW_S):
            try:
                if not _is_held_by(study.user_attrs.get(DRIVER, {}), me):
                    taken.set()
                    return
                _renew(study, me)
            except Exception:  # noqa: S112  # whatever the storage raises while it is away: the next renewal may do
                continue
        with suppress(Exception):  # what the driver ended with is worth more
            if _is_held_by(study.user_attrs.get(DRIVER, {}), me):
                study.set_user_attr(DRIVER, {})

    keeper = threading.Thread(target=keep, name="driver lease", daemon=True)
    keeper.start()
    try:
        yield taken
    finally:
        over.set()
        keeper.join(GIVE_BACK_S)


def _renew(study: Study, me: Mapping[str, Any]) -> None:
    study.set_user_attr(DRIVER, {**me, "expiry": time.time() + EXPIRES_S})


def _is_held_by(known: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    return all(known.get(key) == value for key, value in me.items())


def _refuse_other(study: Study, me: Mapping[str, Any]) -> None:
    known = study.user_attrs.get(DRIVER, {})
    if not known or _is_held_by(known, me):
        return
    left = float(known["expiry"]) - time.time()
    is_alive = _began(int(known["pid"])) == known["began"] if known["host"] == me["host"] else left > 0
    if is_alive:
        ago = max(0.0, EXPIRES_S - left)
        raise StudyError(
            f"study {study.study_name} is being searched by process {known['pid']} on {known['host']}, last heard of {ago:.0f} s ago: "
            "wait until it ends, or stop it there"
        )


def _began(pid: int) -> float:
    """When a process of this machine began; 0 where there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0
