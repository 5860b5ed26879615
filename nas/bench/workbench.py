"""What the parts of `nas bench compress` share."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.bench.pieces import Pieces
from nas.config import TrainRecipe
from nas.hardware.predictor import LatencyPredictor
from nas.models.network import Network
from nas.report.front import CandidateRecord
from nas.search.evaluators import EvaluatorContext
from nas.training.data import ImageData
from nas.training.loop import TrainProgress

__all__ = ["Compressed", "Workbench", "mean", "untold"]


@dataclass(frozen=True)
class Compressed:
    """A finalist of the search with its trained network."""

    record: CandidateRecord
    network: Network
    home: Path

    @property
    def test(self) -> float:
        return self.record.candidate.metrics["accuracy_test"].value


@dataclass(frozen=True)
class Workbench:
    """What the parts share.

    Attributes:
        folder: for files that nobody wants afterwards.
        runs: in which the study is.
    """

    folder: Path
    runs: Path
    pieces: Pieces
    context: EvaluatorContext
    data: ImageData
    recipe: TrainRecipe
    finalists: tuple[Compressed, ...]
    predictor: LatencyPredictor
    smoke: bool


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def untold(progress: TrainProgress) -> None:
    """Progress of a part that takes a minute."""
    del progress
