"""The YAML of a search space, read strictly: a typo is an error that names file, key and value."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from nas.architecture import ACTIVATIONS
from nas.errors import SpaceError
from nas.yaml_file import read_yaml

__all__ = [
    "HeadFile",
    "OpChoice",
    "SeFile",
    "SpaceFile",
    "StageFile",
    "StemFile",
    "parse_space",
    "read_references",
    "read_space",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_list(value: object) -> object:
    """A single value stands for a list of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("needs at least one choice")
    if len(set(value)) != len(value):
        raise ValueError(f"a choice stands twice in {list(value)}")
    return value


def _ascending(value: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(sorted(_distinct(value)))


def _whole(value: tuple[float, ...]) -> tuple[float, ...]:
    """Whole ratios as integers, so that 6 and 6.0 are one gene value."""
    return tuple(int(ratio) if ratio == int(ratio) else ratio for ratio in value)


def _known_act(value: str) -> str:
    if value not in ACTIVATIONS:
        raise ValueError(f"unknown activation {value!r}: known are {', '.join(ACTIVATIONS)}")
    return value


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"a kernel size must be odd, got {value}")
    return value


Channels = Annotated[int, Field(ge=1, le=65536)]
Kernel = Annotated[int, Field(ge=1, le=31), AfterValidator(_odd)]
Ratio = Annotated[float, Field(gt=0, le=64)]
Act = Annotated[str, AfterValidator(_known_act)]
Widths = Annotated[tuple[Channels, ...], BeforeValidator(_as_list), AfterValidator(_ascending)]
Depths = Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], BeforeValidator(_as_list), AfterValidator(_ascending)]
Kernels = Annotated[tuple[Kernel, ...], BeforeValidator(_as_list), AfterValidator(_ascending)]
Ratios = Annotated[tuple[Ratio, ...], BeforeValidator(_as_list), AfterValidator(_ascending), AfterValidator(_whole)]
Sizes = Annotated[tuple[Annotated[int, Field(ge=4, le=4096)], ...], BeforeValidator(_as_list), AfterValidator(_ascending)]


class OpChoice(_Strict):
    """A named operator of a layer; `skip` is the identity, or a 1x1 convolution where channels or stride change."""

    kernel_size: Kernel = 3
    expand_ratio: Ratio = 1.0
    groups: int = Field(1, ge=1)
    skip: bool = False


class SeFile(_Strict):
    """Squeeze-excite: bottleneck = ratio x channels of the block's input or of the expansion, rounded to the divisor."""

    ratio: float = Field(0.25, gt=0, le=1)
    of: Literal["input", "expanded"] = "expanded"
    divisor: int = Field(8, ge=1)
    act: Act = "relu"
    gate: Act = "hardsigmoid"


class StemFile(_Strict):
    """First convolution."""

    out_chs: Channels
    kernel_size: Kernel = 3
    stride: int = Field(2, ge=1, le=4)
    act: Act | None = None


class StageFile(_Strict):
    """Layers of one width; the first has the stage's stride. Either kernel_size and expand_ratio, or `op`, is the choice of a layer."""

    out_chs: Widths
    depth: Depths = (1,)
    kernel_size: Kernels = (3,)
    expand_ratio: Ratios = (1.0,)
    op: Annotated[tuple[str, ...], AfterValidator(_distinct)] | None = None
    stride: int = Field(1, ge=1, le=4)
    se: bool = False
    act: Act | None = None

    @model_validator(mode="after")
    def _one_vocabulary(self) -> StageFile:
        if self.op is not None and {"kernel_size", "expand_ratio"} & self.model_fields_set:
            raise ValueError("a stage has either op, or kernel_size and expand_ratio, not both")
        return self


class HeadFile(_Strict):
    """What stands between the stages and the classifier."""

    kind: Literal["conv", "pool", "linear"]
    out_chs: Channels | None = None
    act: Act | None = None

    @model_validator(mode="after")
    def _has_channels(self) -> HeadFile:
        if (self.kind == "pool") != (self.out_chs is None):
            raise ValueError(f"{self.kind} in the head {'takes no' if self.kind == 'pool' else 'needs'} out_chs")
        return self


class SpaceFile(_Strict):
    """A whole space.

    Attributes:
        source: paper or repository that the space is taken from.
        expand_always: blocks with expand_ratio 1 have an expansion convolution too (FBNet).
        ops: the named operators of stages with `op`.
    """

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    source: str = Field(min_length=1)
    in_chs: int = Field(3, ge=1)
    num_classes: int = Field(1000, ge=2)
    resolution: Sizes
    act: Act = "relu"
    se: SeFile = SeFile()
    expand_always: bool = False
    ops: dict[str, OpChoice] = {}
    stem: StemFile
    stages: tuple[StageFile, ...]
    head: tuple[HeadFile, ...]

    @model_validator(mode="after")
    def _fits(self) -> SpaceFile:
        if not self.stages:
            raise ValueError("stages: needs at least one stage")
        if [item.kind for item in self.head].count("pool") != 1:
            raise ValueError("the head needs exactly one item of kind pool")
        kinds = [item.kind for item in self.head]
        if "linear" in kinds[: kinds.index("pool")] or "conv" in kinds[kinds.index("pool") :]:
            raise ValueError("in the head, conv stands before pool and linear after it")
        for number, stage in enumerate(self.stages):
            for name in stage.op or ():
                if name not in self.ops:
                    raise ValueError(f"stages.{number}.op: {name!r} is not in ops: {', '.join(self.ops) or 'ops is empty'}")
        return self


def parse_space(data: Mapping[str, Any], where: str) -> SpaceFile:
    """Checks a space against the model.

    Raises:
        SpaceError: one line naming `where`, the key, what is wrong and the value given.
    """
    try:
        # As JSON, where strict means: no word or truth value for a number, but lists for tuples.
        return SpaceFile.model_validate_json(json.dumps(dict(data), default=str), strict=True)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), _keys_at(first["loc"]), n=2)
            text = f"unknown key{': did you mean ' + ' or '.join(near) + '?' if near else ''}"
        if first["type"] not in ("missing", "value_error") or not isinstance(first["input"], Mapping):  # else the text names the value
            shown = repr(first["input"])
            text += f", got {shown if len(shown) <= 80 else shown[:77] + '...'}"
        more = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
        raise SpaceError(": ".join(filter(None, (where, key, text))) + more) from exc


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """Keys that the model holding `loc` knows."""
    owner: type[BaseModel] = SpaceFile
    below: dict[str, type[BaseModel]] = {"stages": StageFile, "head": HeadFile, "stem": StemFile, "se": SeFile, "ops": OpChoice}
    if len(loc) > 1:
        owner = below.get(str(loc[0]), SpaceFile)
    return [field.alias or name for name, field in owner.model_fields.items()]


def _read(path: Path) -> Mapping[str, Any]:
    return read_yaml(path, "a search space", SpaceError)


def read_space(path: Path) -> SpaceFile:
    """A space from its file.

    Raises:
        SpaceError: with file, key and the offending value.
    """
    return parse_space(_read(path), str(path))


def read_references(path: Path) -> dict[str, SpaceFile]:
    """The reference architectures: spaces with one point each, by name.

    Raises:
        SpaceError: with file, key and the offending value; also where a reference leaves a choice.
    """
    data = _read(path)
    spaces = {
        name: parse_space({"schema": data.get("schema"), "name": name, **entry}, f"{path}: {name}")
        for name, entry in data["references"].items()
    }
    for name, space in spaces.items():
        choices = [
            len(space.resolution),
            *(len(c) for s in space.stages for c in (s.out_chs, s.depth, s.kernel_size, s.expand_ratio, s.op or "x")),
        ]
        if max(choices) > 1:
            raise SpaceError(f"{path}: {name}: a reference architecture leaves no choice, but one key has {max(choices)} values")
    return spaces
