"""architecture.svg: a network drawn as its stages and blocks, from its BlockSpecs alone."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from nas.architecture import BlockSpec
from nas.cost import count
from nas.errors import InputError
from nas.report.units import short

__all__ = ["architecture_svg"]

WIDTH, LEFT, RIGHT = 1000, 176, 976
"""Of the picture, and where boxes begin and end, pixels."""
BOX_HEIGHT, ROW_HEIGHT, GAP = 56, 88, 18
NARROWEST, WIDEST = 88, 250
"""Of a box, pixels: the widest is the network's largest channel count."""
LONGEST = 90
"""Letters of a title that fit."""
TOP = 104
"""Of the first row, pixels: title and legend are above it."""
FILLS = {1: ("#eef3f8", "#24303c"), 3: ("#cfe0f1", "#24303c"), 5: ("#86b3de", "#14212e"), 7: ("#2b6cb0", "#ffffff")}
"""Colour of a box and of its words by kernel_size: the darker, the larger; larger ones are as 7."""
PLAIN = ("#f1ede4", "#24303c")
"""Of blocks without a kernel: pooling and fully connected layers."""
INK, SOFT, EDGE, WIRE, RESIDUAL = "#24303c", "#5a6675", "#9aa5b1", "#bcc6d0", "#d9641c"


@dataclass(frozen=True, slots=True)
class _Box:
    """A block in its place, pixels."""

    block: BlockSpec
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.y + BOX_HEIGHT / 2


def architecture_svg(blocks: Sequence[BlockSpec], title: str) -> str:
    """The network as an SVG file, 1000 pixels wide: a row a stage, a box a block.

    A box's width follows the square root of its output channels, its colour the kernel size; the words in it are kernel size and
    expansion, output channels, stride and squeeze-excite. An arc over a box is its residual connection. MACs and parameters are counted.

    Raises:
        InputError: there is no block.
    """
    if not blocks:
        raise InputError("a drawing of a network needs at least one block, got none")
    rows = list(_rows(blocks))
    boxes = [box for _, row in rows for box in row]
    height = round(boxes[-1].y + BOX_HEIGHT + 24)
    cost = count(blocks)
    facts = f"{short(cost.macs)} multiply-adds · {short(cost.params)} parameters (counted) · {len(blocks)} blocks"
    desc = f"{facts}. " + " ".join(_sentence(block) for block in blocks)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">',
        f"<title>{html.escape(title)}</title>",
        f"<desc>{html.escape(desc)}</desc>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(24, 36, title if len(title) <= LONGEST else f"{title[: LONGEST - 1]}…", 18, INK, bold=True),
        _text(24, 58, facts, 13, SOFT),
        *_legend(blocks),
        *_wires(boxes),
    ]
    for label, row in rows:
        parts += [_text(24, row[0].middle - 4, label, 14, INK, bold=True), _text(24, row[0].middle + 14, _sizes(row), 12, SOFT)]
        for box in row:
            parts += _drawn(box)
    return "\n".join([*parts, "</svg>", ""])


def _rows(blocks: Sequence[BlockSpec]) -> Iterator[tuple[str, list[_Box]]]:
    """Stages as (label, boxes); one that is wider than the picture goes on in a second line."""
    most = max(block.out_chs for block in blocks)
    y = float(TOP)
    for stage, members in groupby(blocks, key=_stage):
        row: list[_Box] = []
        x = float(LEFT)
        for block in members:
            width = NARROWEST + (WIDEST - NARROWEST) * (block.out_chs / most) ** 0.5
            if x + width > RIGHT and row:
                x, y = LEFT, y + ROW_HEIGHT
            row.append(_Box(block, x, y, width))
            x += width + GAP
        yield stage, row
        y += ROW_HEIGHT


def _stage(block: BlockSpec) -> str:
    """Label of the row that a block stands in."""
    first = block.name.partition(".")[0]
    if first in ("head", "classifier"):
        return "Head"
    return f"Stage {first[1:]}" if first[1:].isdigit() else first.capitalize()


def _sizes(row: Sequence[_Box]) -> str:
    """Resolution of a stage, in and out."""
    into, out = row[0].block.in_size, row[-1].block.out_size
    return f"{into} × {into} px" if into == out else f"{into} → {out} px"


def _words(block: BlockSpec) -> tuple[str, str]:
    """Two lines in a box."""
    if block.kind == "pool":
        return "average pool", f"{block.out_chs} ch"
    if block.kind == "linear":
        return "linear", f"{block.out_chs} out"
    size = f"{block.kernel_size}×{block.kernel_size}"
    first = f"conv {size}" if block.kind == "conv" else f"{size}  e{block.mid_chs / block.in_chs:.3g}"
    extras = [f"{block.out_chs} ch"]
    extras += [f"/{block.stride}"] if block.stride > 1 else []
    extras += ["SE"] if block.se_chs else []
    extras += [f"g{block.groups}"] if block.groups > 1 else []
    return first, " · ".join(extras)


def _sentence(block: BlockSpec) -> str:
    """A block for those who cannot see the picture."""
    words = [block.name, block.kind, f"{block.in_chs} to {block.out_chs} channels"]
    if block.kind in ("conv", "mbconv"):
        words.append(f"kernel {block.kernel_size}")
    if block.kind == "mbconv":
        words.append(f"expansion {block.mid_chs / block.in_chs:.3g}")
    words += [f"stride {block.stride}"] if block.stride > 1 else []
    words += ["squeeze-excite"] if block.se_chs else []
    words += [f"{block.groups} groups"] if block.groups > 1 else []
    words += ["residual"] if block.residual else []
    return f"{', '.join(words)}."


def _fill(block: BlockSpec) -> tuple[str, str]:
    return PLAIN if block.kind in ("pool", "linear") else FILLS[min(block.kernel_size, 7)]


def _drawn(box: _Box) -> Iterator[str]:
    fill, ink = _fill(box.block)
    first, second = _words(box.block)
    middle = box.x + box.width / 2
    yield f"<g><title>{html.escape(_sentence(box.block))}</title>"
    if box.block.residual:
        left, right, top = box.x + 10, box.x + box.width - 10, box.y - 13
        arc = f"M{left:g} {box.y:g}C{left + 6:g} {top:g} {right - 6:g} {top:g} {right:g} {box.y:g}"
        yield f'<path d="{arc}" fill="none" stroke="{RESIDUAL}" stroke-width="2"/>'
    yield f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{BOX_HEIGHT}" rx="6" fill="{fill}" stroke="{EDGE}"/>'
    yield _text(middle, box.y + 24, first, 14, ink, bold=True, anchor="middle")
    yield _text(middle, box.y + 43, second, 12, ink, anchor="middle")
    yield "</g>"


def _wires(boxes: Sequence[_Box]) -> Iterator[str]:
    """From each box to the next: straight on, or round to the next line."""
    for one, two in pairwise(boxes):
        start, end = one.x + one.width, two.x
        if one.y == two.y:
            path = f"M{start:g} {one.middle:g}H{end:g}"
        else:
            between = two.y - (ROW_HEIGHT - BOX_HEIGHT) / 2 - 6
            path = f"M{start:g} {one.middle:g}h9V{between:g}H{end - 12:g}V{two.middle:g}h12"
        yield f'<path d="{path}" fill="none" stroke="{WIRE}" stroke-width="1.5" stroke-linejoin="round"/>'


def _legend(blocks: Sequence[BlockSpec]) -> Iterator[str]:
    """What colours and marks mean: those that are in the picture."""
    x = 24.0
    known = sorted({min(block.kernel_size, 7) for block in blocks if block.kind in ("conv", "mbconv")})
    for size in known:
        yield f'<rect x="{x:g}" y="71" width="14" height="14" rx="3" fill="{FILLS[size][0]}" stroke="{EDGE}"/>'
        label = f"kernel {size}×{size}"
        yield _text(x + 20, 82, label, 12, SOFT)
        x += 98
    marks = ["e expansion"] if any(block.kind == "mbconv" for block in blocks) else []
    marks += ["/ stride"] if any(block.stride > 1 for block in blocks) else []
    marks += ["SE squeeze-excite"] if any(block.se_chs for block in blocks) else []
    marks += ["g groups"] if any(block.groups > 1 for block in blocks) else []
    marks += ["width: output channels"]
    if any(block.residual for block in blocks):
        yield f'<path d="M{x:g} 84c4 -14 14 -14 18 0" fill="none" stroke="{RESIDUAL}" stroke-width="2"/>'
        yield _text(x + 24, 82, "residual", 12, SOFT)
        x += 86
    yield _text(x, 82, "   ".join(marks), 12, SOFT)


def _text(x: float, y: float, words: str, size: int, color: str, *, bold: bool = False, anchor: str = "start") -> str:
    weight = ' font-weight="600"' if bold else ""
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{color}"{weight}{place} xml:space="preserve">{html.escape(words)}</text>'
