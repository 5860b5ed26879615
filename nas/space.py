"""Search spaces: a YAML file says which choices there are; here they become genes, integer rows and blocks.

A space is a stem, stages of inverted residuals with elastic depth, width, kernel and expansion (or named operators, as in FBNet), and
a head. Every choice with more than one option is a gene. Genes of layers beyond a stage's depth do not exist (-1 in rows).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.architecture import Architecture, BlockSpec, GeneValue
from nas.channels import Groups
from nas.decoding import choices, places
from nas.errors import SpaceError, UnknownNameError
from nas.resources import data_root, find, listing
from nas.space_file import SpaceFile, read_references, read_space

__all__ = ["Gene", "SearchSpace", "load_reference", "load_space", "reference_blocks", "reference_names", "space_names"]

REFERENCES = "references"
"""File beside the spaces, of the reference architectures."""


@dataclass(frozen=True, slots=True)
class Gene:
    """A decision.

    Attributes:
        name: "resolution", "s2.depth", "s2.width", "s2.b1.kernel_size", "s2.b1.expand_ratio" or "s2.b1.op"; stages and blocks count from 1.
        choices: from small to large.
        depth_gene: column of the gene that decides whether this one exists; -1 for none.
        min_depth: index into the depth gene's choices from which on it exists.
    """

    name: str
    choices: tuple[GeneValue, ...]
    depth_gene: int = -1
    min_depth: int = 0


@dataclass(frozen=True, slots=True)
class _Position:
    """A place where a block can stand: the columns it depends on and the table from their values to a block."""

    columns: tuple[int, ...]
    table: NDArray[np.intp]


class SearchSpace:
    """A space for images of `in_chs` channels and `num_classes` classes. Immutable; equal where file and images are.

    Raises:
        SpaceError: channel numbers that do not fit together, with the key and the value.
    """

    def __init__(self, file: SpaceFile, in_chs: int | None = None, num_classes: int | None = None) -> None:
        self._file = file
        self.name = file.name
        self.source = file.source
        self.in_chs = file.in_chs if in_chs is None else in_chs
        self.num_classes = file.num_classes if num_classes is None else num_classes
        self.genes = _genes(choices(file))
        self._column = {gene.name: column for column, gene in enumerate(self.genes)}
        self._n_choices = np.array([len(gene.choices) for gene in self.genes], dtype=np.int64)
        self._positions, self.blocks = self._fold()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SearchSpace):
            return NotImplemented
        return (self._file, self.in_chs, self.num_classes) == (other._file, other.in_chs, other.num_classes)

    def __hash__(self) -> int:
        return hash((self.name, self.in_chs, self.num_classes))

    def with_data(self, in_chs: int, num_classes: int) -> SearchSpace:
        """The same space for other images."""
        return SearchSpace(self._file, in_chs, num_classes)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Image sizes, pixels, from small to large."""
        return self._file.resolution

    @cached_property
    def size(self) -> int:
        """How many different architectures there are, exactly."""
        total = len(self._file.resolution)
        for stage in self._file.stages:
            layer = len(stage.op) if stage.op else len(stage.kernel_size) * len(stage.expand_ratio)
            total *= len(stage.out_chs) * sum(layer**depth for depth in stage.depth)
        return total

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of all that an architecture of it means: spaces of one name and one fingerprint have the same networks."""
        facts = [[block.to_dict() for block in self.blocks], [[gene.name, *gene.choices] for gene in self.genes]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    # --- architectures ----------------------------------------------------------------------------------------------------------

    def canonical(self, values: Mapping[str, GeneValue]) -> Architecture:
        """The architecture of the active genes among `values`; values of inactive genes are dropped.

        Raises:
            SpaceError: an active gene is missing, a name is unknown, or a value is not one of its gene's choices.
        """
        unknown = sorted(set(values) - set(self._column))
        if unknown:
            raise SpaceError(f"space {self.name!r} has no gene {unknown[0]!r}: it has {', '.join(self._column) or 'none'}")
        row = np.full(len(self.genes), -1, dtype=np.int16)
        for column, gene in enumerate(self.genes):
            if gene.name in values:
                if values[gene.name] not in gene.choices:
                    raise SpaceError(f"{gene.name} must be one of {', '.join(map(str, gene.choices))}, got {values[gene.name]!r}")
                row[column] = gene.choices.index(values[gene.name])
        active = self._active(row[None])[0]
        missing = [gene.name for gene, on, index in zip(self.genes, active, row, strict=True) if on and index < 0]
        if missing:
            raise SpaceError(f"an architecture of space {self.name!r} needs the gene {missing[0]!r}")
        return self.decode_rows(np.where(active, row, -1)[None])[0]

    def check(self, arch: Architecture) -> None:
        """Raises SpaceError unless `arch` is a canonical architecture of this space, or was pruned from one."""
        if arch.space != self.name:
            raise SpaceError(f"the architecture is of space {arch.space!r}, not of {self.name!r}")
        canonical = self.canonical(dict(arch.genes))
        if canonical != arch.unpruned:
            what = "its genes in another order" if len(canonical.genes) == len(arch.genes) else "genes that do not exist at its depths"
            raise SpaceError(f"the architecture has {what}: {arch.to_json()}")
        if arch.widths:
            self._narrowed(arch)

    @property
    def smallest(self) -> Architecture:
        """Every gene at its smallest choice."""
        return self.decode_rows(self._masked(np.zeros((1, len(self.genes)), dtype=np.int16)))[0]

    @property
    def largest(self) -> Architecture:
        """Every gene at its largest choice."""
        return self.decode_rows((self._n_choices - 1).astype(np.int16)[None])[0]

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """An architecture whose genes are drawn uniformly and independently."""
        return self.decode_rows(self.sample_rows(1, seed))[0]

    def mutate(self, arch: Architecture, seed: int | np.random.Generator, rate: float = 0.1) -> Architecture:
        """A different architecture: each gene is drawn anew with probability `rate`, at least one active one is changed.

        Raises:
            SpaceError: the space has one architecture only.
        """
        if not self.genes:
            raise SpaceError(f"space {self.name!r} has one architecture only: nothing can be mutated")
        rng = np.random.default_rng(seed)
        full = self.encode([arch])[0]
        drawn = (rng.random(len(self.genes)) * self._n_choices).astype(np.int16)
        change = rng.random(len(self.genes)) < rate
        # Genes that a deeper stage wakes up have no value yet: they take the drawn one.
        row = np.where(change | (full < 0), drawn, full)
        forced = rng.choice(np.flatnonzero(full >= 0))
        row[forced] = (full[forced] + rng.integers(1, self._n_choices[forced])) % self._n_choices[forced]
        return self.decode_rows(self._masked(row[None]))[0]

    # --- rows -------------------------------------------------------------------------------------------------------------------

    def sample_rows(self, n: int, seed: int | np.random.Generator) -> NDArray[np.int16]:
        """Canonical rows, (n, genes), genes drawn uniformly."""
        rng = np.random.default_rng(seed)
        return self._masked((rng.random((n, len(self.genes))) * self._n_choices).astype(np.int16))

    def encode(self, archs: Iterable[Architecture]) -> NDArray[np.int16]:
        """Integer rows, (n, genes): index of each gene's choice, -1 where it does not exist.

        Raises:
            SpaceError: an architecture is not of this space, or was pruned: its genes are not all that it is.
        """
        rows = []
        for arch in archs:
            if arch.widths:
                raise SpaceError(f"a pruned network is no point of space {self.name!r}: {arch.to_json()}")
            row = [-1] * len(self.genes)
            for name, value in arch.genes:
                try:
                    column = self._column[name]
                    row[column] = self.genes[column].choices.index(value)
                except (KeyError, ValueError):
                    self.check(arch)
            rows.append(row)
        return np.array(rows, dtype=np.int16).reshape(len(rows), len(self.genes))

    def decode_rows(self, rows: NDArray[np.int16]) -> list[Architecture]:
        """Architectures of rows of shape (n, genes); values of inactive genes are dropped."""
        architectures = []
        for row in self._masked(rows).tolist():
            active = ((gene, index) for gene, index in zip(self.genes, row, strict=True) if index >= 0)
            architectures.append(Architecture(self.name, tuple((gene.name, gene.choices[index]) for gene, index in active)))
        return architectures

    def canonical_rows(self, rows: NDArray[np.int16]) -> NDArray[np.int16]:
        """Rows (n, genes) with -1 for genes that do not exist in them."""
        return self._masked(rows)

    def _active(self, rows: NDArray[np.int16]) -> NDArray[np.bool_]:
        active = np.ones(rows.shape, dtype=np.bool_)
        for column, gene in enumerate(self.genes):
            if gene.depth_gene >= 0:
                active[:, column] = rows[:, gene.depth_gene] >= gene.min_depth
        return active

    def _masked(self, rows: NDArray[np.int16]) -> NDArray[np.int16]:
        return np.where(self._active(rows), rows, np.int16(-1))

    # --- blocks -----------------------------------------------------------------------------------------------------------------

    def decode(self, arch: Architecture) -> tuple[BlockSpec, ...]:
        """Blocks of an architecture, shapes resolved, in order of execution.

        Raises:
            SpaceError: the architecture is not of this space.
        """
        self.check(arch)
        return self._narrowed(arch) if arch.widths else self._blocks(arch)

    def _blocks(self, arch: Architecture) -> tuple[BlockSpec, ...]:
        index = self.block_index(self.encode([arch]))[0]
        return tuple(self.blocks[i] for i in index if i >= 0)

    def _narrowed(self, arch: Architecture) -> tuple[BlockSpec, ...]:
        """Blocks of a pruned architecture."""
        blocks = self._blocks(arch.unpruned)
        groups = Groups.of(blocks)
        if whole := [name for name, width in arch.widths if groups.sizes.get(name) == width]:
            raise SpaceError(f"widths name groups of channels that pruning narrowed, and {whole[0]} is as wide as before")
        return groups.resized(blocks, dict(arch.widths))

    def block_index(self, rows: NDArray[np.int16]) -> NDArray[np.intp]:
        """Which of `blocks` stands at each position: (n, positions), -1 for none."""
        index = np.empty((len(rows), len(self._positions)), dtype=np.intp)
        for place, position in enumerate(self._positions):
            index[:, place] = position.table[tuple(rows[:, column] + 1 for column in position.columns)]
        return index

    def gene_numbers(self, arch: Architecture) -> dict[str, float]:
        """Active genes as numbers; named operators by their place in the gene's choices. Of a pruned network: before it was pruned."""
        row = self.encode([arch.unpruned])[0]
        pairs = ((gene, int(index)) for gene, index in zip(self.genes, row, strict=True) if index >= 0)
        return {g.name: float(i) if isinstance(g.choices[i], str) else float(g.choices[i]) for g, i in pairs}

    def describe(self, arch: Architecture) -> str:
        """One line: resolution, then each stage as channels and its layers as kernel and expansion, e.g. "32px  24: 3e4 5e6  40: 3e2", and
        whether it was pruned."""
        stages: dict[str, list[str]] = {}
        size = 0
        for block in self.decode(arch):
            size = size or block.in_size
            if block.name.startswith("s") and "." in block.name:
                ratio = f"{block.mid_chs / block.in_chs:.3g}" if block.kind == "mbconv" else ""
                text = f"{block.kernel_size}e{ratio}{'g' + str(block.groups) if block.groups > 1 else ''}" if ratio else "1x1"
                stages.setdefault(f"{block.name.split('.')[0]}:{block.out_chs}", []).append(text)
        words = [f"{size}px", *(f"{key.split(':')[1]}: {' '.join(layers)}" for key, layers in stages.items())]
        return "  ".join([*words, "(pruned)"] if arch.widths else words)

    def _fold(self) -> tuple[tuple[_Position, ...], tuple[BlockSpec, ...]]:
        """One table a place, from the columns that it depends on to the index of the block; and the different blocks."""
        options = choices(self._file)
        blocks: dict[BlockSpec, int] = {}
        positions = []
        for place in places(self._file, self.in_chs, self.num_classes):
            columns = tuple(self._column[name] for name in place.depends if name in self._column)
            fixed = {name: options[name][0] for name in place.depends if name not in self._column}
            # A value of -1 (inactive) takes slot 0 of its axis: no block stands there.
            table = np.full([len(self.genes[column].choices) + 1 for column in columns], -1, dtype=np.intp)
            for picks in itertools.product(*(range(len(self.genes[column].choices)) for column in columns)):
                values = {self.genes[c].name: self.genes[c].choices[pick] for c, pick in zip(columns, picks, strict=True)}
                block = place.build({**fixed, **values})
                if block is not None:
                    table[tuple(pick + 1 for pick in picks)] = blocks.setdefault(block, len(blocks))
            positions.append(_Position(columns, table))
        return tuple(positions), tuple(blocks)


def _genes(options: Mapping[str, tuple[GeneValue, ...]]) -> tuple[Gene, ...]:
    names = [name for name, values in options.items() if len(values) > 1]
    genes = []
    for name in names:
        depth_gene, min_depth = -1, 0
        stage, _, layer = name.partition(".b")
        if layer and f"{stage}.depth" in names:
            depths = options[f"{stage}.depth"]
            depth_gene = names.index(f"{stage}.depth")
            min_depth = sum(int(depth) < int(layer.split(".")[0]) for depth in depths)
        genes.append(Gene(name, options[name], depth_gene, min_depth))
    return tuple(genes)


def space_names() -> list[str]:
    """Names of the spaces at hand, sorted."""
    return sorted(name for name in listing("search_spaces", "*.yaml") if name != REFERENCES)


def load_space(name_or_path: str) -> SearchSpace:
    """A space by name or by the path of its YAML file.

    Raises:
        UnknownNameError: with the nearest names.
        SpaceError: with file, key and the offending value.
    """
    if name_or_path == REFERENCES:
        names = reference_names()
        hint = f"(its networks are no search space: nas predict {names[0]}, or nas search --start-from {names[0]})"
        raise UnknownNameError("search space", REFERENCES, (), hint)
    path = find("search_spaces", "*.yaml", name_or_path, "search space", hidden=(REFERENCES,))
    file = read_space(path)
    if path != Path(name_or_path) and file.name != path.stem:  # its architectures say a name that no command would find
        raise SpaceError(f"{path}: name: must be that of the file, {path.stem!r}, got {file.name!r}: rename one of them")
    try:
        return SearchSpace(file)
    except SpaceError as exc:
        raise SpaceError(f"{path}: {exc}") from exc


def _references() -> dict[str, SpaceFile]:
    return read_references(data_root("search_spaces") / f"{REFERENCES}.yaml")


def reference_names() -> list[str]:
    """Names of the reference architectures, sorted."""
    return sorted(_references())


def load_reference(name: str) -> SearchSpace:
    """A reference architecture, as a space with one point.

    Raises:
        UnknownNameError: with the nearest names.
    """
    references = _references()
    if name not in references:
        raise UnknownNameError("reference architecture", name, references)
    return SearchSpace(references[name])


def reference_blocks(name: str) -> tuple[BlockSpec, ...]:
    """Blocks of a reference architecture at its own resolution and class count.

    Raises:
        UnknownNameError: with the nearest names.
    """
    space = load_reference(name)
    return space.decode(space.largest)
