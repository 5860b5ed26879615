"""Errors that a user can meet, with the exit code that the command line gives them.

NasError                        5  something is wrong inside (a bug, or a library that failed)
├── InputError      (ValueError)  2  what the user gave cannot be used
│   ├── UnknownNameError          2  a name that is not in a list; the nearest ones are in the message
│   ├── SpaceError                2  a search space or architecture that does not hold together
│   ├── ProfileError              2  a hardware profile or predictor file that does not hold together
│   ├── DataError                 2  images that cannot be used
│   ├── ModelFileError            2  a model file that cannot be read, or with operators that we do not know
│   ├── StudyError                2  a study that does not exist, exists already, or is another one
│   ├── ClusterError              2  a cluster that does not answer, or whose machines lack something
│   └── MissingExtraError         2  an optional part of the installation is absent
├── InfeasibleError               3  nothing meets the constraints; carries the tightest values that can be reached
├── SpaceExhaustedError           5  every architecture that meets the constraints was asked for; a search ends with it as a word
├── TargetError                   4  the device, its runtime or its clock did not do what was asked
│   ├── DisturbedError            4  the device was too busy, hot or asleep for a measurement that counts
│   ├── LinkLostError             4  the connection to the device broke: it can be made again
│   └── MeterError                4  an energy meter is absent, must not be read, or tells what cannot be
├── TrainingError                 5  the loss is not finite, or training cannot go on
└── StoppedError                130  the user asked to stop; all that is done is saved

Every message names the offending value and what to do about it, in one or two lines.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import ClassVar

__all__ = [
    "ClusterError",
    "DataError",
    "DisturbedError",
    "InfeasibleError",
    "InputError",
    "LinkLostError",
    "MeterError",
    "MissingExtraError",
    "ModelFileError",
    "NasError",
    "ProfileError",
    "SpaceError",
    "SpaceExhaustedError",
    "StoppedError",
    "StudyError",
    "TargetError",
    "TrainingError",
    "UnknownNameError",
]


class NasError(Exception):
    """Root of the tree."""

    exit_code: ClassVar[int] = 5


class InputError(NasError, ValueError):
    """What the user gave cannot be used."""

    exit_code = 2


LISTED = 30
"""Names of a list that a message has room for."""


class UnknownNameError(InputError):
    """A name that is not in a list.

    Args:
        kind: what the name should have been, e.g. "device".
        name: what was given.
        known: every name that would have been right.
        hint: one more sentence, e.g. how to pass a file instead; with no name in `known` it says all.
        aliases: other names that would have been right: one that is near is told, all of them are not.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "", aliases: Iterable[str] = ()) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name.lower(), [*names, *sorted(aliases)], n=3, cutoff=0.5)
        text = f"unknown {kind} {name!r}"
        if near:
            text += f": did you mean {' or '.join(near)}?"
        elif names:
            text += f": known are {', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
        elif not hint:
            text += f": there is no {kind} yet"
        super().__init__(f"{text} {hint}".rstrip())
        self.kind = kind
        self.name = name
        self.nearest = tuple(near)


class SpaceError(InputError):
    """A search space or architecture that does not hold together."""


class ProfileError(InputError):
    """A hardware profile or predictor file that does not hold together."""


class DataError(InputError):
    """Images that cannot be used."""


class ModelFileError(InputError):
    """A model file that cannot be read, or with operators that we do not know."""


class StudyError(InputError):
    """A study that does not exist, exists already, or is another one."""


class ClusterError(InputError):
    """A cluster that does not answer, or whose machines lack something."""


class MissingExtraError(InputError):
    """An optional part of the installation is absent."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f'{module} is not installed: pip install "hwnas[{extra}]"')
        self.extra = extra


class InfeasibleError(NasError):
    """Nothing meets the constraints.

    Args:
        message: one or two lines.
        tried: how many architectures were scored.
        tightest: smallest value reachable for each constrained metric, SI units.
    """

    exit_code = 3

    def __init__(self, message: str, tried: int, tightest: Mapping[str, float]) -> None:
        super().__init__(message)
        self.tried = tried
        self.tightest = dict(tightest)


class SpaceExhaustedError(NasError):
    """Every architecture that meets the constraints has been asked for, as far as could be found."""


class TargetError(NasError):
    """The device, its runtime or its clock did not do what was asked."""

    exit_code = 4


class DisturbedError(TargetError):
    """The device was too busy, hot or asleep for a measurement that counts."""


class MeterError(TargetError):
    """An energy meter is absent, must not be read, or tells what cannot be."""


class LinkLostError(TargetError):
    """The connection to the device broke: it can be made again."""


class TrainingError(NasError):
    """The loss is not finite, or training cannot go on."""


class StoppedError(NasError):
    """The user asked to stop; all that is done is saved."""

    exit_code = 130
