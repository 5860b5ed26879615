"""The configuration of a search: the one place with defaults. Unknown keys are errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nas.errors import InputError
from nas.metrics import OBJECTIVES, Constraint

__all__ = [
    "EnergyProtocol",
    "HalvingRecipe",
    "MeasureProtocol",
    "SearchConfig",
    "TrainRecipe",
    "check_config",
    "default_recipe",
    "default_space",
]


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


class EnergyProtocol(_Frozen):
    """How energy is measured, apart from latency (FINDINGS: windows of half a second and more vary by about 3 %).

    Attributes:
        windows: of running; each stands between two of rest.
        window_s, idle_s: length of a window of running and of rest, seconds.
        max_drift: how much more rest may draw on one side of a window than on the other.
        max_repeats: windows of a network that are repeated.
        cool_down_s: pause after a throttled window.
    """

    windows: int = Field(3, ge=2, le=100)
    window_s: float = Field(1.0, ge=0.5, le=600)
    idle_s: float = Field(0.5, ge=0.5, le=600)
    max_drift: float = Field(0.3, gt=0)
    max_repeats: int = Field(5, ge=0, le=100)
    cool_down_s: float = Field(10.0, ge=0, le=600)


class TrainRecipe(_Frozen):
    """How the supernet is trained and finalists are fine-tuned.

    Attributes:
        epochs: passes over the training images; a time budget may cut the schedule short, never its shape. 0 leaves weights as they are.
        batch_size: images of a step, over all processes together.
        micro_batch: images that pass through at once and share batch-norm statistics; 0 for 64 on a CPU, whose threads compute as many
            such parts side by side (`nas.training.replicas`), and for the whole batch of a process on a GPU. Smaller ones need less memory;
            the step stays the same but for those statistics.
        schedule: of the learning rate: one-cycle (Smith & Topin 2018, arXiv:1708.07120) or cosine from the peak on (Loshchilov & Hutter
            2017, arXiv:1608.03983); both end near zero.
        warmup: share of a one-cycle schedule in which the rate rises.
        lr: peak learning rate, SGD with Nesterov momentum.
        weight_decay: of weights; not of biases and batch norm.
        ema_decay: of the running average of the weights that evaluation uses and training ends with; 0 for none.
        random_subnets: random networks in a sandwich step besides the largest and the smallest (Yu & Huang 2019, arXiv:1903.05134).
        distill_weight: share of the in-place distillation loss for all but the largest.
        drop_path: probability with which the last residual branch of the largest network is left out for an image, falling to 0 at the
            first (Huang et al. 2016, arXiv:1603.09382).
        first_resolution: image size at the begin of the training over that at its end; it grows in between.
        finetune_epochs, finetune_lr: for finalists.
        finetune_distill_weight: share of a teacher's part in their loss. None: `distill_weight` with a teacher of the user's own, else 0: a
            finalist has learnt from the largest network of the supernet already, and one that was pruned begins with what it was itself
            (docs/evaluators.md has what such teachers would cost).
        finetune_temperature: of their distillation; above 1 the teacher's and their own probabilities are softened.
        augment: random crop with a mirrored border.
        flip: mirror images left to right, where `augment`; wrong for digits and letters.
        colour: largest change of brightness, contrast and saturation, as a share.
        rand_augment: strength of one random geometric and one random photometric change an image (after Cubuk et al. 2020,
            arXiv:1909.13719); 0 for none.
        mixup, cutmix: alpha of the Beta distribution of the mixed share (Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019,
            arXiv:1905.04899); 0 for none. With both, one of them is drawn for a batch.
    """

    epochs: int = Field(20, ge=0, le=10_000)
    batch_size: int = Field(128, ge=2)
    micro_batch: int = Field(0, ge=0)
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    warmup: float = Field(0.1, ge=0, lt=1)
    lr: float = Field(0.2, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    ema_decay: float = Field(0.998, ge=0, lt=1)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    grad_clip: float = Field(5.0, gt=0)
    random_subnets: int = Field(2, ge=0, le=16)
    distill_weight: float = Field(0.7, ge=0, le=1)
    drop_path: float = Field(0.0, ge=0, lt=1)
    first_resolution: float = Field(0.75, gt=0, le=1)
    finetune_epochs: int = Field(20, ge=0, le=10_000)
    finetune_lr: float = Field(0.1, gt=0)
    finetune_distill_weight: float | None = Field(None, ge=0, le=1)
    finetune_temperature: float = Field(1.0, ge=1, le=100)
    augment: bool = True
    flip: bool = True
    colour: float = Field(0.0, ge=0, lt=1)
    rand_augment: float = Field(0.0, ge=0, le=1)
    mixup: float = Field(0.0, ge=0)
    cutmix: float = Field(0.0, ge=0)

    def of_finalists(self, *, has_teacher: bool) -> TrainRecipe:
        """With `finetune_distill_weight` as the weight of the distillation.

        Args:
            has_teacher: whether the user named one.
        """
        weight = self.finetune_distill_weight
        if weight is None:
            weight = self.distill_weight if has_teacher else 0.0
        return self.model_copy(update={"distill_weight": weight})

    @field_validator("micro_batch")
    @classmethod
    def _batch_norm_needs_two(cls, value: int) -> int:
        if value == 1:
            raise ValueError("batch norm needs at least 2 images: 0 for the whole batch, or 2 and more, got 1")
        return value


class HalvingRecipe(_Frozen):
    """How networks are trained from scratch by the evaluator `train`: all of them briefly, ever fewer of them longer.

    Attributes:
        epochs: of a network that is never halted.
        factor: by which the epochs grow from one rung to the next, and of which share the better ones go on.
        first_epochs: of the first rung.
    """

    epochs: int = Field(9, ge=1, le=10_000)
    factor: int = Field(3, ge=2, le=16)
    first_epochs: int = Field(1, ge=1, le=10_000)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a network is compared with the others, the last one its end: 1, 3, 9."""
        found = [self.epochs]
        while found[-1] // self.factor >= self.first_epochs:
            found.append(found[-1] // self.factor)
        return tuple(found[::-1])

    @property
    def mean_epochs(self) -> float:
        """Of a network, where a `factor`-th of them goes on from each rung."""
        rungs = (0, *self.rungs)
        return math.fsum((rungs[n + 1] - rungs[n]) / self.factor**n for n in range(len(self.rungs)))


def default_recipe(data: str) -> TrainRecipe:
    """Recipe for a data set by name: digits are small and must not be mirrored."""
    if data != "digits":
        return TrainRecipe()
    return TrainRecipe(epochs=20, batch_size=64, first_resolution=1.0, finetune_epochs=12, finetune_lr=0.03, flip=False)


def default_space(data: str) -> str:
    """Space for a data set by name: one that two CPU cores can train."""
    return "mobilenet_tiny" if data == "digits" else "mobilenet_cifar"


def check_config(values: Mapping[str, object], named: Callable[[str], str] = str) -> SearchConfig:
    """A configuration from its values.

    Args:
        named: what a user calls a key.

    Raises:
        InputError: naming the first key that does not hold, what is wrong and the value.
    """
    try:
        return SearchConfig.model_validate(dict(values))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        key = named(key) if key else key
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
        joint: a front for all devices together too, by the worst or the mean of their latencies; None for none.
        trials: evaluated architectures that the search of the first device ends with; each further one is told them all and adds a
            quarter as many.
        time_budget_s: wall-clock for all of it, training and finalists included; a resume has what the runs before it left.
        target_regret: share of the hypervolume; the search stops when its model expects less than that to gain.
        warm_start: earlier studies of the same space and data, whose accuracies count as evaluations.
        start_from: networks that are evaluated first: reference architectures or architecture files, of the space.
        objectives: names of `nas.metrics.OBJECTIVES`; the first is accuracy.
        constraints: bounds in SI units; they prune before accuracy is evaluated.
        runtime: several make as many targets of each device; none for the profile's.
        precision: of the candidates; with "both" an int8 twin of each on the targets that are faster in int8.
        table: file of known results for the evaluator `tabular`.
        teacher: ONNX file that finalists learn from; None for the largest network of the supernet.
        finalists: how many of the front are fine-tuned, tested and exported.
        prune: share of its predicted latency to which each fp32 finalist is pruned; the result is one more finalist where none beats it.
            None for no pruning.
        weights: file of a supernet to start from; with 0 epochs it is used as it is.
        workers: processes that evaluate; 1 evaluates in this one and is repeatable. With `ray` at most so many, and 1 for as many as fit.
        ray: address of a Ray cluster that evaluates, "auto" or "local"; None for this machine's processes.
        evaluation_timeout_s: after which an evaluation is tried again elsewhere; None for many times what others took.
        verify: whether networks near the front are measured during the search, and the predictor refitted.
        via: how the device is reached for that; None for this machine.
        threads: of the runtime; several make as many targets of each device and runtime, and a candidate is an architecture on one of
            them. None for the profile's.
        energy_axis: what energy is besides the objectives, see `nas.search.energy_axis`; auto until the search has looked.
        grid: country of the electricity that the search itself takes, ISO 3166 or WORLD.
    """

    study: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    devices: tuple[str, ...] = Field(min_length=1)
    space: str
    data: str
    joint: Literal["worst", "mean"] | None = None
    trials: int = Field(150, ge=1, le=1_000_000)
    time_budget_s: float | None = Field(None, gt=0)
    target_regret: float | None = Field(None, gt=0, lt=1)
    warm_start: tuple[str, ...] = ()
    start_from: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ("accuracy", "latency")
    constraints: tuple[Constraint, ...] = ()
    runtime: tuple[str, ...] = ()
    precision: Literal["fp32", "int8", "both"] = "fp32"
    threads: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = ()
    energy_axis: Literal["auto", "searched", "targets", "shown"] = "auto"
    evaluator: str = "supernet"
    table: str | None = None
    teacher: str | None = None
    sampler: str = "front"
    finalists: int = Field(5, ge=1, le=50)
    prune: float | None = Field(None, gt=0, lt=1)
    workers: int = Field(1, ge=1, le=256)
    ray: str | None = Field(None, min_length=1)
    evaluation_timeout_s: float | None = Field(None, gt=0)
    verify: bool = False
    via: str | None = None
    grid: str = Field("WORLD", pattern=r"^[A-Za-z]{2,5}$")
    seed: int = Field(0, ge=0, lt=2**32)  # NumPy's older generators take no more
    storage: str | None = None
    tracking_uri: str | None = None
    weights: str | None = None
    recipe: TrainRecipe = TrainRecipe()
    halving: HalvingRecipe = HalvingRecipe()
    measure: MeasureProtocol = MeasureProtocol()

    @field_validator("study")
    @classmethod
    def _not_the_store(cls, value: str) -> str:
        if value.casefold() == "mlflow":
            raise ValueError(f"is the folder of MLflow's store beside the studies: choose another name, got {value!r}")
        return value

    @field_validator("threads", "runtime", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        """Studies of earlier versions have one, or none."""
        return () if value is None else (value,) if isinstance(value, int | str) else value

    @field_validator("threads", "runtime")
    @classmethod
    def _differ(cls, value: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"one is named twice: {', '.join(map(str, value))}")
        return value

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
    def _has_a_model(self) -> SearchConfig:
        if self.target_regret is not None and self.sampler != "front":
            raise ValueError(f"a target regret needs the sampler front, which expects something of a proposal, got {self.sampler}")
        return self

    @model_validator(mode="after")
    def _devices_differ(self) -> SearchConfig:
        if len(set(self.devices)) != len(self.devices):
            raise ValueError(f"a device is named twice: {', '.join(self.devices)}")
        return self

    @model_validator(mode="after")
    def _verify_one_target(self) -> SearchConfig:
        for what, given in (("number of threads", self.threads), ("runtime", self.runtime)):
            if self.verify and len(given) > 1:
                raise ValueError(f"verify measures with one {what}, got {', '.join(map(str, given))}")
        return self

    @model_validator(mode="after")
    def _joint_of_several(self) -> SearchConfig:
        if self.joint is not None and len(self.devices) < 2:
            raise ValueError(f"joint is the {self.joint} of several devices: name two or more, got {', '.join(self.devices)} alone")
        return self

    @model_validator(mode="after")
    def _weights_from_somewhere(self) -> SearchConfig:
        if self.recipe.epochs == 0 and self.weights is None:
            raise ValueError("recipe.epochs: 0 leaves weights as they are, and none are given: --weights FILE, or 1 epoch or more, got 0")
        return self

    @model_validator(mode="after")
    def _one_way_to_one_device(self) -> SearchConfig:
        if self.via is not None and not self.verify:
            raise ValueError(f"via says how the device is reached for verify, and nothing is to be measured: got {self.via!r} alone")
        if self.via is not None and len(self.devices) > 1:
            raise ValueError(f"via leads to one device, not to {len(self.devices)}: {', '.join(self.devices)}")
        return self
