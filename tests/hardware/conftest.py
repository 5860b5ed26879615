"""What the tests of hardware share."""

from __future__ import annotations

import time

import numpy as np
import pytest

from nas.hardware.features import FEATURES
from nas.hardware.predictor import LatencyPredictor, SpeedUp
from tests.hardware.clocks import FakeClock


@pytest.fixture
def predictor() -> LatencyPredictor:
    """Made-up coefficients, fitted on blocks up to 64 pixels without squeeze-excite."""
    rng = np.random.default_rng(0)
    return LatencyPredictor(
        coefficients=tuple(float(value) for value in rng.uniform(1e-10, 1e-9, len(FEATURES))),
        origins=tuple("fitted" for _ in FEATURES),
        half_width=0.2,
        speedup=SpeedUp(4, 1.68, 1.51, 2.03, "made up"),
        ranges=(("depthwise.in_size", 4.0, 32.0), ("pointwise.in_size", 4.0, 32.0)),
        unseen=("macs_se", "count_se", "bytes_scale"),
        measurements=20,
        quality=(("out_of_fold_mape", 0.1),),
        source="made up",
        licence="none",
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Replaces the machine's clock."""
    fake = FakeClock()
    monkeypatch.setattr(time, "perf_counter_ns", fake.perf_counter_ns)
    return fake
