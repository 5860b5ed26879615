"""What became of candidates is read back, by another process too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nas.metrics import Candidate, Metric
from nas.search import storage
from nas.search.finalists import Finalist
from nas.search.kept import keep_finalist, keep_pruned, read_finalist, read_pruned, whole_finalist
from tests.search.test_storage import TARGET, open_it, tell


def test_finalists_are_kept_with_the_study(tmp_path: Path) -> None:
    study = open_it(tmp_path)
    candidate, other = tell(study, 0.9), tell(study, 0.8)
    metrics = {**candidate.metrics, "accuracy_test": Metric(0.95, "1", "trained", std=0.01)}
    made = Finalist(Candidate(candidate.arch, TARGET, metrics, candidate.trial), {"onnx": "models/x/model.onnx"}, "fine-tuned")
    keep_finalist(study, made)
    again = open_it(tmp_path)
    assert read_finalist(again, storage.evaluated(again)[0].candidate) == made
    assert read_finalist(again, other) is None
    assert whole_finalist(again, candidate, tmp_path) is None
    (tmp_path / "models/x").mkdir(parents=True)
    (tmp_path / "models/x/model.onnx").touch()
    assert whole_finalist(again, candidate, tmp_path) == made
    assert whole_finalist(again, other, tmp_path) is None


def test_what_a_finalist_was_pruned_to_is_kept_with_the_study(tmp_path: Path) -> None:
    study = open_it(tmp_path)
    parent = tell(study, 0.9)
    accuracy = Metric(0.88, "1", "trained", std=0.01)
    made = Candidate(replace(parent.arch, widths=(("s1.b1.mid", 8),)), TARGET, {"accuracy_validation": accuracy})
    keep_pruned(study, parent, 0.7, made, "pruned")
    assert read_pruned(open_it(tmp_path), parent, 0.7) == (made.arch, accuracy, "pruned")
    assert read_pruned(open_it(tmp_path), parent, 0.5) is None
