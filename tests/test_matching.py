"""Architectures are found again by their blocks, in every space that is shipped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.matching import find
from nas.space import load_reference, load_space, space_names


@pytest.mark.parametrize("name", space_names())
def test_an_architecture_is_found_by_its_blocks(name: str) -> None:
    space = load_space(name).with_data(3, 10)
    for seed in range(3):
        blocks = space.decode(space.sample(seed))
        found = find(space, blocks)
        assert found is not None
        assert space.decode(found) == blocks


def test_a_published_network_is_found_where_the_space_holds_it() -> None:
    reference = load_reference("efficientnet_lite0").with_data(3, 10)
    blocks = reference.decode(reference.smallest)
    space = load_space("efficientnet_lite").with_data(3, 10)
    found = find(space, blocks)
    assert found is not None
    assert space.decode(found) == blocks
    assert find(load_space("mobilenet_cifar").with_data(3, 10), blocks) is None


def test_what_differs_in_one_field_is_not_found() -> None:
    space = load_space("mobilenet_tiny")
    *blocks, last = space.decode(space.sample(0))
    assert find(space, (*blocks, replace(last, out_chs=last.out_chs + 1))) is None
