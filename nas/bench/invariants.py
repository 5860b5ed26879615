"""What must hold of a study that came to its end, whatever happened on the way.

- It has as many candidates as were asked for, each architecture once, and no trial that runs.
- Accuracies are those of an undisturbed search wherever both evaluated an architecture.
- The front has the candidates of the study and no others.
- Every finalist has its ONNX file, whole, and a test accuracy.
- No temporary file is left.
- MLflow has one parent run, finished, and one child for each member of the front.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.errors import NasError
from nas.hardware.runtimes.onnxruntime import read_metadata
from nas.report.record import read_front
from nas.report.tracking import Connection, logged_runs
from nas.search import storage

__all__ = ["BrokenError", "check"]


class BrokenError(NasError):
    """An invariant does not hold."""


def check(runs: Path, study: str, trials: int, accuracies: Mapping[str, float], store: storage.BaseStorage | None = None) -> None:
    """All that must hold of a study that ended.

    Args:
        trials: candidates that were asked for.
        accuracies: of an undisturbed search, by arch_id.
        store: where the study is; None for the SQLite file in its folder.

    Raises:
        BrokenError: what does not.
    """
    folder = runs / study
    if store is None:
        store = storage.open_storage(f"sqlite:///{folder / 'study.db'}")
    kept = storage.find_study(store, f"{study}/raspberrypi4")
    told = storage.evaluated(kept)
    archs = [each.candidate.arch.arch_id for each in told]
    _hold(len(told) == trials, f"{len(told)} candidates of {trials}")
    _hold(len(set(archs)) == len(archs), "an architecture was evaluated twice")
    _hold(not any(trial.state.name == "RUNNING" for trial in kept.get_trials(deepcopy=False)), "a trial is left running")
    for each in told:
        known = accuracies.get(each.candidate.arch.arch_id)
        value = each.candidate.metrics["accuracy_search"].value
        _hold(known is None or abs(known - value) < 0.02, f"{each.candidate.id} has accuracy {value}, undisturbed {known}")
    front = read_front(folder)
    _hold(sorted(each.candidate.arch.arch_id for each in front.candidates) == sorted(archs), "front.json has other candidates")
    _hold(bool(front.finalists), "there are no finalists")
    for one in front.finalists:
        _check_model(folder / one.artifacts["onnx"], one.value("accuracy_test") or 0.0)
    left = [path.name for path in folder.rglob("*.tmp")]
    _hold(not left, f"temporary files are left: {', '.join(left)}")
    members = {each.id for each in front.candidates if each.on_front or each.finalist}
    logged = logged_runs(Connection(runs), study)
    _hold(logged.parents == ("FINISHED",), f"MLflow's parent runs are {', '.join(logged.parents) or 'none'}")
    _hold(sorted(logged.children) == sorted(members), "MLflow's children are not the members of the front")


def _check_model(path: Path, accuracy: float) -> None:
    """The file is there and onnxruntime opens it."""
    _hold(path.is_file(), f"{path.name} of a finalist is absent")
    _hold(0.0 < accuracy <= 1.0, f"a finalist has accuracy {accuracy}")
    _hold("classes" in read_metadata(path), f"{path} is no whole file")


def _hold(holds: bool, what: str) -> None:
    if not holds:
        raise BrokenError(what)
