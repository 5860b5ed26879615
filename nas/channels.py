"""Which channels of a network belong together: those of an expansion, and those that a stage's blocks add up in their residuals.

What pruning changes is a number of channels of each such group; with the genes of the network before it, that is the whole description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from nas.architecture import BlockSpec
from nas.errors import SpaceError

__all__ = ["Groups"]


@dataclass(frozen=True, slots=True)
class Groups:
    """Which channels of a network are tied together.

    Attributes:
        ins, mids, outs: group of a block's channels, by block; a group that is not in `sizes` cannot be pruned.
        sizes: channels of each group that can be pruned.
        branches: groups that can lose all their channels: the expansions of residual blocks, which then only pass on what they get.
    """

    ins: Mapping[str, str]
    mids: Mapping[str, str]
    outs: Mapping[str, str]
    sizes: Mapping[str, int]
    branches: frozenset[str]

    @classmethod
    def of(cls, blocks: Sequence[BlockSpec]) -> Groups:
        """Of blocks in the order of execution. Images, classes, and channels of grouped convolutions are kept."""
        ins, mids, outs, sizes, kept, branches = {}, {}, {}, {}, {"images"}, set()
        current = "images"
        for block in blocks:
            ins[block.name] = current
            if block.kind in ("conv", "mbconv") and not block.residual:
                current = f"{block.name}.out"
            elif block.kind == "linear":
                current = f"{block.name}.out"
                kept.add(current)
            outs[block.name] = current
            if block.kind == "mbconv":
                mids[block.name] = f"{block.name}.mid" if block.expand else ins[block.name]
                sizes[mids[block.name]] = block.mid_chs
                if block.expand and block.residual:
                    branches.add(mids[block.name])
            if block.groups > 1:
                kept |= {ins[block.name], outs[block.name], mids.get(block.name, current)}
            sizes[current] = block.out_chs
        free = {name: size for name, size in sizes.items() if name not in kept}
        tied = MappingProxyType(ins), MappingProxyType(mids), MappingProxyType(outs)
        return cls(*tied, MappingProxyType(free), frozenset(branches - kept))

    def narrowed(self, blocks: Sequence[BlockSpec]) -> dict[str, int]:
        """Channels of the groups that are narrower in `blocks`, what pruning made of the network; 0 for those of blocks that left."""
        found = Groups.of(blocks).sizes
        return {name: found.get(name, 0) for name, size in self.sizes.items() if found.get(name, 0) != size}

    def resized(self, blocks: Sequence[BlockSpec], sizes: Mapping[str, int]) -> tuple[BlockSpec, ...]:
        """The blocks with other numbers of channels, by group; without the residual blocks that have none left.

        Raises:
            SpaceError: a group that there is not, or a number of channels that it cannot have.
        """
        for name, size in sizes.items():
            if name not in self.sizes:
                raise SpaceError(f"widths: {name!r} is no group of channels that can be pruned: those are {', '.join(self.sizes)}")
            if not (0 if name in self.branches else 1) <= size <= self.sizes[name]:
                raise SpaceError(f"widths: {name} has {self.sizes[name]} channels, of which 1 or more can stay, got {size}")

        def size_of(group: str, now: int) -> int:
            return sizes.get(group, now)

        return tuple(
            replace(
                block,
                in_chs=size_of(self.ins[block.name], block.in_chs),
                out_chs=size_of(self.outs[block.name], block.out_chs),
                mid_chs=size_of(self.mids[block.name], block.mid_chs) if block.kind == "mbconv" else block.mid_chs,
            )
            for block in blocks
            if self.mids.get(block.name) not in self.branches or size_of(self.mids[block.name], block.mid_chs)
        )
