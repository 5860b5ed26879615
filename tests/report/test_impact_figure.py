from __future__ import annotations

import struct

import pytest

from nas.errors import InputError
from nas.report.grid import Grid
from nas.report.impact import Use, impact_of
from nas.report.impact_figure import impact_png

from .test_impact import ENERGY, GRID, LATENCY


@pytest.mark.parametrize("grid", [GRID, Grid("NOX", "Nowhere", 0.0, 2024, "a test")], ids=["France", "no carbon"])
def test_a_line_a_network(grid: Grid) -> None:
    use = Use(1e6, grid)
    found = [impact_of(f"one-{number}", ENERGY, LATENCY, use, None) for number in range(3)]
    heights = []
    baseline = impact_of("mobilenet_v2", ENERGY, LATENCY, use, None)
    for networks, baselines in ((found[:1], []), (found, []), (found, [baseline]), (found, [baseline] * 2)):
        picture = impact_png(networks, baselines, use, "raspberrypi4")
        assert picture.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", picture[16:24])
        assert width == 1440
        heights.append(height)
    assert heights == sorted(set(heights))


def test_nothing_to_show() -> None:
    with pytest.raises(InputError, match="at least one network"):
        impact_png([], [], Use(1e6, GRID), "raspberrypi4")
