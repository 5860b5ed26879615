"""What the tests of the search share: a device, and an untrained supernet of a tiny space on digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nas.hardware.profile import load_profile
from nas.models.weights import save_weights
from nas.search.evaluators import EvaluatorContext
from nas.search.scoring import Scorer
from nas.space import SearchSpace
from nas.training.data import ImageData, load_data
from nas.training.oneshot import build_supernet
from tests.spaces import rich_space


@pytest.fixture(scope="session")
def digits() -> ImageData:
    return load_data("digits", 8, 0)


@pytest.fixture(scope="session")
def scorer_of() -> Callable[..., Scorer]:
    """Scorers of a space on a real device."""

    def make(space: SearchSpace, device: str = "raspberrypi4", threads: int = 1) -> Scorer:
        profile = load_profile(device)
        target = profile.target(threads=threads)
        return Scorer(space, target, profile.predictor(target), profile.energy_model(target))

    return make


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> EvaluatorContext:
    """An untrained supernet, saved to disk: 8 x 8 and 12 x 12 digits."""
    folder, space = tmp_path_factory.mktemp("search"), rich_space()
    weights = folder / "weights.safetensors"
    save_supernet(space, weights)
    return EvaluatorContext(space, "digits", 0, folder / "cache", weights, threads=1)


def save_supernet(space: SearchSpace, path: Path) -> None:
    tensors = build_supernet(space, 0).state_dict().items()
    save_weights(path, {f"model.{name}": tensor for name, tensor in tensors}, {"schema": 1, "steps": 0, "epochs": 0, "seconds": 0.0})
