"""Hardware-aware neural architecture search. Importing this loads nothing heavy."""

from nas.architecture import Architecture, BlockSpec
from nas.config import SearchConfig
from nas.errors import InfeasibleError, InputError, NasError
from nas.metrics import Candidate, Constraint, Metric, Objective
from nas.space import SearchSpace, load_reference, load_space
from nas.target import Target

__all__ = [
    "Architecture",
    "BlockSpec",
    "Candidate",
    "Constraint",
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
