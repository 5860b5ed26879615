"""Search spaces: every way from choices to genes, rows and blocks says the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import Architecture
from nas.errors import SpaceError, UnknownNameError
from nas.space import SearchSpace, load_reference, load_space, reference_blocks, reference_names, space_names
from tests.spaces import ELASTIC, OPS, everything, make_space, rich_space, shipped, spaces

seeds = st.integers(0, 2**32 - 1)
every_space = pytest.mark.parametrize("space", [pytest.param(shipped(name), id=name) for name in space_names()])
made = settings(deadline=None, max_examples=25)


# --- spaces made up: every architecture is looked at ------------------------------------------------------------------------------


@made
@given(spaces())
def test_size_is_how_many_there_are(space: SearchSpace) -> None:
    assert space.size == len(everything(space))


@made
@given(spaces())
def test_rows_and_architectures_are_one_to_one(space: SearchSpace) -> None:
    archs = everything(space)
    rows = space.encode(archs)
    assert space.decode_rows(rows) == archs
    assert len(np.unique(rows, axis=0)) == len(archs)
    assert len({arch.arch_id for arch in archs}) == len(archs)


def test_the_tiny_space_by_hand() -> None:
    space = make_space()
    assert space.size == 2 * 2 + (2 * 2) ** 2
    assert [gene.name for gene in space.genes] == [
        "s1.depth", "s1.b1.kernel_size", "s1.b1.expand_ratio", "s1.b2.kernel_size", "s1.b2.expand_ratio",
    ]  # fmt: skip
    assert space.describe(space.smallest) == "8px  8: 3e1"
    assert space.describe(space.largest) == "8px  8: 5e2 5e2"
    stem, first, second, head, pool, classifier = space.decode(space.largest)
    assert (stem.in_chs, stem.out_chs, stem.in_size) == (1, 8, 8)
    assert (first.in_size, first.stride, first.mid_chs, first.residual) == (8, 2, 16, False)
    assert (second.in_size, second.stride, second.mid_chs, second.residual) == (4, 1, 16, True)
    assert (head.kind, head.in_size, head.out_chs) == ("conv", 4, 16)
    assert (pool.kind, pool.in_size) == ("pool", 4)
    assert (classifier.kind, classifier.in_chs, classifier.out_chs) == ("linear", 16, 10)
    assert len(space.decode(space.smallest)) == 5


def test_named_operators_by_hand() -> None:
    space = make_space(ops=OPS, stages=[{"out_chs": 8, "depth": 2, "op": list(OPS)}, {"out_chs": 16, "stride": 2, "op": list(OPS)}])
    assert space.genes[0].choices == ("skip", "k3_e1", "k3_e2_g2", "k5_e2")
    names = [block.name for block in space.decode(space.smallest)]
    # An identity leaves nothing where shapes agree, and a 1x1 convolution where they do not.
    assert names == ["stem", "s2.b1", "head.1", "head.2", "classifier"]
    reduced = space.decode(space.smallest)[1]
    assert (reduced.kind, reduced.kernel_size, reduced.stride, reduced.out_chs) == ("conv", 1, 2, 16)
    assert space.describe(space.largest) == "8px  8: 5e2 5e2  16: 5e2"
    assert space.gene_numbers(space.largest) == {"s1.b1.op": 3.0, "s1.b2.op": 3.0, "s2.b1.op": 3.0}


def test_a_space_without_a_choice() -> None:
    space = make_space(stages=[{"out_chs": 8}])
    assert space.size == 1
    assert space.smallest == space.largest == space.sample(0) == Architecture("tiny", ())
    assert everything(space) == [space.largest]
    assert space.encode([space.largest]).shape == (1, 0)
    with pytest.raises(SpaceError, match="'tiny' has one architecture only"):
        space.mutate(space.largest, 0)


def test_spaces_of_one_file_are_equal() -> None:
    space, again = make_space(), make_space()
    assert space == again
    assert hash(space) == hash(again)
    assert space != space.with_data(3, 10)
    assert space != make_space(resolution=[8, 12])
    assert space != "tiny"
    assert space.fingerprint == again.fingerprint
    others = (space.with_data(3, 10), make_space(resolution=[8, 12]), make_space(stem={"out_chs": 8, "stride": 1, "act": "hardswish"}))
    assert len({each.fingerprint for each in (space, *others)}) == 4


# --- the spaces that are shipped --------------------------------------------------------------------------------------------------


@every_space
@made
@given(seed=seeds)
def test_samples_belong_to_the_space_and_go_round(space: SearchSpace, seed: int) -> None:
    arch = space.sample(seed)
    space.check(arch)
    assert space.sample(seed) == arch
    assert space.decode_rows(space.encode([arch])) == [arch]
    assert space.canonical(dict(arch.genes)) == arch
    assert space.canonical(dict(Architecture.from_dict(json.loads(arch.to_json())).genes)) == arch
    assert space.gene_numbers(arch).keys() == dict(arch.genes).keys()
    assert space.describe(arch).startswith(f"{space.decode(arch)[0].in_size}px")


@every_space
@made
@given(seed=seeds, rate=st.floats(0, 1))
def test_mutations_are_others_of_the_space(space: SearchSpace, seed: int, rate: float) -> None:
    arch = space.sample(seed)
    mutant = space.mutate(arch, seed, rate)
    space.check(mutant)
    assert mutant != arch
    assert space.decode(mutant) != space.decode(arch)
    assert space.mutate(arch, seed, rate) == mutant


@every_space
@made
@given(seed=seeds, data=st.data())
def test_genes_that_do_not_exist_are_dropped(space: SearchSpace, seed: int, data: st.DataObject) -> None:
    arch = space.sample(seed)
    active = dict(arch.genes)
    noise = {gene.name: data.draw(st.sampled_from(gene.choices)) for gene in space.genes if gene.name not in active}
    assert space.canonical({**noise, **active}) == arch
    if noise:
        given_more = Architecture(space.name, tuple((g.name, {**noise, **active}[g.name]) for g in space.genes))
        with pytest.raises(SpaceError, match="do not exist at its depths"):
            space.decode(given_more)


@every_space
@made
@given(seed=seeds)
def test_blocks_of_rows_are_those_of_architectures(space: SearchSpace, seed: int) -> None:
    rows = space.sample_rows(20, seed)
    assert rows.shape == (20, len(space.genes))
    for row, index in zip(rows, space.block_index(rows), strict=True):
        blocks = tuple(space.blocks[i] for i in index if i >= 0)
        assert blocks == space.decode(space.decode_rows(row[None])[0])


@every_space
@made
@given(seed=seeds)
def test_blocks_fit_together(space: SearchSpace, seed: int) -> None:
    arch = space.sample(seed)
    blocks = space.decode(arch)
    assert blocks[0].in_chs == space.in_chs
    assert blocks[0].in_size == dict(arch.genes).get("resolution", space.resolutions[0])
    assert (blocks[-1].kind, blocks[-1].out_chs) == ("linear", space.num_classes)
    for before, after in itertools.pairwise(blocks):
        assert (before.out_chs, before.out_size) == (after.in_chs, after.in_size)
    assert len({block.name for block in blocks}) == len(blocks)


@every_space
def test_samples_are_uniform_over_the_genes(space: SearchSpace) -> None:
    rows = space.sample_rows(4000, 0)
    for column, gene in enumerate(space.genes):
        counts = np.bincount(rows[:, column][rows[:, column] >= 0], minlength=len(gene.choices))
        assert np.all(np.abs(counts / counts.sum() - 1 / len(gene.choices)) < 0.1)


@every_space
def test_ends_are_the_first_and_last_choices(space: SearchSpace) -> None:
    first, last = dict(space.smallest.genes), dict(space.largest.genes)
    space.check(space.smallest)
    space.check(space.largest)
    assert set(last) == {gene.name for gene in space.genes}
    for gene in space.genes:
        assert first.get(gene.name, gene.choices[0]) == gene.choices[0]
        assert last[gene.name] == gene.choices[-1]


@every_space
def test_other_images_change_the_ends_only(space: SearchSpace) -> None:
    other = space.with_data(in_chs=2, num_classes=7)
    blocks, changed = space.decode(space.largest), other.decode(other.largest)
    assert (changed[0].in_chs, changed[-1].out_chs) == (2, 7)
    assert changed[1:-1] == blocks[1:-1]
    assert other.size == space.size
    assert other.resolutions == space.resolutions


# --- what is refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("genes", "word"),
    [
        ({}, "an architecture of space 'tiny' needs the gene 's1.depth'"),
        ({"s1.depth": 2, "s1.b1.kernel_size": 3, "s1.b1.expand_ratio": 1}, "needs the gene 's1.b2.kernel_size'"),
        ({"s1.deep": 2}, "has no gene 's1.deep': it has s1.depth"),
        ({"s1.depth": 3}, "s1.depth must be one of 1, 2, got 3"),
        ({"s1.depth": "2"}, "got '2'"),
    ],
)
def test_genes_that_do_not_fit_are_refused(genes: dict[str, int], word: str) -> None:
    space = make_space()
    with pytest.raises(SpaceError, match=word):
        space.canonical(genes)
    with pytest.raises(SpaceError):
        space.check(Architecture("tiny", tuple(genes.items())))


@pytest.mark.parametrize("call", [SearchSpace.check, SearchSpace.decode], ids=["check", "decode"])
def test_an_architecture_of_another_space_is_refused(call: Callable[[SearchSpace, Architecture], object]) -> None:
    arch = make_space(name="other").largest
    with pytest.raises(SpaceError, match="of space 'other', not of 'tiny'"):
        call(make_space(), arch)


def test_genes_in_another_order_are_refused_by_that_reason() -> None:
    """Read from canonical JSON, whose keys are sorted: `canonical` puts them in order."""
    space = rich_space()
    sorted_genes = Architecture.from_dict(json.loads(space.largest.to_json()))
    with pytest.raises(SpaceError, match="another order"):
        space.check(sorted_genes)
    assert space.canonical(dict(sorted_genes.genes)) == space.largest


def test_channels_that_do_not_fit_are_refused_by_block_and_value() -> None:
    odd = {"out_chs": 9, "op": ["k3_e2_g2"]}
    with pytest.raises(SpaceError, match=r"block 's1.b1' \(mbconv\): channels 9/24/9 do not divide by groups 2"):
        make_space(stem={"out_chs": 9}, ops=OPS, stages=[odd])


def test_unknown_names_list_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"search space 'mobilenet_cifr': did you mean mobilenet_cifar.*\(a path works too\)"):
        load_space("mobilenet_cifr")
    with pytest.raises(
        UnknownNameError, match=r"search space 'references' \(its networks are no search space: nas predict \w+, or nas search"
    ):
        load_space("references")
    with pytest.raises(UnknownNameError, match=r"known are [^(]*mobilenet_tiny") as refused:
        load_space("qqqqqqqq")
    assert "references" not in str(refused.value)
    with pytest.raises(UnknownNameError, match=r"reference architecture 'mobilenetv2': did you mean mobilenet_v2"):
        load_reference("mobilenetv2")


def test_references_are_spaces_of_one_network() -> None:
    for name in reference_names():
        space = load_reference(name)
        assert space.size == 1
        assert reference_blocks(name) == space.decode(space.smallest)


def test_a_stage_of_one_depth_has_no_gene_for_it() -> None:
    space = make_space(stages=[{**ELASTIC, "depth": 2}])
    assert "s1.depth" not in {gene.name for gene in space.genes}
    assert space.size == len(everything(space)) == 16
