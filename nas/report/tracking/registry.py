"""Finalists as models of mlflow: logged with signature and example, registered under <study>-<device>, found by alias.

Written by mlflow's onnx flavour from the file that was tested: nothing is pickled, and no code goes with it.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import InputError, ModelFileError, StudyError, UnknownNameError
from nas.files import digest_of, write_atomic
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.highlights import choice, cost_of
from nas.report.runs import STUDY_ID, StudyRun
from nas.report.tracking.connection import Connection, TrackingError
from nas.report.units import SHOWN, describe
from nas.report.view import view_keys
from nas.search.card import is_of_another

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["ALIASES", "Fetched", "aliases", "fetch", "is_model_uri", "register"]

ALIASES = ("fastest", "knee", "most-accurate")
RECORD = "candidate.json"
"""File of a logged model: the candidate as front.json has it."""
COPIED = ("card.md", "card.json", "architecture.json", "architecture.svg")
REQUIREMENTS = ("numpy", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A registered model: whose it is, and its files.

    Attributes:
        files: kind to path: "onnx", and "card", "facts" and "architecture" where they were logged.
        original: name that the model's file has in the study.
    """

    study: str
    device: str
    candidate: CandidateRecord
    files: Mapping[str, Path]
    original: str


def is_model_uri(text: str) -> bool:
    """Whether this names a registered model rather than a study."""
    return text.startswith("models:")


def aliases(record: FrontRecord, finalists: Sequence[CandidateRecord]) -> dict[str, CandidateRecord]:
    """Which finalist each alias means, as `nas pick` chooses (`nas.report.highlights.choice`): never by test accuracy.

    The knee is that of `nas pick` where it is a finalist, else the finalist nearest to it in cost.
    """
    found = choice(record, finalists)
    if not found.members:
        return {}
    name = cost_of(record)

    def cost(each: CandidateRecord) -> float:
        return math.log(each.value(name) or 1.0)

    middle = choice(record).of("knee")
    nearest = min(found.members, key=lambda each: (each.id != middle.id, abs(cost(each) - cost(middle)), each.id))
    return {"fastest": found.of("fastest"), "knee": nearest, "most-accurate": found.of("most accurate")}


def _shipped(each: CandidateRecord) -> str:
    """The ONNX file of a finalist, relative to the study's folder: of its precision, and for any number of images where there is one."""
    if each.candidate.target.precision == "int8":
        return each.artifacts.get("onnx_int8", "-")
    return each.artifacts.get("onnx_dynamic") or each.artifacts.get("onnx", "-")


def register(connection: Connection, record: FrontRecord, folder: Path, runs: Mapping[str, str], study: StudyRun) -> tuple[str, int]:
    """Logs and registers the finalists whose files are in the study's folder, and points the aliases at them.

    Args:
        folder: of the study.
        runs: run ids by candidate id.

    Returns:
        name of the registered model, and how many versions are new; the same file of the same candidate is never registered twice.

    Raises:
        TrackingError: the store fails, or a file is no ONNX model of one input and one output, or one of another network.
        StudyError: another study has the name.
    """
    finalists = [each for each in record.finalists if each.id in runs and (folder / _shipped(each)).is_file()]
    if not finalists:
        return "", 0
    made = 0
    with connection.client() as client:
        name = _registered(client, record, study)
        known = {(each.tags.get("candidate_id"), each.tags.get("sha256")): each for each in client.search_model_versions(f"name='{name}'")}
    numbers: dict[str, str] = {}
    unfit = ""
    for each in finalists:
        described = (folder / _shipped(each)).with_name("architecture.json")
        if is_of_another(described, each.candidate.arch):
            unfit = (
                f"{described} is not of the network of {each.id}: delete the folder, and nas search --resume {record.study} makes it again"
            )
            continue
        key = each.id, digest_of(folder / _shipped(each))
        tags = {**_version_tags(each, record, key[1]), **study.identity}
        with connection.client() as client:
            found = known.get(key)
            try:
                new = found or _new_version(client, name, each, tags, folder, client.get_run(runs[each.id]))
            except ModelFileError as exc:  # the others are registered all the same
                unfit = str(exc)
                continue
            made += found is None
            _set_tags(client, new, tags)
            numbers[each.id] = str(new.version)
    with connection.client() as client:
        there = client.get_registered_model(name).aliases
        for alias, each in aliases(record, [each for each in finalists if each.id in numbers]).items():
            if str(there.get(alias)) != numbers[each.id]:
                client.set_registered_model_alias(name, alias, numbers[each.id])
    if unfit:
        raise TrackingError(f"not registered: {unfit}", refused=True)
    return name, made


def fetch(connection: Connection, uri: str, home: Path) -> Fetched:
    """Downloads what is registered under "models:/<name>@alias" or "models:/<name>/version".

    Args:
        home: folder for the files.

    Raises:
        InputError: the URI is malformed, or there is no such model.
        StudyError: it is no model of ours, or nothing is registered at all.
    """
    matched = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/([0-9]+))", uri)
    if not matched:
        raise InputError(f"a registered model is models:/NAME@ALIAS or models:/NAME/VERSION, got {uri!r}")
    name, alias, number = matched.groups()
    if not connection.is_made:
        raise StudyError(f"no model is registered in {connection.shown} yet: nas search does it, or nas sync STUDY")
    with connection.client() as client:
        found = _version(client, name, alias, number)
        from mlflow.artifacts import download_artifacts

        place = client.get_model_version_download_uri(name, found.version)
        path = Path(download_artifacts(place, dst_path=str(home), tracking_uri=connection.uri))
    try:
        candidate = CandidateRecord.from_dict(json.loads((path / RECORD).read_bytes()))
    except (OSError, ValueError) as exc:
        raise StudyError(f"{uri} was not registered by nas search: its {RECORD} cannot be read ({exc})") from exc
    names = {"onnx": "model.onnx", "card": "card.md", "facts": "card.json", "architecture": "architecture.json"}
    here = {kind: path / file for kind, file in names.items() if (path / file).is_file()}
    if "onnx" not in here or digest_of(here["onnx"]) != found.tags.get("sha256"):
        raise StudyError(f"{uri}: its model.onnx is not the file that was registered: nas sync {found.tags.get('study', 'STUDY')}")
    return Fetched(found.tags["study"], found.tags["device"], candidate, here, Path(_shipped(candidate)).name)


def _version(client: MlflowClient, name: str, alias: str | None, number: str | None) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, str(number))
    except MlflowException as exc:
        if exc.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        models = {each.name: each for each in client.search_registered_models(max_results=1000)}
        if name not in models:
            raise UnknownNameError("registered model", name, models) from exc
        known = ", ".join(f"@{each}" for each in sorted(models[name].aliases)) or "none"
        raise InputError(f"model {name!r} has no {f'alias {alias!r}' if alias else f'version {number}'}: its aliases are {known}") from exc


def _registered(client: MlflowClient, record: FrontRecord, study: StudyRun) -> str:
    """Name of the registered model, made where there is none: with the beginning of the study's id where another search has the plain one.

    Raises:
        StudyError: a study of another name has it: "a" on "b-c" and "a-b" on "c" have one name. Or one of that name, and this has no id.
    """
    from mlflow.exceptions import MlflowException

    tags = {"study": record.study, "device": record.device, "space": record.space, "data": record.data, **study.identity}
    owner = record.study
    for name in view_keys(record.study, study.id, record.device):
        text = (
            f"Finalists of the search `{record.study}` for `{record.device}` on `{record.data}`: "
            "image classifiers, pixels / 255 in, logits out.\n\n"
            f"    mlflow.pyfunc.load_model('models:/{name}@knee').predict(images)  # float32 (n, channels, height, width)\n\n"
            "A version that takes one image at a time, as those in int8 do, says so: n is 1 then.\n"
        )
        try:
            found = client.create_registered_model(name, tags, text)
        except MlflowException as exc:
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_registered_model(name)
        owner = found.tags.get("study")
        if (owner, found.tags.get("device")) != (record.study, record.device):
            break
        if found.tags.get(STUDY_ID, "") == study.id:
            return name
    raise StudyError(f"a model {name!r} of study {owner!r} is registered already: choose another --study")


def _new_version(client: MlflowClient, name: str, each: CandidateRecord, tags: dict[str, str], folder: Path, run: Run) -> ModelVersion:
    """Logs the model, unless an earlier try did, and registers it."""
    from mlflow.entities import LoggedModelOutput

    logged = _logged(client, run, tags["sha256"])
    if logged is None:
        logged = client.create_logged_model(run.info.experiment_id, each.id, run.info.run_id, tags, model_type="image-classifier")
    if str(logged.status) != "READY":
        with tempfile.TemporaryDirectory() as scratch:
            home = Path(scratch) / "model"
            _write(home, each, folder, logged)
            client.log_model_artifacts(logged.model_id, str(home))
        client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, 0)])
        logged = client.finalize_logged_model(logged.model_id, "READY")
    text = "\n\n".join(filter(None, (each.title, each.note, _batch_words(folder / _shipped(each)))))
    # By its place, not by "models:/<id>", which mlflow looks up in the process's default store.
    return client.create_model_version(name, logged.artifact_location, run.info.run_id, tags, description=text, model_id=logged.model_id)


def _batch_words(path: Path) -> str:
    """What to say of a file that does not take any number of images."""
    from nas.hardware.onnx_file import load_proto

    size = load_proto(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value
    return "" if not size else "Takes one image at a time." if size == 1 else f"Takes {size} images at a time."


def _logged(client: MlflowClient, run: Run, digest: str) -> LoggedModel | None:
    """A model that an earlier try logged, or began to log, of this run and file."""
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    return next((each for each in found if each.tags.get("sha256") == digest), None)


def _write(home: Path, each: CandidateRecord, folder: Path, logged: LoggedModel) -> None:
    """The model as mlflow's onnx flavour writes it, the candidate's record and its papers.

    Raises:
        ModelFileError: the file is no ONNX model with one input and one output.
    """
    import mlflow.onnx
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    from nas.hardware.onnx_file import load_proto

    source = folder / _shipped(each)
    proto = load_proto(source)
    shapes = [[d.dim_value or -1 for d in tensor.type.tensor_type.shape.dim] for tensor in (*proto.graph.input, *proto.graph.output)]
    if len(shapes) != 2:
        raise ModelFileError(f"{source}: a classifier has one input and one output, this has {len(shapes)} in all")
    names = proto.graph.input[0].name, proto.graph.output[0].name
    given, gives = (Schema([TensorSpec(np.dtype(np.float32), shape, name)]) for shape, name in zip(shapes, names, strict=True))
    example = {names[0]: np.full((1, *shapes[0][1:]), 0.5, np.float32)}
    mlflow.onnx.save_model(
        proto,
        str(home),
        mlflow_model=Model(run_id=logged.source_run_id, model_id=logged.model_id),
        signature=ModelSignature(given, gives),
        input_example=example,
        pip_requirements=[f"{library}=={version(library)}" for library in REQUIREMENTS],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,  # True empties the model and writes a second file
    )
    shutil.copyfile(source, home / "model.onnx")  # byte for byte the file that was tested
    write_atomic(home / RECORD, json.dumps(each.to_dict(), indent=1) + "\n")
    for name in COPIED:
        if (source.parent / name).is_file():
            shutil.copyfile(source.parent / name, home / name)


def _version_tags(each: CandidateRecord, record: FrontRecord, digest: str) -> dict[str, str]:
    metrics = {SHOWN[name].key: describe(name, metric) for name, metric in each.candidate.metrics.items()}
    known = {"study": record.study, "device": record.device, "candidate_id": each.id, "arch_id": each.candidate.arch.arch_id}
    return {**metrics, **known, "target": each.candidate.target.key, "sha256": digest, "data_fingerprint": record.data_fingerprint}


def _set_tags(client: MlflowClient, found: ModelVersion, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        if found.tags.get(key) != value:
            client.set_model_version_tag(found.name, found.version, key, value)
