"""Hardware-aware neural architecture search. Importing this loads nothing: a public name is loaded when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.architecture import Architecture, BlockSpec
    from nas.config import SearchConfig
    from nas.errors import InfeasibleError, InputError, NasError
    from nas.metrics import Candidate, Constraint, Metric, Objective
    from nas.search.front import FrontSampler
    from nas.space import SearchSpace, load_reference, load_space
    from nas.target import Target

__all__ = [
    "Architecture",
    "BlockSpec",
    "Candidate",
    "Constraint",
    "FrontSampler",
    "InfeasibleError",
    "InputError",
    "Metric",
    "NasError",
    "Objective",
    "SearchConfig",
    "SearchSpace",
    "Target",
    "load_reference",
    "load_space",
]

_MODULES = ("architecture", "config", "errors", "metrics", "space", "target")
_SEARCH = {"FrontSampler": "nas.search.front"}
"""Names whose modules need the extra `search`."""


def __getattr__(name: str) -> Any:
    if name in _SEARCH:
        try:
            return getattr(import_module(_SEARCH[name]), name)
        except ModuleNotFoundError as exc:
            from nas.errors import MissingExtraError

            raise MissingExtraError(str(exc.name), "search") from exc
    if name in __all__:
        for module in map(import_module, (f"nas.{each}" for each in _MODULES)):
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
