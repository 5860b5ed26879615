from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.hardware.additive import solve
from nas.hardware.features import FAMILIES, FEATURES, network_features
from nas.hardware.roofline import CoreFacts, roofline
from tests.hardware.test_fitting import networks

PRIOR = np.array(roofline(CoreFacts(1.5e9, 4.0, 4.6e9)).coefficients)
ROWS = np.array([network_features(net) for net in networks(40)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(4, 40), ridge=st.sampled_from((5e-6, 5e-4, 5e-2)))
def test_coefficients_are_positive_whatever_was_measured(seed: int, n: int, ridge: float) -> None:
    rng = np.random.default_rng(seed)
    found = solve(ROWS[:n], rng.uniform(1e-4, 1.0, n), PRIOR, ridge)
    assert (found.coefficients > 0).all()
    assert np.isfinite(found.coefficients).all()
    assert found.coefficients.shape == found.identified.shape == (len(FEATURES),)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(1e-3, 1e3))
def test_seconds_scale(scale: float) -> None:
    latency_s = ROWS @ (PRIOR * np.random.default_rng(0).uniform(0.5, 2, len(PRIOR)))
    np.testing.assert_allclose(
        solve(ROWS, scale * latency_s, PRIOR, 1e-3).coefficients, scale * solve(ROWS, latency_s, PRIOR, 1e-3).coefficients, rtol=1e-6
    )


def test_what_was_not_measured_is_not_identified() -> None:
    found = solve(ROWS, ROWS @ PRIOR, PRIOR, 5e-6)
    assert not found.identified[~ROWS.any(axis=0)].any()
    assert found.identified[FEATURES.index("macs_pointwise")]
    np.testing.assert_allclose(ROWS @ found.coefficients, ROWS @ PRIOR, rtol=1e-3)


def test_unseen_features_follow_their_family_but_are_no_dearer_than_chip_facts() -> None:
    """All memory ten times faster or slower than the prior says, all else as it says."""
    unseen = FEATURES.index("bytes_scale")
    assert not ROWS[:, unseen].any()
    memory = np.array([family in ("bytes", "elements") for family in FAMILIES])
    shares = []
    for factor in (0.1, 10.0):
        coefficients = solve(ROWS, ROWS @ np.where(memory, factor * PRIOR, PRIOR), PRIOR, 5e-4).coefficients
        shares.append(coefficients[unseen] / PRIOR[unseen])
    fast, slow = shares
    assert fast < 0.5
    assert slow < 10.0
