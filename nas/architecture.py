"""What a network is: a point of a space (`Architecture`) and its resolved blocks (`BlockSpec`).

Everything that reads a network (builder, supernet, cost, predictor, report) reads `BlockSpec`s.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, cast, get_args

from nas.errors import SpaceError

__all__ = ["ACTIVATIONS", "Architecture", "BlockSpec", "GeneValue", "make_divisible"]

GeneValue = int | float | str
Kind = Literal["conv", "mbconv", "pool", "linear"]
ACTIVATIONS = ("none", "relu", "relu6", "hardswish", "silu", "sigmoid", "hardsigmoid")


def make_divisible(value: float, divisor: int = 8) -> int:
    """Rounds a channel count to a multiple of `divisor` without losing more than 10 %.

    Source: Howard et al. 2019, arXiv:1905.02244 (the rule of the MobileNet reference code).
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, slots=True)
class Architecture:
    """A point of a search space, its active genes only, so that equal networks are equal values; or what pruning made of one.

    Attributes:
        space: name of the space.
        genes: (name, value) pairs in the order of the space; whole numbers are integers, so that 6 and 6.0 have one id.
        widths: (group, channels) pairs, sorted, of the groups of channels that pruning narrowed (`nas.channels.Groups`); none where nothing
            was pruned. They are part of the id: a pruned network is another one.
    """

    space: str
    genes: tuple[tuple[str, GeneValue], ...]
    widths: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        names = [name for name, _ in self.genes]
        if len(set(names)) != len(names):
            raise SpaceError(f"an architecture of {self.space!r} names a gene twice: {sorted(names)}")
        whole = tuple((name, int(value) if isinstance(value, float) and value.is_integer() else value) for name, value in self.genes)
        object.__setattr__(self, "genes", whole)
        if len(dict(self.widths)) != len(self.widths) or any(width < 0 for _, width in self.widths):
            raise SpaceError(f"widths name each group of channels once, 0 or more, got {dict(self.widths)}")
        object.__setattr__(self, "widths", tuple(sorted(self.widths)))

    @property
    def unpruned(self) -> Architecture:
        """The point of the space that it is, or was pruned from."""
        return Architecture(self.space, self.genes) if self.widths else self

    @property
    def arch_id(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, object]:
        """With "widths" only where something was pruned."""
        found: dict[str, object] = {"space": self.space, "genes": dict(self.genes)}
        return {**found, "widths": dict(self.widths)} if self.widths else found

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, data: object) -> Architecture:
        """Reads `to_dict`'s form. Whether the genes fit a space is the space's to say.

        Raises:
            SpaceError: for anything but {"space": str, "genes": {str: int | float | str}}, with "widths": {str: int} where it was pruned.
        """
        if not isinstance(data, Mapping):
            raise SpaceError(f'an architecture is {{"space": NAME, "genes": {{...}}}}, got {data!r}')
        space, genes, widths = data.get("space"), data.get("genes"), data.get("widths", {})
        if not isinstance(space, str) or not isinstance(genes, Mapping) or set(data) - {"widths"} != {"space", "genes"}:
            raise SpaceError(f'an architecture is {{"space": NAME, "genes": {{...}}}}, got keys {sorted(map(str, data))}')
        for name, value in genes.items():
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise SpaceError(f"gene {name!r} must be a number or a word, got {value!r}")
        if not isinstance(widths, Mapping) or any(type(width) is not int for width in widths.values()):
            raise SpaceError(f"widths are a number of channels for each pruned group, got {widths!r}")
        return cls(space, tuple((str(name), value) for name, value in genes.items()), tuple((str(k), v) for k, v in widths.items()))


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One block of a network with every shape resolved. Square inputs, batch 1, padding kernel_size // 2.

    Kinds:
        conv: convolution, batch norm, activation (stem, head, and FBNet's 1x1 'skip').
        mbconv: inverted residual of MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, figure 4d): 1x1 expansion (where `expand`),
            depthwise, squeeze-excite (where `se_chs`), 1x1 projection; `groups` > 1 makes the 1x1 grouped with a channel shuffle
            between (FBNet, Wu et al. 2019, arXiv:1812.03443, figure 3).
        pool: global average pooling to 1 x 1.
        linear: fully connected layer with bias, activation.

    Attributes:
        name: place in the network ("stem", "s2.b1", "classifier"): the address of its weights.
        mid_chs: channels of the depthwise convolution; equals in_chs without expansion.
        se_chs: channels of the squeeze-excite bottleneck; 0 for none.
        in_size: height and width of the input, pixels.
    """

    name: str
    kind: Kind
    in_chs: int
    out_chs: int
    in_size: int
    kernel_size: int = 1
    stride: int = 1
    act: str = "none"
    mid_chs: int = 0
    expand: bool = False
    groups: int = 1
    se_chs: int = 0
    se_act: str = "relu"
    se_gate: str = "hardsigmoid"
    residual: bool = False

    def __post_init__(self) -> None:
        where = f"block {self.name!r} ({self.kind})"
        if self.kind not in get_args(Kind):
            raise SpaceError(f"{where}: kind must be one of {', '.join(get_args(Kind))}")
        for field in ("in_chs", "out_chs", "in_size", "kernel_size", "stride", "groups"):
            if getattr(self, field) < 1:
                raise SpaceError(f"{where}: {field} must be at least 1, got {getattr(self, field)}")
        if self.kernel_size % 2 == 0:
            raise SpaceError(f"{where}: kernel_size must be odd, got {self.kernel_size}")
        for field in ("act", "se_act", "se_gate"):
            if getattr(self, field) not in ACTIVATIONS:
                raise SpaceError(f"{where}: {field} must be one of {', '.join(ACTIVATIONS)}, got {getattr(self, field)!r}")
        if self.kind == "mbconv" and (self.mid_chs < 1 or (not self.expand and self.mid_chs != self.in_chs)):
            raise SpaceError(f"{where}: mid_chs {self.mid_chs} does not fit in_chs {self.in_chs} with expand={self.expand}")
        if any(chs % self.groups for chs in (self.in_chs, self.mid_chs, self.out_chs)):
            raise SpaceError(f"{where}: channels {self.in_chs}/{self.mid_chs}/{self.out_chs} do not divide by groups {self.groups}")
        if self.residual and (self.stride != 1 or self.in_chs != self.out_chs):
            raise SpaceError(
                f"{where}: a residual needs stride 1 and equal channels, got {self.in_chs} -> {self.out_chs} at stride {self.stride}"
            )

    def to_dict(self) -> dict[str, GeneValue]:
        """Every field by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> BlockSpec:
        """Reads `to_dict`'s form.

        Raises:
            SpaceError: a field is unknown, missing or of the wrong type, or the block does not hold together.
        """
        types = {field.name: field.type for field in fields(cls)}
        for name, value in data.items():
            expected = {"int": int, "bool": bool}.get(str(types.get(name)), str)
            if name not in types or type(value) is not expected:
                raise SpaceError(f"a block's fields are {', '.join(types)}, got {name}={value!r}")
        try:
            return cls(**cast("dict[str, int]", dict(data)))  # type: ignore[arg-type]
        except TypeError as exc:
            raise SpaceError(f"a block needs name, kind, in_chs, out_chs and in_size, got {', '.join(data)}") from exc

    @property
    def out_size(self) -> int:
        """Height and width of the output, pixels."""
        return 1 if self.kind in ("pool", "linear") else -(-self.in_size // self.stride)
