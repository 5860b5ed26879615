"""The Gaussian process: its gradient, what it learns, and how sure it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from nas.search import gaussian_process
from nas.search.gaussian_process import Features, GaussianProcess, default_kernel, fit_kernel

GENES, CHOICES = 4, 3
GROUPS = np.repeat(np.arange(GENES), CHOICES)


def features(rows: np.ndarray) -> Features:
    onehot = np.zeros((len(rows), GENES * CHOICES))
    np.put_along_axis(onehot, np.arange(GENES) * CHOICES + rows, 1.0, axis=1)
    return Features(onehot, (rows[:, :2].sum(axis=1, keepdims=True) - 2.0) / 1.2)


def data(n: int, seed: int = 0) -> tuple[Features, np.ndarray]:
    """A value that depends on the first two genes only."""
    rows = np.random.default_rng(seed).integers(CHOICES, size=(n, GENES))
    return features(rows), np.sin(2.0 * rows[:, 0]) + 0.5 * rows[:, 1]


def test_the_gradient_is_that_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def keep(loss: object, start: np.ndarray, **options: object) -> object:
        seen.update(loss=loss, start=start)
        raise StopIteration

    monkeypatch.setattr(gaussian_process, "minimize", keep)
    with pytest.raises(StopIteration):
        fit_kernel(*data(30), GROUPS)
    point = seen["start"] + np.random.default_rng(1).normal(size=len(seen["start"])) * 0.4
    numeric = approx_fprime(point, lambda x: seen["loss"](x)[0], 1e-6)
    assert seen["loss"](point)[1] == pytest.approx(numeric, abs=1e-4)


def test_it_learns_which_genes_matter_and_predicts() -> None:
    train, values = data(40)
    test, true = data(60, seed=1)
    kernel = fit_kernel(train, values, GROUPS)
    weights = kernel.genes[::CHOICES]
    assert min(weights[:2]) > max(weights[2:])
    mean, std = GaussianProcess(kernel, train, values).predict(test)
    assert np.corrcoef(mean, true)[0, 1] > 0.98
    assert np.mean(np.abs(mean - true) < 3 * std + 0.1) > 0.95


def test_it_is_surest_where_it_has_been() -> None:
    train, values = data(10)
    model = GaussianProcess(default_kernel(GROUPS, 1), train, values)
    far = features(np.array([[2, 2, 2, 2], [0, 0, 2, 1]]))
    assert model.predict(train)[1].max() < model.predict(far)[1].min()
    more = GaussianProcess(model.kernel, Features(*(np.concatenate(pair) for pair in (
        (train.onehot, far.onehot), (train.descriptors, far.descriptors)
    ))), np.append(values, [0.0, 0.0]))  # fmt: skip
    assert more.predict(far)[1].max() < model.predict(far)[1].min()


def test_constant_values_are_no_trouble() -> None:
    train, _ = data(12)
    kernel = fit_kernel(train, np.zeros(12), GROUPS)
    mean, std = GaussianProcess(kernel, train, np.zeros(12)).predict(train)
    assert mean == pytest.approx(np.zeros(12))
    assert np.isfinite(std).all()
