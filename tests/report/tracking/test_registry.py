"""Finalists in the model registry: what was tested is what is loaded, found by alias, once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import mlflow.onnx
import mlflow.pyfunc
import numpy as np
import onnx
import onnxruntime
import pytest

from nas.errors import InputError, StudyError
from nas.files import write_atomic
from nas.report.highlights import highlights
from nas.report.record import read_front, write_front
from nas.report.runs import run_tags
from nas.report.study import study_id
from nas.report.tracking import LOG, Connection, StudyMirror, TrackingError, fetch, local_store, registry, write_fetched
from tests.cards import FACTS, MODEL, described
from tests.report.strategies import example_front, with_pruned
from tests.report.studies import digits, write_study
from tests.report.tracking.stores import found_runs, store, the_parent

NAME = "digits-1-raspberrypi4"


def test_aliases_mean_what_pick_means(runs: Path) -> None:
    front = read_front(runs / "digits-1")
    chosen = registry.aliases(front, front.finalists)
    assert tuple(chosen) == registry.ALIASES
    assert chosen["fastest"].id == front.front[0].id
    assert chosen["most-accurate"].id == front.front[-1].id
    assert chosen["knee"].id not in (front.front[0].id, front.front[-1].id)
    model = store(runs).get_registered_model(NAME)
    versions = {str(each.version): each.tags["candidate_id"] for each in store(runs).search_model_versions(f"name='{NAME}'")}
    assert {alias: versions[str(number)] for alias, number in model.aliases.items()} == {key: each.id for key, each in chosen.items()}
    known = {"study": "digits-1", "device": "raspberrypi4", "space": "mobilenet_tiny", "data": "digits"}
    assert model.tags == {**known, "study_id": study_id(runs / "digits-1")}
    pruned = with_pruned(front)
    renamed = registry.aliases(pruned, pruned.finalists)
    assert renamed["fastest"].id == pruned.finalists[-1].id
    assert {key: each.id for key, each in renamed.items()} == {
        key.replace(" ", "-"): each.id for key, each in highlights(pruned).items()
    }  # all of them are finalists
    tags = run_tags(pruned.finalists[-1], pruned, 1, ["raspberrypi4"])
    assert tags["pruned_widths"] == "s1.b1.mid 8"
    assert tags["pruned_from"] == front.finalists[0].candidate.arch.arch_id


@pytest.mark.parametrize("alias", registry.ALIASES)
def test_a_model_loaded_by_alias_has_exactly_the_accuracy_shown(alias: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local_store(runs))
    uri, data = f"models:/{NAME}@{alias}", digits()
    pixels = data.test.images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    proto = mlflow.onnx.load_model(uri)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    by_onnx = session.run(["logits"], {"images": pixels})[0].argmax(axis=1)
    by_pyfunc = mlflow.pyfunc.load_model(uri).predict(pixels)["logits"].argmax(axis=1)
    version = store(runs).get_model_version_by_alias(NAME, alias)
    (shown,) = [each for each in read_front(runs / "digits-1").finalists if each.id == version.tags["candidate_id"]]
    for predicted in (by_onnx, by_pyfunc):
        assert float((predicted == data.test.labels).mean()) == shown.value("accuracy_test")
    assert version.tags["accuracy_test"].startswith(f"{100 * (shown.value('accuracy_test') or 0):.2f}")
    assert version.tags["accuracy_test"].endswith("trained")


def test_what_a_model_consists_of(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local_store(runs))  # where mlflow looks up the model's id
    fetched = fetch(Connection(runs), f"models:/{NAME}@knee", tmp_path)
    home = fetched.files["onnx"].parent
    names = {path.name for path in home.rglob("*")}
    assert names >= {"MLmodel", "model.onnx", "candidate.json", "card.md", "architecture.json", "requirements.txt", "input_example.json"}
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".py", ".joblib"))]
    written = "".join(path.read_text() for path in home.glob("*") if path.suffix in ("", ".txt", ".yaml"))
    assert "cloudpickle" not in written
    requirements = (home / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in requirements} == {"mlflow", "numpy", "onnx", "onnxruntime"}
    original = runs / "digits-1" / "models" / fetched.candidate.id / "model.onnx"
    assert fetched.files["onnx"].read_bytes() == original.read_bytes()
    signature = mlflow.models.get_model_info(str(home)).signature
    assert signature.inputs.to_dict() == [{"name": "images", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": (-1, 1, 8, 8)}}]
    assert fetched.candidate in read_front(runs / "digits-1").finalists


def test_a_model_of_one_image_says_so(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", local_store(runs))
    folder = write_study(runs, [replace(example_front(1, 0), study="small")])
    front = read_front(folder)
    (each,) = front.finalists
    path = folder / each.artifacts["onnx"]
    proto = onnx.load(path)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    write_atomic(path.with_name("model.int8.onnx"), proto.SerializeToString())
    write_atomic(path.with_name("card.json"), json.dumps(FACTS.to_dict()))
    write_atomic(path.with_name("architecture.json"), json.dumps(described(replace(MODEL, architecture=each.candidate.arch))))
    target = replace(each.candidate.target, precision="int8")
    candidate = replace(each.candidate, target=target)
    artifacts = {"onnx_int8": str(Path(each.artifacts["onnx"]).with_name("model.int8.onnx"))}
    write_front(folder, replace(front, candidates=(replace(each, candidate=candidate, artifacts=artifacts),)))
    assert StudyMirror(folder, Connection(runs)).send().models == 1
    name = "small-raspberrypi4"
    assert "as those in int8 do, says so: n is 1 then" in store(runs).get_registered_model(name).description
    version = store(runs).get_model_version_by_alias(name, "knee")
    assert version.description.endswith("Takes one image at a time.")
    pixels = digits().test.images[:7].transpose(0, 3, 1, 2).astype(np.float32) / 255
    model = mlflow.pyfunc.load_model(f"models:/{name}@knee")
    assert [model.predict(one[None])["logits"].shape for one in pixels] == [(1, 10)] * 7
    known = {each.description for each in store(runs).search_model_versions(f"name='{NAME}'")}
    assert not any("at a time" in text for text in known)
    write_fetched(fetch(Connection(runs), f"models:/{name}@knee", tmp_path), tmp_path / "out")
    told = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert f"Of model.int8.onnx on {target.key}." in told
    assert f"- Training: {FACTS.note}\n" in told
    assert not (tmp_path / "out" / "card.json").exists()


def test_the_same_file_is_registered_once_and_a_new_one_gets_the_alias(runs: Path) -> None:
    folder = write_study(runs, [replace(example_front(4, 0), study="versions")])
    client, name = store(runs), "versions-raspberrypi4"
    assert StudyMirror(folder, Connection(runs)).send().models == 4
    assert StudyMirror(folder, Connection(runs)).send().models == 0
    before = client.get_registered_model(name).aliases
    front = read_front(folder)
    path = folder / front.finalists[0].artifacts["onnx"]
    proto = onnx.load(path)
    proto.doc_string = "trained again"
    write_atomic(path, proto.SerializeToString())
    metrics = {**front.finalists[1].candidate.metrics, "latency_measured_s": replace(front.finalists[1].candidate.metrics["latency_s"])}
    changed = replace(front.finalists[1], candidate=replace(front.finalists[1].candidate, metrics=metrics))
    write_front(folder, replace(front, candidates=tuple(changed if each.id == changed.id else each for each in front.candidates)))
    assert StudyMirror(folder, Connection(runs)).send().models == 1
    versions = client.search_model_versions(f"name='{name}'")
    assert len(versions) == 5
    after = client.get_registered_model(name).aliases
    assert {alias for alias in after if after[alias] != before[alias]} == {"fastest"}
    newest = client.get_model_version_by_alias(name, "fastest")
    assert newest.tags["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert any("latency_measured_ms" in each.tags for each in versions if each.tags["candidate_id"] == changed.id)
    outputs = [run.outputs.model_outputs for run in found_runs(client, "versions", "candidate")]
    assert sorted(map(len, outputs)) == [1, 1, 1, 2]


def test_a_try_that_was_cut_off_leaves_no_second_model(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_study(runs, [replace(example_front(1, 0), study="cut-off")])

    def cut(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("mlflow.MlflowClient.log_model_artifacts", cut)
        mirror = StudyMirror(folder, Connection(runs))
        with pytest.raises(TrackingError, match="the disk is full"):
            mirror.send()
    assert StudyMirror(folder, Connection(runs)).send().models == 1
    client = store(runs)
    (run,) = found_runs(client, "cut-off", "candidate")
    (logged,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert str(logged.status) == "READY"


def test_a_file_that_is_no_model_keeps_no_other_back(runs: Path) -> None:
    folder = write_study(runs, [replace(example_front(4, 0), study="broken-file")])
    (folder / read_front(folder).finalists[0].artifacts["onnx"]).write_bytes(b"not a model")
    with pytest.raises(TrackingError, match=r"not registered: .*model\.onnx"):
        StudyMirror(folder, Connection(runs)).send()
    assert the_parent(store(runs), "broken-file").info.status == "FINISHED"
    assert set(store(runs).get_registered_model("broken-file-raspberrypi4").aliases) == set(registry.ALIASES)
    assert len(store(runs).search_model_versions("name='broken-file-raspberrypi4'")) == 3


def test_another_networks_file_is_not_registered_as_a_candidates(runs: Path) -> None:
    folder = write_study(runs, [replace(example_front(2, 0), study="mixed-up")])
    each = read_front(folder).finalists[0]
    path = (folder / each.artifacts["onnx"]).with_name("architecture.json")
    path.write_text(json.dumps(described(MODEL)))
    with pytest.raises(TrackingError, match=rf"not registered: .*{each.id}/architecture\.json is not of the network of {each.id}: delete"):
        StudyMirror(folder, Connection(runs)).send()
    assert [found.tags["candidate_id"] for found in store(runs).search_model_versions("name='mixed-up-raspberrypi4'")] == [
        read_front(folder).finalists[1].id
    ]
    path.write_text(json.dumps(described(replace(MODEL, architecture=each.candidate.arch))))
    assert StudyMirror(folder, Connection(runs)).send().models == 1


def test_two_studies_never_share_a_name(runs: Path) -> None:
    whole = write_study(runs, [example_front(1, 0, device="c", study="x-b")])
    StudyMirror(whole, Connection(runs)).send()
    other = write_study(runs, [example_front(1, 0, device="b-c", study="x")])
    with pytest.raises(StudyError, match="'x-b-c' of study 'x-b' is registered already"):
        StudyMirror(other, Connection(runs)).send()
    assert the_parent(store(runs), "x").info.status == "FINISHED"


def test_a_refused_model_is_told_when_the_search_ends(runs: Path) -> None:
    """What a search sends until then is not kept back."""
    folder = write_study(runs, [replace(example_front(2, 0), study="refused")])
    (folder / read_front(folder).finalists[0].artifacts["onnx"]).write_bytes(b"not a model")
    log, lines = folder / LOG, (folder / LOG).read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-1]))
    mirror = StudyMirror(folder, Connection(runs))
    mirror.send()
    assert the_parent(store(runs), "refused").info.status == "RUNNING"
    log.write_text("".join(lines))
    for _ in range(2):
        with pytest.raises(TrackingError, match="not registered"):
            mirror.send()
        assert the_parent(store(runs), "refused").info.status == "FINISHED"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("models:/nosuch@knee", ("unknown registered model 'nosuch'", NAME)),
        (f"models:/{NAME}@best", ("no alias 'best'", "@knee")),
        (f"models:/{NAME}/99", ("no version 99", "@fastest")),
        (f"models:/{NAME}", ("models:/NAME@ALIAS", NAME)),
        ("models:knee", ("models:/NAME@ALIAS",)),
    ],
)
def test_what_is_not_registered(uri: str, words: tuple[str, ...], runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        fetch(Connection(runs), uri, tmp_path)
    assert all(word in str(error.value) for word in words), error.value


def test_a_model_of_somebody_else(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no model is registered"):
        fetch(Connection(tmp_path), f"models:/{NAME}@knee", tmp_path)
    client, source = store(runs), tmp_path / "theirs"
    write_atomic(source / "MLmodel", json.dumps({}))
    client.create_registered_model("theirs")
    client.create_model_version("theirs", source.as_uri())
    with pytest.raises(StudyError, match="not registered by nas search"):
        fetch(Connection(runs), "models:/theirs/1", tmp_path / "here")
