"""The configuration of a search: the one place with defaults. Unknown keys are errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nas.errors import InputError
from nas.metrics import OBJECTIVES, Constraint

__all__ = ["MeasureProtocol", "SearchConfig", "TrainRecipe", "check_config", "default_recipe", "default_space"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MeasureProtocol(_Frozen):
    """How latency is measured (FINDINGS: three windows apart, each between two runs of an anchor network, cancel drift).

    Attributes:
        windows: separated windows per network.
        window_s: length of a window, seconds of running.
        min_runs, max_runs: runs in a window, whatever its length.
        warmup_runs: runs of a batch before the first window; batches end when the fastest of one is like that of the one before.
        max_warmup_s: after which windows begin all the same.
        max_drift: how much slower the anchor may be on one side of a window than on the other.
        max_repeats: disturbed windows of a network that are repeated.
        cool_down_s: pause after a throttled window.
        threads: threads of the runtime.
    """

    windows: int = Field(5, ge=2, le=100)
    window_s: float = Field(0.12, gt=0, le=60)
    min_runs: int = Field(5, ge=2)
    max_runs: int = Field(2000, ge=2)
    warmup_runs: int = Field(5, ge=1)
    max_warmup_s: float = Field(2.0, gt=0, le=600)
    max_drift: float = Field(0.3, gt=0)
    max_repeats: int = Field(10, ge=0, le=100)
    cool_down_s: float = Field(10.0, ge=0, le=600)
    threads: int = Field(1, ge=1)


class TrainRecipe(_Frozen):
    """How the supernet is trained and finalists are fine-tuned.

    Attributes:
        epochs: passes over the training images; a time budget may cut the schedule short, never its shape.
        lr: peak learning rate of the one-cycle schedule (Smith & Topin 2018, arXiv:1708.07120), SGD with Nesterov momentum.
        random_subnets: random networks in a sandwich step besides the largest and the smallest (Yu & Huang 2019, arXiv:1903.05134).
        distill_weight: share of the in-place distillation loss for all but the largest.
        finetune_epochs, finetune_lr: for finalists.
        augment: random crop with padding, and flips where `flip`.
        flip: mirror images left to right; wrong for digits and letters.
    """

    epochs: int = Field(20, ge=1, le=10_000)
    batch_size: int = Field(128, ge=2)
    lr: float = Field(0.2, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(3e-5, ge=0)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    grad_clip: float = Field(5.0, gt=0)
    random_subnets: int = Field(2, ge=0, le=16)
    distill_weight: float = Field(0.7, ge=0, le=1)
    finetune_epochs: int = Field(6, ge=0, le=10_000)
    finetune_lr: float = Field(0.03, gt=0)
    augment: bool = True
    flip: bool = True


def default_recipe(data: str) -> TrainRecipe:
    """Recipe for a data set by name: digits are small and must not be mirrored."""
    return TrainRecipe(epochs=20, batch_size=64, finetune_epochs=12, flip=False) if data == "digits" else TrainRecipe()


def default_space(data: str) -> str:
    """Space for a data set by name: one that two CPU cores can train."""
    return "mobilenet_tiny" if data == "digits" else "mobilenet_cifar"


def check_config(values: Mapping[str, object]) -> SearchConfig:
    """A configuration from its values.

    Raises:
        InputError: naming the first key that does not hold, what is wrong and the value.
    """
    try:
        return SearchConfig.model_validate(dict(values))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        if first["type"] == "string_pattern_mismatch":
            text = "must be letters, digits, '.', '_' and '-', at most 100, a letter or digit first"
        if first["type"] not in ("missing", "value_error"):  # our own validators name the value themselves
            text += f", got {first['input']!r}"
        raise InputError(": ".join(filter(None, (key, text)))) from exc


class SearchConfig(_Frozen):
    """Everything that decides what a search does. Stored as runs/<study>/config.json; a resume reads it back.

    Attributes:
        space, data: names or paths.
        devices: one front each.
        trials: evaluated architectures that the search ends with.
        time_budget_s: wall-clock for all of it, training and finalists included.
        objectives: names of `nas.metrics.OBJECTIVES`; the first is accuracy.
        constraints: bounds in SI units; they prune before accuracy is evaluated.
        finalists: how many of the front are fine-tuned, tested and exported.
        workers: processes that evaluate; 1 evaluates in this one and is repeatable.
        verify: whether networks near the front are measured during the search, and the predictor refitted.
        via: how the device is reached for that; None for this machine.
    """

    study: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    devices: tuple[str, ...] = Field(min_length=1)
    space: str
    data: str
    trials: int = Field(150, ge=1, le=1_000_000)
    time_budget_s: float | None = Field(None, gt=0)
    objectives: tuple[str, ...] = ("accuracy", "latency")
    constraints: tuple[Constraint, ...] = ()
    runtime: str | None = None
    precision: Literal["fp32", "int8"] = "fp32"
    threads: int | None = Field(None, ge=1, le=1024)
    evaluator: str = "supernet"
    sampler: str = "nsga2"
    finalists: int = Field(5, ge=1, le=50)
    workers: int = Field(1, ge=1, le=256)
    verify: bool = False
    via: str | None = None
    seed: int = Field(0, ge=0, lt=2**32)  # NumPy's older generators take no more
    storage: str | None = None
    tracking_uri: str | None = None
    recipe: TrainRecipe = TrainRecipe()
    measure: MeasureProtocol = MeasureProtocol()

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in OBJECTIVES]
        if unknown:
            raise ValueError(f"unknown objective {unknown[0]!r}: known are {', '.join(OBJECTIVES)}")
        if len(set(value)) != len(value) or len(value) < 2 or value[0] != "accuracy":
            raise ValueError(f"they are accuracy first and at least one cost, each once, got {', '.join(value)}")
        return value

    @field_validator("constraints")
    @classmethod
    def _bounds_that_can_be_kept(cls, value: tuple[Constraint, ...]) -> tuple[Constraint, ...]:
        kinds = {each.metric: "max" if each.direction == "minimize" else "min" for each in OBJECTIVES.values()}
        for constraint in value:
            if kinds.get(constraint.metric) != constraint.kind:
                known = ", ".join(f"{kind} {metric}" for metric, kind in kinds.items())
                raise ValueError(f"a search cannot keep {constraint.kind} {constraint.metric}: it can keep {known}")
        return value

    @model_validator(mode="after")
    def _devices_differ(self) -> SearchConfig:
        if len(set(self.devices)) != len(self.devices):
            raise ValueError(f"a device is named twice: {', '.join(self.devices)}")
        return self

    @model_validator(mode="after")
    def _one_way_to_one_device(self) -> SearchConfig:
        if self.via is not None and not self.verify:
            raise ValueError(f"via says how the device is reached for verify, and nothing is to be measured: got {self.via!r} alone")
        if self.via is not None and len(self.devices) > 1:
            raise ValueError(f"via leads to one device, not to {len(self.devices)}: {', '.join(self.devices)}")
        return self
