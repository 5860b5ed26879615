"""Spaces that tests build: small enough to look at every architecture, with every kind of choice in them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st

from nas.architecture import Architecture
from nas.space import SearchSpace, load_space
from nas.space_file import parse_space

HEAD = [{"kind": "conv", "out_chs": 16}, {"kind": "pool"}]
OPS = {
    "skip": {"skip": True},
    "k3_e1": {"kernel_size": 3, "expand_ratio": 1},
    "k3_e2_g2": {"kernel_size": 3, "expand_ratio": 2, "groups": 2},
    "k5_e2": {"kernel_size": 5, "expand_ratio": 2},
}
ELASTIC = {"out_chs": 8, "depth": [1, 2], "kernel_size": [3, 5], "expand_ratio": [1, 2], "stride": 2}


def space_data(**changes: Any) -> dict[str, Any]:
    """What stands in the YAML of a space with 20 architectures for 8 x 8 digits; `changes` replace its keys."""
    return {
        "schema": 1,
        "name": "tiny",
        "source": "made up for a test",
        "in_chs": 1,
        "num_classes": 10,
        "resolution": 8,
        "stem": {"out_chs": 8, "stride": 1},
        "stages": [ELASTIC],
        "head": HEAD,
        **changes,
    }


def make_space(data: Mapping[str, Any] | None = None, **changes: Any) -> SearchSpace:
    return SearchSpace(parse_space(space_data(**changes) if data is None else data, "a test"))


def rich_space() -> SearchSpace:
    """5,600 architectures: elastic resolution, width, depth, kernel and expansion, squeeze-excite, and a stage of named operators."""
    stages = [
        {**ELASTIC, "out_chs": [8, 16], "se": True},
        {"out_chs": 16, "depth": [1, 2, 3], "op": ["k3_e1", "k3_e2_g2", "skip", "k5_e2"]},
    ]
    head = [{"kind": "conv", "out_chs": 24}, {"kind": "pool"}, {"kind": "linear", "out_chs": 16}]
    return make_space(resolution=[8, 12], act="hardswish", ops=OPS, stages=stages, head=head)


def everything(space: SearchSpace) -> list[Architecture]:
    """Every architecture, from every combination of gene values: each once, in no order that matters."""
    names = [gene.name for gene in space.genes]
    return list(
        dict.fromkeys(
            space.canonical(dict(zip(names, values, strict=True))) for values in itertools.product(*(g.choices for g in space.genes))
        )
    )


@cache
def shipped(name: str) -> SearchSpace:
    """A space of search_spaces/, loaded once."""
    return load_space(name)


def _some(values: list[Any], most: int = 2) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


@st.composite
def _stages(draw: st.DrawFn) -> dict[str, Any]:
    stage: dict[str, Any] = {"out_chs": draw(_some([8, 16])), "depth": draw(_some([1, 2])), "stride": draw(st.sampled_from([1, 2]))}
    stage["se"] = draw(st.booleans())
    if draw(st.booleans()):
        return {**stage, "op": draw(_some(sorted(OPS)))}
    return {**stage, "kernel_size": draw(_some([3, 5, 7])), "expand_ratio": draw(_some([1, 2.5]))}


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Spaces of at most about 10,000 architectures."""
    stages = draw(st.lists(_stages(), min_size=1, max_size=2))
    heads = [HEAD, [{"kind": "pool"}], [{"kind": "pool"}, {"kind": "linear", "out_chs": 12}], [*HEAD, {"kind": "linear", "out_chs": 12}]]
    return make_space(
        resolution=draw(_some([8, 9, 12])),
        ops=OPS,
        expand_always=draw(st.booleans()),
        stages=stages,
        head=draw(st.sampled_from(heads)),
    )
