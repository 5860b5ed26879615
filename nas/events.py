"""What happens in a search, told to whoever listens: the engine tells, the command line shows, the record keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Event", "EventKind", "Listener"]

EventKind = Literal["info", "warning", "phase", "progress", "epoch", "trial", "finalist", "done"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        kind: phase (a part of the work begins), progress (of the running phase), epoch (of the supernet), trial (one was told),
            finalist (one is ready), info and warning (a sentence for the user), done.
        text: one line for people.
        share: of the running phase that is done, 0..1.
        seconds_left: of the running phase.
        fields: numbers and words for the log.
    """

    kind: EventKind
    text: str
    share: float | None = None
    seconds_left: float | None = None
    fields: Mapping[str, object] = field(default_factory=dict)


Listener = Callable[[Event], None]
