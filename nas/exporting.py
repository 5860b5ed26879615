"""Deployable files of a candidate, for `nas export`: those of a finalist are copied, any other candidate is made first."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.compress.check import Check
from nas.compress.int8 import MOST_DROP, calibration_pixels, labels_alone, pixels_of
from nas.compress.parity import Reference, check_openvino
from nas.compress.quantize import quantize_openvino
from nas.cost import count
from nas.errors import InputError, MissingExtraError, TargetError
from nas.events import Event, Listener
from nas.files import digest_of, whole_folder, write_atomic
from nas.finishing import make_finalist
from nas.hardware.export import Deployed, export_openvino
from nas.hardware.profile import load_profile
from nas.metrics import Candidate, Metric
from nas.models.network import Network
from nas.models.weights import load_weights
from nas.prediction import NamedNetwork, predict_network, read_architecture
from nas.recording import refuse_other_images
from nas.report.front import CandidateRecord, FrontRecord
from nas.report.record import read_front
from nas.report.study import load_config, load_data_record
from nas.search.artifacts import FILES, MOST_INT8_DROP, Artifacts, refuse_folders, unless_stopped
from nas.search.card import OF_SMALL_FILE, CardFacts, Description, Figures, card
from nas.search.shipped import INT8_IR, refuse_other_model, refuse_study, shipment, write_check
from nas.space import load_space
from nas.target import Target
from nas.training.data import ImageData, load_data
from nas.training.evaluate import accuracy_metric

__all__ = ["export"]

ALWAYS = ("architecture", "labels")
NEEDED = ("onnx", "weights", *ALWAYS)
"""Kinds of files that every finalist has."""
ONNX_KINDS = {"fp32": ("onnx", "onnx_dynamic"), "int8": ("onnx_int8",)}
MADE_FROM = ("openvino", "openvino_weights", "onnx_int8", "weights")
"""Files that OpenVINO's int8 file is made from and compared with."""
OF_TARGET = frozenset({"latency_s", "latency_measured_s", "energy_j", "size_bytes", "peak_memory_bytes"})
"""Figures that another precision or runtime has otherwise."""
LATENCIES = ("latency_s", "latency_measured_s")


def export(
    folder: Path, record: CandidateRecord, form: Literal["onnx", "openvino"], precision: Literal["fp32", "int8"], out: Path,
    on_event: Listener, stop: Callable[[], bool],
) -> list[Path]:  # fmt: skip
    """Writes the files of a candidate to `out`: the model, its labels, card and architecture. All of them, or none.

    A folder that has files of the same model keeps them, and the card is of them all; its figures are of what was written last.

    Args:
        folder: of the study.
        record: of the candidate. Where not all files of it are there it is fine-tuned, tested and exported first.

    Returns:
        what was written.

    Raises:
        InputError: `out` cannot be written to, is in a study's folder or has files of another model, a file of the candidate or of `out` is
            another's or was changed since it was tested, or the candidate has no int8 file: says why.
        StudyError: a file is to be made, and the images are not those that the study began with; or a front of the study cannot be read.
        TargetError: a file differs from torch, or loses too much in int8.
        StoppedError: `stop` said so; what was trained is kept.
    """
    refuse_study(out, folder.parent)
    with whole_folder(out) as temporary:  # refuses before anything is made
        source, candidate = folder / "models" / record.id, record.candidate
        for place in (source, out):
            refuse_folders(place)
        fronts = [read_front(folder, path.stem) for path in folder.glob("fronts/*.json")]
        described = source / FILES["architecture"]
        is_described = described.is_file()
        refuse_other_model(out, described.read_bytes() if is_described else b"")
        model = _described(described, candidate) if is_described else None
        facts = CardFacts.read(source / FILES["facts"], record.id)
        if model is None or not _is_whole(source, model, form, precision) or not (record.artifacts or facts):
            candidate = make_finalist(folder, candidate, on_event, stop).candidate
            model, facts = _described(described, candidate), CardFacts.read(source / FILES["facts"], record.id)
        elif facts is not None:  # an earlier export may have made it, or made it again
            _refuse_other_facts(source / FILES["facts"], facts, record, model)
            candidate = facts.figures_of(candidate)
        if form == "onnx" and precision == "int8" and not (source / FILES["onnx_int8"]).is_file():
            raise InputError(f"{record.id} has no int8 file: {model.int8}")
        kinds = ONNX_KINDS[precision] if form == "onnx" else ("openvino", "openvino_weights") if precision == "fp32" else ()
        _refuse_changed(source, model, (*(kinds or MADE_FROM), *ALWAYS))
        for kind in (*kinds, *ALWAYS):
            unless_stopped(stop, partial(shutil.copy2, source / FILES[kind], temporary / FILES[kind]))
        check = None
        if form == "openvino" and precision == "int8":
            check, how = _int8_openvino(folder, record, source, model, temporary, on_event, stop)
            write_check(temporary, check, how)
        elif precision == "int8":
            made = Artifacts.read(source, candidate.arch)
            if made is not None and made.doubt:
                on_event(Event("warning", f"{record.id}: {made.doubt}"))
        refuse_other_model(out, (temporary / FILES["architecture"]).read_bytes())  # a candidate, or a folder, that was made only now
        figures = _figures(folder, candidate, form, precision, check, fronts)
        facts = facts or _of_front(folder, record)
        unless_stopped(
            stop, lambda: write_atomic(temporary / FILES["card"], card(candidate, facts, model, shipment(temporary, out, figures, model)))
        )
        names = sorted(path.name for path in temporary.iterdir())
    return [out / name for name in names]


def _described(path: Path, candidate: Candidate) -> Description:
    """What a candidate's architecture.json says.

    Raises:
        InputError: it is of another network, as files that were copied here from another folder are, or does not say all of this.
    """
    model, wanted = Description.read(path), candidate.arch.arch_id
    if (found := model.architecture.arch_id) != wanted:
        raise InputError(f"{path} is of network {found}, not {wanted}: delete the folder, and nas export makes it again")
    return model


def _refuse_other_facts(path: Path, facts: CardFacts, record: CandidateRecord, model: Description) -> None:
    """A card.json has the figures of the files beside it, and where it has no id, as an earlier version wrote it, their network's words.

    Raises:
        InputError: it was copied here from another candidate's folder, or edited.
    """
    told, precision = facts.metrics.get("accuracy_test"), record.candidate.target.precision
    tested = [check.accuracy for check in model.checks if check.precision == precision]
    why = ""
    if not facts.id and record.title and facts.title != record.title:
        why = f"is of the network {facts.title!r}, not {record.title!r}"
    elif told is not None and told.value not in tested:
        why = f"says accuracy_test {told.value:.6g}, which no {precision} file beside it had"
    if why:
        raise InputError(f"{path} {why}: delete it, and the card says what the study's front does")


def _is_whole(source: Path, model: Description, form: str, precision: str) -> bool:
    """Whether all files of a finalist are there that go out, or that something is read from."""
    kinds = ("openvino", "openvino_weights") if form == "openvino" else ("onnx_dynamic",) if precision == "fp32" else ()
    if not all((source / FILES[kind]).is_file() for kind in (*NEEDED, *kinds)):
        return False
    if precision == "fp32" or (source / FILES["onnx_int8"]).is_file():
        return True
    return FILES["onnx_int8"] not in model.files  # else it was made, and is gone


def _refuse_changed(source: Path, model: Description, kinds: Sequence[str]) -> None:
    """The card is of the files that were tested: no other ones go out, and nothing is made from them.

    Raises:
        InputError: a file is not the one that architecture.json has the checksum of; names it.
    """
    for path in (source / FILES[kind] for kind in kinds):
        if path.name in model.files and digest_of(path) != model.files[path.name]:
            raise InputError(f"{path}: was changed since it was tested: delete it, and nas export makes it again")


def _of_front(folder: Path, record: CandidateRecord) -> CardFacts:
    """How a finalist came about that an earlier version made, without card.json: what the study's front and config.json say."""
    images = load_data_record(folder)
    fingerprint = f"{images['fingerprint']}, at {images['size']} pixels"  # the study's, which are as large as its largest input
    return CardFacts(record.title, images["name"], fingerprint, record.note)


def _figures(
    folder: Path, candidate: Candidate, form: str, precision: Literal["fp32", "int8"], check: Check | None, fronts: Sequence[FrontRecord]
) -> Figures:
    """Of the file of that form and precision on the candidate's device, where those on the card are of another.

    Args:
        folder: of the study.
        check: of a file that was made for this.
        fronts: of the study.
    """
    source, own = folder / "models" / candidate.id, candidate.target
    target = replace(own, precision=precision, runtime="openvino" if form == "openvino" else own.runtime)
    file = check.file if check else FILES[{"onnx": "onnx" if precision == "fp32" else "onnx_int8"}.get(form, form)]
    title, dropped, metrics = f"Of {file} on {target.key}.", set(OF_SMALL_FILE), dict[str, Metric]()
    if precision == "int8":
        dropped.add("accuracy_validation")  # of the network before it was rounded
    if precision != own.precision:
        dropped.add("accuracy_search")
    if (target.runtime, precision) != (own.runtime, own.precision):
        dropped |= OF_TARGET
        metrics, unknown = _on(target, folder, source)
        title += unknown
        small = candidate.metrics.get("latency_int8_s")
        if small is not None and small.source == "measured" and (form, precision) == ("onnx", "int8"):
            metrics["latency_measured_s"] = small
    if form == "openvino" or precision != own.precision:
        dropped.add("accuracy_test")
        whole = check or _on_all_images(source, candidate, precision, target.runtime)
        if whole is not None:
            metrics["accuracy_test"] = accuracy_metric(whole.correct, whole.images, "trained")
    if check is not None:
        dropped.add("latency_measured_s")  # that was model.int8.onnx
    return Figures(title, frozenset(dropped), metrics, _elsewhere(fronts, candidate, target))


def _elsewhere(fronts: Sequence[FrontRecord], candidate: Candidate, target: Target) -> dict[str, dict[str, Metric]]:
    """Latencies of the network on the other targets of its study that a file for this one is for too: devices and threads, by their key."""
    others = [each.candidate for front in fronts for each in front.candidates if each.candidate.arch == candidate.arch]
    able = [each for each in others if (each.target.runtime, each.target.precision) == (target.runtime, target.precision)]
    found = {each.target.key: {name: each.metrics[name] for name in LATENCIES if name in each.metrics} for each in able}
    return {key: found[key] for key in sorted(found) if key != target.key}


def _on_all_images(source: Path, candidate: Candidate, precision: Literal["fp32", "int8"], runtime: str) -> Check | None:
    """How a finalist's file of a precision does on all test images; None where the finalist's files are not as they were."""
    made = Artifacts.read(source, candidate.arch)
    return None if made is None else made.of(precision, runtime)


def _on(target: Target, folder: Path, source: Path) -> tuple[dict[str, Metric], str]:
    """Figures of the network on a target that it was not searched for, and what is not known of it, as an addition to a sentence."""
    blocks = read_architecture(source / FILES["architecture"]).blocks
    try:
        named = {load_profile(name).name: name for name in load_config(folder)[0].devices}  # the study may have been given a profile's path
        network, device = NamedNetwork.of_blocks(target.device, blocks), named.get(target.device, target.device)
        found = predict_network(network, device, target.runtime, target.precision, target.threads).metrics
        unknown = ""
    except InputError as exc:
        found, unknown = count(blocks, target.precision).metrics(), f" Latency and energy are not predicted: {exc}."
    return {name: metric for name, metric in found.items() if name in OF_TARGET}, unknown


def _int8_openvino(
    folder: Path, record: CandidateRecord, source: Path, model: Description, out: Path, on_event: Listener, stop: Callable[[], bool]
) -> tuple[Check, str]:
    """OpenVINO's int8 file, how it does on the test images, and how it was made. Search-validation decides, against OpenVINO's fp32 file.

    Raises:
        InputError: nothing makes one here; says why.
        TargetError: it loses too much.
    """
    data, network = _network(folder, record, source)
    path, images = out / INT8_IR[0], labels_alone(data.search_validation, data.num_classes)

    def accuracy(file: Path) -> float:
        return unless_stopped(stop, partial(check_openvino, file, images, tolerance=float("inf"))).accuracy

    whole = accuracy(source / FILES["openvino"])
    lost, how = _smaller_loss(source, model, path, calibration_pixels(data), lambda file: whole - accuracy(file))
    if lost > MOST_INT8_DROP:
        raise TargetError(f"{path.name}: the int8 file loses {_points(lost)}, more than {100 * MOST_INT8_DROP:.0f}: use fp32 ({how})")
    on_event(Event("warning" if lost > MOST_DROP else "info", f"int8 for OpenVINO: {how}"))
    reference = Reference.of(Deployed(network, data.mean, data.std), lambda: pixels_of(data.test))
    return unless_stopped(stop, partial(check_openvino, path, reference, "int8", float("inf"))), how


def _smaller_loss(
    source: Path, model: Description, path: Path, images: Sequence[NDArray[np.float32]], lost: Callable[[Path], float]
) -> tuple[float, str]:
    """Writes `path` by NNCF where it is installed and works; else, or where it loses more, from the int8 ONNX file, which was trained with
    rounding where that helps.

    Args:
        images: to calibrate with.
        lost: accuracy that a file loses.

    Returns:
        what it loses, and how it was made.

    Raises:
        InputError: neither is there; says why.
    """
    small = source / FILES["onnx_int8"]
    try:
        quantize_openvino(source / FILES["openvino"], path, images)
        first = lost(path)
    except (MissingExtraError, TargetError) as exc:
        told = str(exc).replace(f"{source}/", "").replace(f"{path.parent}/", "")
        if not small.is_file():
            raise InputError(f"{source.name} has no int8 file to convert ({model.int8}), and none is made: {told}") from exc
        why = "NNCF is not installed" if isinstance(exc, MissingExtraError) else told
        export_openvino(small, path)
        loss = lost(path)
        return loss, f"converted from the int8 ONNX file ({why}), {_points(loss)} lost"
    how = f"NNCF post-training quantisation, {_points(first)} lost"
    if first <= MOST_DROP or not small.is_file():
        return first, how
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        export_openvino(small, Path(scratch) / path.name)
        second = lost(Path(scratch) / path.name)
        if second >= first:
            return first, f"{how}; {_points(second)} by the int8 ONNX file"
        for name in INT8_IR:
            (Path(scratch) / name).replace(path.with_name(name))
    return second, f"converted from the int8 ONNX file, {_points(second)} lost; {_points(first)} by NNCF"


def _points(lost: float) -> str:
    return f"{100 * lost:.2f} points of search-validation"


def _network(folder: Path, record: CandidateRecord, source: Path) -> tuple[ImageData, Network]:
    """The images of the study at the candidate's size, and its trained network.

    Raises:
        StudyError: the images are not those that the study began with.
    """
    config, _ = load_config(folder)
    space, cache = load_space(config.space), folder.parent / ".cache"
    data = load_data(config.data, space.resolutions[-1], config.seed, cache)
    refuse_other_images(folder, data, cache)
    blocks = space.with_data(data.in_chs, data.num_classes).decode(record.candidate.arch)
    if blocks[0].in_size != data.size:
        data = load_data(config.data, blocks[0].in_size, config.seed, cache)
    network = Network(blocks)
    network.load_state_dict(load_weights(source / FILES["weights"])[0])
    return data, network
