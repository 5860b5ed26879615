"""What the pictures and the page of a study show, beyond its fronts: plain values, gathered where they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.architecture import BlockSpec
from nas.config import SearchConfig
from nas.errors import InputError
from nas.hardware.ceiling import Ceiling
from nas.hardware.evaluation import Evaluation
from nas.hardware.facts import Power
from nas.report.figures import Progress
from nas.report.front import FrontRecord
from nas.target import Target

__all__ = ["PredictorFacts", "StudyFacts"]


@dataclass(frozen=True, slots=True)
class PredictorFacts:
    """How sure the predicted latencies of a device are.

    Attributes:
        measurements: latencies that were fitted, published ones too; 0 where the model comes from chip facts.
        held_out_error: mean relative error on what the fit had not seen, by which it chose its ridge; None where nothing was held out.
        band: the 90 % band inside the measured range is the value x/÷ this.
        source: of the measurements, or how the model came about.
        outside: ids of members of the front and finalists that are outside the measured range (`LatencyPredictor.in_range`).
        unknown: what is not known of the device, one sentence each.
        evaluation: measured networks against predictions that had not seen them; None where there are too few.
        targets: of the device that it answers for; all of them where none is named.
        others: predictors of the device's other targets, without others themselves.
    """

    measurements: int
    held_out_error: float | None
    band: float
    source: str
    outside: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()
    evaluation: Evaluation | None = None
    targets: tuple[Target, ...] = ()
    others: tuple[PredictorFacts, ...] = ()

    def __post_init__(self) -> None:
        if self.measurements < 0 or self.band < 1:
            raise InputError(f"a predictor has 0 measurements or more and a band of 1 or more, got {self.measurements} and {self.band}")


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """A study as people ask about it.

    Attributes:
        fronts: one a device, at least one.
        progress: hypervolume over trials, by device.
        predictors: by device, that of the target which the sampler looks at.
        blocks: of finalists, by candidate id.
        ceilings: of members of the front and finalists, by device and candidate id; none of what stands for several devices.
        powers: watts of the whole board by device, where they are known.
        data: what config.json says of the images: `nas.training.data.ImageData.to_dict`.
        space_size: architectures of the space.
        log: events of log.jsonl, oldest first.
    """

    config: SearchConfig
    fronts: tuple[FrontRecord, ...]
    progress: Mapping[str, Progress] = field(default_factory=dict)
    predictors: Mapping[str, PredictorFacts] = field(default_factory=dict)
    blocks: Mapping[str, tuple[BlockSpec, ...]] = field(default_factory=dict)
    ceilings: Mapping[str, Mapping[str, Ceiling]] = field(default_factory=dict)
    powers: Mapping[str, Power] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    space_size: int | None = None
    log: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not self.fronts:
            raise InputError("the facts of a study need at least one front")
