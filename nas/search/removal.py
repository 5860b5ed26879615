"""What a storage holds of a search: whose it is, and how it is deleted."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack

from nas.errors import StudyError
from nas.search.leases import driving
from nas.search.storage import BaseStorage, Study, studies_of

__all__ = ["claim", "delete_studies"]

_OWNER = "search"
"""Attribute of the study that keeps the clock: id of the search that began it."""


def claim(study: Study, search_id: str) -> None:
    """Keeps with the study that keeps the clock which search began it; of one that an earlier version began that is nobody.

    Raises:
        StudyError: it is another search's, which began under that name at the same moment.
    """
    if not search_id:
        return
    if study.user_attrs.get(_OWNER, search_id) != search_id:
        raise StudyError(f"the storage has a study {study.study_name} of another search: start a new one with another --study")
    if _OWNER not in study.user_attrs:
        study.set_user_attr(_OWNER, search_id)


def delete_studies(storage: BaseStorage, name: str, devices: Collection[str], search_id: str) -> list[str]:
    """Deletes the Optuna studies of a search, those of all rounds; returns their names, none where they are another search's.

    Args:
        devices: of the search, see `studies_of`.

    Raises:
        StudyError: a driver is alive, here or elsewhere: nothing is deleted.
    """
    studies = studies_of(storage, name, devices)
    if any(study.user_attrs.get(_OWNER, search_id) != search_id for study in studies):
        return []
    with ExitStack() as held:  # refused where anybody drives one of them; let go of first, for a lease is given back to its study
        for study in studies:
            held.enter_context(driving(study))
    for study in studies:
        storage.delete_study(study._study_id)
    return [study.study_name for study in studies]
