"""Architectures and blocks: values that check themselves, with ids that never change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.architecture import Architecture, BlockSpec, make_divisible
from nas.errors import SpaceError
from tests.hardware.strategies import blocks

names = st.from_regex(r"[a-z][a-z0-9._]{0,8}", fullmatch=True)
genes = st.dictionaries(names, st.integers(-99, 99) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6), max_size=6)
widths = st.dictionaries(names, st.integers(0, 99), max_size=3)
architectures = st.builds(lambda space, found, left: Architecture(space, tuple(found.items()), tuple(left.items())), names, genes, widths)

ARCH = Architecture("mobilenet_tiny", (("resolution", 16), ("s1.depth", 2), ("s1.b1.expand_ratio", 2.5), ("s1.b1.op", "k3_e6")))
BLOCK = {"name": "s1.b1", "kind": "mbconv", "in_chs": 16, "out_chs": 16, "in_size": 8, "kernel_size": 3, "mid_chs": 32, "expand": True}


def test_the_id_is_the_same_in_every_version() -> None:
    """Files of old studies name their models by it: a change here loses them."""
    assert ARCH.to_json() == (
        '{"genes":{"resolution":16,"s1.b1.expand_ratio":2.5,"s1.b1.op":"k3_e6","s1.depth":2},"space":"mobilenet_tiny"}'
    )
    assert ARCH.arch_id == "d2879f06d6cd"


@given(architectures)
def test_json_and_back(arch: Architecture) -> None:
    again = Architecture.from_dict(json.loads(json.dumps(arch.to_dict())))
    assert again == arch
    assert hash(again) == hash(arch)
    assert again.arch_id == arch.arch_id
    assert Architecture.from_dict(json.loads(arch.to_json())).arch_id == arch.arch_id
    assert len(arch.arch_id) == 12
    assert set(arch.arch_id) <= set("0123456789abcdef")


@given(architectures, architectures)
def test_ids_are_equal_where_values_are(one: Architecture, other: Architecture) -> None:
    said = [(each.space, dict(each.genes), dict(each.widths)) for each in (one, other)]
    assert (one.arch_id == other.arch_id) == (said[0] == said[1])


def test_what_was_pruned_is_another_network_and_knows_what_it_was() -> None:
    pruned = Architecture(ARCH.space, ARCH.genes, (("s2.b1.mid", 8), ("s1.b1.out", 16)))
    assert pruned.arch_id != ARCH.arch_id
    assert pruned == Architecture(ARCH.space, ARCH.genes, (("s1.b1.out", 16), ("s2.b1.mid", 8)))
    assert pruned.unpruned == ARCH
    assert pruned.to_dict() == {**ARCH.to_dict(), "widths": {"s1.b1.out": 16, "s2.b1.mid": 8}}
    with pytest.raises(SpaceError, match="once, 0 or more, got"):
        Architecture("tiny", (), (("s1.b1.mid", -8),))


def test_whole_numbers_are_one_value_however_they_are_written() -> None:
    whole, written = Architecture("s", (("expand_ratio", 6),)), Architecture("s", (("expand_ratio", 6.0),))
    assert whole == written
    assert whole.arch_id == written.arch_id


def test_a_gene_named_twice_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"'tiny' names a gene twice.*depth"):
        Architecture("tiny", (("depth", 1), ("depth", 2)))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"space": "tiny"}, r"got keys \['space'\]"),
        ({"space": 3, "genes": {}}, "an architecture is"),
        ({"space": "tiny", "genes": [1]}, "an architecture is"),
        ({"space": "tiny", "genes": {}, "gene": {}}, "'gene', 'genes', 'space'"),
        ({"space": "tiny", "genes": {"depth": True}}, "'depth' must be a number or a word, got True"),
        ({"space": "tiny", "genes": {"depth": None}}, "got None"),
        ({"space": "tiny", "genes": {"depth": [2]}}, r"got \[2\]"),
        ({"space": "tiny", "genes": {}, "widths": {"s1.b1.mid": 8.0}}, "number of channels for each pruned group"),
    ],
)
def test_what_is_no_architecture_is_refused(data: dict[str, object], word: str) -> None:
    with pytest.raises(SpaceError, match=word):
        Architecture.from_dict(data)


@given(blocks())
def test_blocks_go_through_json(block: BlockSpec) -> None:
    assert BlockSpec.from_dict(json.loads(json.dumps(block.to_dict()))) == block


@given(blocks())
def test_sizes_are_those_of_a_padded_convolution(block: BlockSpec) -> None:
    padded = block.in_size + 2 * (block.kernel_size // 2)
    expected = (padded - block.kernel_size) // block.stride + 1
    assert block.out_size == (expected if block.kind in ("conv", "mbconv") else 1)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"kind": "dense"}, r"block 's1.b1' \(dense\): kind must be one of conv, mbconv, pool, linear"),
        ({"in_chs": 0}, "in_chs must be at least 1, got 0"),
        ({"in_size": -4}, "in_size must be at least 1, got -4"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ({"act": "gelu"}, "act must be one of .*, got 'gelu'"),
        ({"se_gate": "softmax"}, "se_gate must be one of .*, got 'softmax'"),
        ({"mid_chs": 0}, "mid_chs 0 does not fit in_chs 16"),
        ({"expand": False}, "mid_chs 32 does not fit in_chs 16 with expand=False"),
        ({"groups": 3}, "channels 16/32/16 do not divide by groups 3"),
        ({"residual": True, "stride": 2}, "16 -> 16 at stride 2"),
        ({"residual": True, "out_chs": 24}, "16 -> 24 at stride 1"),
        ({"kernel": 3}, "got kernel=3"),
        ({"in_chs": 16.0}, "got in_chs=16.0"),
        ({"in_chs": True}, "got in_chs=True"),
        ({"expand": 1}, "got expand=1"),
        ({"name": 7}, "got name=7"),
    ],
)
def test_blocks_that_do_not_hold_together_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(SpaceError, match=word):
        BlockSpec.from_dict({**BLOCK, **changes})


def test_a_block_without_its_sizes_is_refused() -> None:
    with pytest.raises(SpaceError, match="a block needs name, kind, in_chs, out_chs and in_size, got name, kind"):
        BlockSpec.from_dict({"name": "stem", "kind": "conv"})


@given(st.floats(0.5, 5000), st.sampled_from([1, 4, 8, 16]))
def test_channels_are_rounded_without_losing_a_tenth(value: float, divisor: int) -> None:
    rounded = make_divisible(value, divisor)
    assert rounded % divisor == 0
    assert 0.9 * value <= rounded <= max(divisor, value + divisor)


def test_channels_of_mobilenet_v3() -> None:
    assert [make_divisible(0.25 * chs) for chs in (16, 72, 120, 480, 672, 960)] == [8, 24, 32, 120, 168, 240]
