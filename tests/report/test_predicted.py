from __future__ import annotations

import struct

import numpy as np
import pytest

from nas.errors import InputError
from nas.hardware.evaluation import Evaluation
from nas.report.predicted import predicted_png


def test_a_picture_of_the_promised_size() -> None:
    pytest.importorskip("matplotlib")
    measured = np.geomspace(1e-3, 0.1, 30)
    predicted = measured * np.random.default_rng(0).normal(1, 0.05, 30)
    png = predicted_png(Evaluation(measured, predicted, 0.95 * predicted, 1.05 * predicted), "a device: 30 networks")
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (960, 960)


def test_nothing_to_show() -> None:
    nothing = np.zeros(0)
    with pytest.raises(InputError, match="at least one"):
        predicted_png(Evaluation(nothing, nothing, nothing, nothing), "nothing")
