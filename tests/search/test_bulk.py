"""The garbage collector rests while much is read, and goes on afterwards."""

from __future__ import annotations

import gc

import pytest

from nas.search.bulk import uncollected


def test_it_goes_on_afterwards_whatever_happens() -> None:
    nothing: dict[str, int] = {}
    with uncollected():
        assert not gc.isenabled()
    with pytest.raises(KeyError), uncollected():
        nothing["key"]
    assert gc.isenabled()


def test_one_within_another_does_not_wake_it() -> None:
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_one_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
