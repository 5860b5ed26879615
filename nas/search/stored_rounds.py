"""The rounds of a device in a storage: each one is a study that took over what the one before it was told (`nas.rounds`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from optuna.storages import BaseStorage
from optuna.study._frozen import FrozenStudy

__all__ = ["CARRIED", "drop_cut_off", "latest_round", "round_name"]

_ROUND = "/round-"
CARRIED = "carried"
"""Attribute of a round after the first: how many trials it took over. It has all of them."""


def latest_round(storage: BaseStorage, name: str) -> tuple[int, str]:
    """Number and name of a device's last round; 1 and `name` where there is but one, or none yet.

    One to which candidates are being carried over, or were when a crash cut it off, is none yet: the one before it has them all.
    """
    found = {1: name} | {number: each.study_name for number, each in _rounds(storage, name) if CARRIED in each.user_attrs}
    last = max(found)
    return last, found[last]


def drop_cut_off(storage: BaseStorage, name: str) -> None:
    """Deletes a device's round that a crash cut off while candidates were carried over.

    Only the one driver of a study may call it.
    """
    for _, each in _rounds(storage, name):
        if CARRIED not in each.user_attrs:
            with suppress(KeyError):  # deleted, though the answer was lost
                storage.delete_study(each._study_id)


def _rounds(storage: BaseStorage, name: str) -> Iterator[tuple[int, FrozenStudy]]:
    """The rounds of a device after the first, with their numbers."""
    for each in storage.get_all_studies():
        base, _, number = each.study_name.rpartition(_ROUND)
        if base == name and number.isdigit():
            yield int(number), each


def round_name(name: str, number: int) -> str:
    """Of the study of a device's round."""
    return name if number == 1 else f"{name}{_ROUND}{number}"
