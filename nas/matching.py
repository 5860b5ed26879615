"""Which architecture of a space a network is, given its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from nas.architecture import Architecture, BlockSpec, GeneValue
from nas.space import SearchSpace

__all__ = ["find"]

SWEEPS = 4
"""Passes over the genes: what a gene decides depends on few others, those of its own stage and the widths before it."""


def find(space: SearchSpace, blocks: Sequence[BlockSpec]) -> Architecture | None:
    """The architecture that decodes to these blocks; None where ascent, gene by gene, on the fields that agree finds none.

    Args:
        blocks: for the same images and classes as the space.
    """
    wanted = {block.name: block for block in blocks}
    for start in (space.largest, space.smallest):
        values = {gene.name: gene.choices[0] for gene in space.genes} | dict(start.genes)
        best = _agreeing(space, values, wanted)
        for _ in range(SWEEPS):
            before = best
            for gene in space.genes:
                tried = {choice: _agreeing(space, {**values, gene.name: choice}, wanted) for choice in gene.choices}
                choice = max(tried, key=tried.__getitem__)
                if tried[choice] > best:
                    values[gene.name], best = choice, tried[choice]
            if best == before:
                break
        arch = space.canonical(values)
        if space.decode(arch) == tuple(blocks):
            return arch
    return None


def _agreeing(space: SearchSpace, values: dict[str, GeneValue], wanted: dict[str, BlockSpec]) -> int:
    """Fields that agree with the wanted block of the same place, less a block's worth of them for each block too many."""
    names = [field.name for field in fields(BlockSpec)]
    total = 0
    for block in space.decode(space.canonical(values)):
        other = wanted.get(block.name)
        total += -len(names) if other is None else sum(getattr(block, name) == getattr(other, name) for name in names)
    return total
