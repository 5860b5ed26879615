"""Successive halving of trainings, for several objectives and any number of workers: pure decisions, and what they are made on.

Asynchronous: each network is compared with those that were there before it and goes on at once or never (Li et al. 2020, arXiv:1810.05934;
the variant that stops and does not wait). Multi-objective: by non-dominated sorting of error and cost (Schmucker et al. 2021,
arXiv:2106.12639). Optuna's pruners know one objective only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import moocore
import numpy as np

from nas.errors import ModelFileError
from nas.files import write_atomic
from nas.metrics import standard_error

__all__ = ["Ladder", "Progress", "Step", "goes_on"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Step:
    """A network at a rung.

    Attributes:
        epochs: of training until here, all rungs together.
        correct, images: of search-validation.
        seconds: of training and testing since the rung before.
    """

    epochs: int
    correct: int
    images: int
    seconds: float

    def __post_init__(self) -> None:
        if not (self.epochs >= 1 and 0 <= self.correct <= self.images and self.images >= 1 and self.seconds >= 0):
            raise ValueError(f"a step has at least one epoch and image, no more correct than images and no negative time, got {self}")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a network has come.

    Attributes:
        macs: of the network: what its accuracy costs, on any device.
        steps: one a rung, in order.
        done: whether it will not be trained on: it was halted, or the last rung is reached.
    """

    macs: int
    steps: tuple[Step, ...] = ()
    done: bool = False

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    def to_dict(self) -> dict[str, object]:
        return {"schema": SCHEMA, "macs": self.macs, "steps": [asdict(step) for step in self.steps], "done": self.done}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """Reads `to_dict`'s form.

        Raises:
            ValueError, KeyError, TypeError: it is another one.
        """
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r} is not {SCHEMA}")
        return cls(int(data["macs"]), tuple(Step(**step) for step in data["steps"]), bool(data["done"]))


def goes_on(own: Progress, others: Sequence[Progress], factor: int) -> bool:
    """Whether a network is trained beyond the rung where its last step is.

    It goes on if it is among the best 1 / `factor` of those that were at this rung, by non-dominated sorting of (error, MACs), or if none
    of them dominates it. So a network is halted only where another one with no more MACs was better after the same training. Its own error
    counts as one standard error smaller than it is, so that chance alone seldom halts it.
    """
    rung = len(own.steps) - 1
    last = own.steps[rung]
    there = [other for other in others if len(other.steps) > rung]
    error = 1 - last.correct / last.images - standard_error(last.correct, last.images)
    points = [(error, own.macs), *((1 - other.steps[rung].correct / other.steps[rung].images, other.macs) for other in there)]
    ranks = np.asarray(moocore.pareto_rank(np.array(points, dtype=np.float64)))
    better = int((ranks < ranks[0]).sum())
    return better == 0 or better * factor < len(points)


class Ladder:
    """Everybody's progress, one file a network in a folder that all workers share: what was trained is never trained again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, arch_id: str) -> Progress | None:
        """How far a network has come; None where it has not begun.

        Raises:
            ModelFileError: its file is damaged.
        """
        path = self._path(arch_id)
        try:
            return Progress.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ModelFileError(f"{path}: not a training's progress ({exc}): delete it and the network is trained again") from exc

    def others(self, arch_id: str) -> list[Progress]:
        """How far all other networks have come."""
        names = sorted(path.stem for path in self.folder.glob("*.json") if path.stem != arch_id)
        return [found for name in names if (found := self.read(name)) is not None]

    def write(self, arch_id: str, progress: Progress) -> None:
        """Keeps a network's progress."""
        write_atomic(self._path(arch_id), json.dumps(progress.to_dict()) + "\n")

    def _path(self, arch_id: str) -> Path:
        return self.folder / f"{arch_id}.json"
