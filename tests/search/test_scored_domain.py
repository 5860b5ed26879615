"""A search space as a sampler's domain: it says what the scorer says, of rows that are the space's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nas.errors import StudyError
from nas.metrics import OBJECTIVES, Constraint
from nas.search.scored_domain import OWN_ERROR, ScoredDomain
from nas.search.scoring import Scorer
from tests.spaces import rich_space

OBJECTIVES_HERE = tuple(OBJECTIVES[name] for name in ("accuracy", "latency", "macs"))


def test_it_says_what_the_scorer_says(scorer_of: Callable[..., Scorer]) -> None:
    space = rich_space()
    scorer = scorer_of(space)
    rows = space.sample_rows(50, 0)
    values = scorer.values(rows)
    bound = float(np.median(values["latency_s"]))
    constraints = (Constraint("latency_s", bound), Constraint("accuracy_search", 0.9, "min"))
    domain = ScoredDomain(scorer, OBJECTIVES_HERE, constraints)
    assert domain.known == (1, 2)
    known = domain.costs(rows)
    assert (known.values == np.stack([values["latency_s"], values["macs"]], axis=1)).all()
    assert (known.std[:, 0] > 0).all()
    assert (known.std[:, 0] <= OWN_ERROR * values["latency_s"] * (1 + 1e-12)).all()
    assert (known.std[:, 1] == 0).all()
    assert ((domain.violation(rows) == 0) == (values["latency_s"] <= bound)).all()
    assert np.isfinite(domain.descriptors(rows)).all()


def test_rows_and_parameters_are_one(scorer_of: Callable[..., Scorer]) -> None:
    space = rich_space()
    domain = ScoredDomain(scorer_of(space), OBJECTIVES_HERE, ())
    rows = space.sample_rows(30, 1)
    assert (domain.canonical(rows) == rows).all()
    assert all((domain.row(domain.params(row)) == row).all() for row in rows)
    with pytest.raises(StudyError, match="of another space"):
        domain.row({"nothing": 1})
