"""The drawing of a network: every block is in it, it is sound XML, and nothing overlaps or leaves the picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from nas.architecture import BlockSpec
from nas.cost import count
from nas.errors import InputError
from nas.report.drawing import architecture_svg
from nas.report.units import short
from nas.space import load_space, reference_blocks, reference_names, space_names

from .examples import EVIL

SVG = "{http://www.w3.org/2000/svg}"


def _boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """x, y, width and height of the blocks' boxes."""
    groups = ElementTree.fromstring(svg).findall(f"{SVG}g")
    rects = [rect for group in groups for rect in group.findall(f"{SVG}rect")]
    return [(float(r.attrib["x"]), float(r.attrib["y"]), float(r.attrib["width"]), float(r.attrib["height"])) for r in rects]


@pytest.mark.parametrize("name", [*space_names(), *reference_names()])
def test_every_shipped_network_fits(name: str) -> None:
    """The largest and the smallest of every space, and every reference."""
    spaces = [load_space(name)] if name in space_names() else []
    networks = [space.decode(arch) for space in spaces for arch in (space.largest, space.smallest)] or [reference_blocks(name)]
    for blocks in networks:
        svg = architecture_svg(blocks, name)
        boxes = _boxes(svg)
        assert len(boxes) == len(blocks)
        height = float(ElementTree.fromstring(svg).attrib["height"])
        assert all(x >= 176 and x + width <= 976 and y + tall < height for x, y, width, tall in boxes)
        for number, one in enumerate(boxes):
            assert not any(abs(one[1] - two[1]) < 60 and one[0] < two[0] + two[2] and two[0] < one[0] + one[2] for two in boxes[:number])
        cost = count(blocks)
        assert f"{short(cost.macs)} multiply-adds · {short(cost.params)} parameters (counted)" in svg


def test_a_block_says_what_it_is() -> None:
    blocks = (
        BlockSpec("stem", "conv", 3, 16, 32, 3, 2, act="relu"),
        BlockSpec("s1.b1", "mbconv", 16, 24, 16, 5, 2, act="relu", mid_chs=64, expand=True, se_chs=16),
        BlockSpec("s1.b2", "mbconv", 24, 24, 8, 7, act="relu", mid_chs=144, expand=True, groups=2, residual=True),
        BlockSpec("head.1", "pool", 24, 24, 8),
        BlockSpec("classifier", "linear", 24, 10, 1),
    )
    root = ElementTree.fromstring(architecture_svg(blocks, "a network"))
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert root.findtext(f"{SVG}title") == "a network"
    assert {"conv 3×3", "16 ch · /2", "5×5  e4", "24 ch · /2 · SE", "7×7  e6", "24 ch · g2", "average pool", "linear", "10 out"} <= set(
        words
    )
    assert {"Stem", "Stage 1", "Head", "16 → 8 px"} <= set(words)
    described = str(root.findtext(f"{SVG}desc"))
    assert "s1.b2, mbconv, 24 to 24 channels, kernel 7, expansion 6, 2 groups, residual." in described
    assert len([path for path in root.iter(f"{SVG}path") if path.attrib["stroke"] == "#d9641c"]) == 2  # the arc, and its key


def test_words_are_escaped() -> None:
    svg = architecture_svg(load_space("mobilenet_tiny").decode(load_space("mobilenet_tiny").smallest), EVIL)
    assert EVIL not in svg
    assert ElementTree.fromstring(svg).findtext(f"{SVG}title") == EVIL


def test_nothing_to_draw() -> None:
    with pytest.raises(InputError, match="at least one block"):
        architecture_svg((), "nothing")
