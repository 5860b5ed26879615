"""Channels that are added up belong together; a network is described by how many of each group are left."""

from __future__ import annotations

import pytest

from nas.architecture import Architecture
from nas.channels import Groups
from nas.cost import count
from nas.errors import SpaceError
from tests.spaces import rich_space, shipped

SPACE = shipped("mobilenet_tiny")
BLOCKS = SPACE.decode(SPACE.largest)
GROUPS = Groups.of(BLOCKS)


def test_residuals_tie_a_stage_together() -> None:
    stage = [block for block in BLOCKS if block.name.startswith("s2.")]
    assert {GROUPS.outs[block.name] for block in stage} == {"s2.b1.out"}
    assert [GROUPS.ins[block.name] for block in stage] == ["s1.b1.out", "s2.b1.out", "s2.b1.out"]
    assert {GROUPS.mids[block.name] for block in stage} == {f"{block.name}.mid" for block in stage}
    assert GROUPS.ins["stem"] not in GROUPS.sizes
    assert GROUPS.outs["classifier"] not in GROUPS.sizes
    assert GROUPS.resized(BLOCKS, GROUPS.sizes) == BLOCKS


def test_channels_of_grouped_convolutions_stay() -> None:
    space = rich_space()
    blocks = space.decode(space.canonical({**dict(space.largest.genes), "s2.b2.op": "k3_e2_g2"}))
    groups = Groups.of(blocks)
    grouped = next(block for block in blocks if block.groups > 1)
    assert not {groups.ins[grouped.name], groups.mids[grouped.name], groups.outs[grouped.name]} & set(groups.sizes)
    assert f"{grouped.name}.mid" not in groups.branches


def test_what_is_narrower_is_told_and_made_again() -> None:
    wanted = {"s2.b1.out": 24, "s3.b2.mid": 40, "s2.b3.mid": 0}
    blocks = GROUPS.resized(BLOCKS, wanted)
    assert "s2.b3" not in [block.name for block in blocks]
    assert [block.out_chs for block in blocks if block.name.startswith("s2.")] == [24, 24]
    assert GROUPS.narrowed(blocks) == wanted
    assert count(blocks).macs < count(BLOCKS).macs


@pytest.mark.parametrize(
    ("widths", "words"),
    [
        ({"s9.b1.mid": 8}, "'s9.b1.mid' is no group"),
        ({"s2.b1.mid": 0}, "s2.b1.mid has 64 channels, of which 1 or more can stay, got 0"),
        ({"s2.b1.mid": 65}, "got 65"),
        ({"s2.b1.mid": 64}, "s2.b1.mid is as wide as before"),
    ],
)
def test_widths_that_do_not_fit_are_refused_by_group(widths: dict[str, int], words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        SPACE.decode(Architecture(SPACE.name, SPACE.largest.genes, tuple(widths.items())))


def test_a_space_reads_what_was_pruned_from_it() -> None:
    wanted = {"s2.b1.out": 24, "s2.b3.mid": 0}
    pruned = Architecture(SPACE.name, SPACE.largest.genes, tuple(wanted.items()))
    assert SPACE.decode(pruned) == GROUPS.resized(BLOCKS, wanted)
    assert SPACE.gene_numbers(pruned) == SPACE.gene_numbers(SPACE.largest)
    assert "24: 5e" in SPACE.describe(pruned)
    assert (SPACE.describe(pruned).endswith("  (pruned)"), "pruned" in SPACE.describe(SPACE.largest)) == (True, False)
    with pytest.raises(SpaceError, match="a pruned network is no point of space"):
        SPACE.encode([pruned])
