"""What can be asked of a study: front, pick, export, studies; and what is known without one."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from nas.cli.picking import choose, contradicted, judged_otherwise
from nas.cli.show import candidate_lines, print_front
from nas.config import check_config
from nas.errors import InfeasibleError, StudyError
from nas.files import write_atomic
from nas.metrics import Metric
from nas.report.record import read_front, write_front
from nas.resources import data_root
from nas.search.leases import DRIVER
from nas.search.removal import claim
from nas.search.storage import find_study, open_storage
from nas.space import reference_names
from tests.command import Nas
from tests.report.examples import measured
from tests.report.strategies import example_front, with_pruned

TARGETS = [{"device": device} for device in ("raspberrypi4", "pixel3")]
"""As config.json has them, of what `nas studies rm` looks at."""


def test_a_table_has_what_tells_its_targets_apart(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    front = example_front(4, 0)
    changes = ({}, {"precision": "int8"}, {"runtime": "openvino"}, {"runtime": "openvino", "precision": "int8"})
    placed = []
    for each, change in zip(front.candidates, changes, strict=True):
        candidate = replace(each.candidate, target=replace(each.candidate.target, **change))
        placed.append(replace(each, candidate=candidate, artifacts={}))
    print_front(replace(front, candidates=tuple(placed)))
    out = capsys.readouterr().out
    heading = next(line for line in out.splitlines() if line.startswith("id"))
    assert [word for word in ("runtime", "precision", "threads") if word in heading] == ["runtime", "precision"]
    assert "modelled, board" in out
    for each in placed:
        row = next(line.split() for line in out.splitlines() if line.startswith(each.id))
        assert {each.candidate.target.runtime, each.candidate.target.precision} <= set(row)
    print_front(front)
    assert "precision" not in capsys.readouterr().out


def test_a_candidate_is_told_with_a_measurement_that_contradicts_its_prediction() -> None:
    each = measured(example_front(4, 0)).finalists[0]
    metrics = each.candidate.metrics
    far = replace(metrics["latency_measured_s"], value=3 * metrics["latency_s"].value, low=None, high=None)
    lines = candidate_lines(replace(each, candidate=replace(each.candidate, metrics={**metrics, "latency_measured_s": far})))
    (told,) = [line for line in lines if line.startswith("  warning")]
    assert "outside the 90 % band of the predicted (" in told
    labels = [line.split()[0] for line in lines[2:]]
    assert labels.index("measured") < labels.index("latency")
    assert not [line for line in candidate_lines(each) if line.startswith("  warning")]


def test_a_configuration_is_shown_as_it_is_typed(nas: Nas, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "cut", tmp_path / "cut")
    path = tmp_path / "cut" / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "config": {**stored["config"], "precision": "both"}}))
    assert re.search(r"^precision +fp32, int8$", nas("studies", "show", "--runs", tmp_path).out, re.MULTILINE)
    assert nas("studies", "show", "--runs", tmp_path, "--json").json["config"]["precision"] == "both"


def test_a_password_of_a_study_is_not_shown(nas: Nas, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(runs / "cut", folder)
    told = json.loads((folder / "config.json").read_text())
    told["config"] |= {"storage": "postgresql://me:a/b#s3cret@host/db", "tracking_uri": "https://me:s3cret@host"}
    (folder / "config.json").write_text(json.dumps(told))
    for options in ((), ("--json",)):
        ended = nas("studies", "show", "cut", "--runs", tmp_path, *options)
        assert ended.code == 0
        assert "s3cret" not in ended.out
        assert "postgresql://***@host/db" in ended.out
        assert "https://***@host" in ended.out


def test_json_is_all_there_is_on_standard_output(nas: Nas, runs: Path, tmp_path: Path) -> None:
    for command in (
        ("front", "--runs", runs),
        ("pick", "--runs", runs),
        ("export", "--runs", runs, "--out", tmp_path),
        ("studies", "--runs", runs),
        ("studies", "list", "--runs", runs),
        ("studies", "list", "--runs", tmp_path / "nothing"),
        ("studies", "show", "--runs", runs),
        ("devices",),
        ("devices", "list"),
        ("devices", "show", "pi4"),
        ("spaces",),
        ("spaces", "show", "mobilenet_tiny"),
        ("predict", "mobilenet_v2", "-d", "pi4"),
        ("doctor",),
    ):
        ended = nas(*command, "--json")
        assert (ended.code, ended.err) == (0, ""), command
        assert ended.json["schema"] == 1, command


def test_front(nas: Nas, runs: Path) -> None:
    shown = nas("front", "--runs", runs).out
    record = read_front(runs / "digits-1")
    assert all(member.id in shown for member in record.front)
    assert shown.count("★") == len(record.finalists) + 1  # and the legend
    assert all(source in shown for source in ("supernet", "trained", "predicted", "modelled", "counted"))
    assert nas("front", "--runs", runs, "--json").json == record.to_dict()
    assert nas("front", "digits-1", "-d", "pixel3", "--runs", runs, "--json").json["device"] == "pixel3"
    rows = list(csv.DictReader(io.StringIO(nas("front", "--runs", runs, "--csv").out)))
    assert [row["id"] for row in rows if row["on_front"] == "True"] == [member.id for member in record.front]
    assert len(rows) == len(record.candidates)


def test_figures_of_a_table_have_no_exponents(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    front = example_front(1, 0)
    (only,) = front.front
    large = {"params": Metric(5.4e6, "1", "counted"), "latency_s": Metric(1.2345, "s", "predicted", low=0.9997, high=2.0)}
    print_front(replace(front, candidates=(replace(only, candidate=replace(only.candidate, metrics={**only.candidate.metrics, **large})),)))
    (row,) = (line for line in capsys.readouterr().out.splitlines() if only.id in line)
    assert "1230 (1000–2000)" in row
    assert row.split()[-2] == "5400"


def test_what_a_front_does_not_hold_is_told(nas: Nas, runs: Path, tmp_path: Path) -> None:
    front = replace(example_front(3, 4), search={"trials": 3000.0})
    outside = replace(front.candidates[-1], feasible=False)
    shutil.copytree(runs / "digits-1", tmp_path / "digits-1")
    write_front(tmp_path / "digits-1", replace(front, candidates=(*front.candidates[:-1], outside)))
    ended = nas("front", "--runs", tmp_path, "--csv")
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert (len(rows), [row["feasible"] for row in rows if row["id"] == outside.id]) == (7, ["False"])
    assert f"note: this is 7 of 3,000 candidates; all are in {tmp_path / 'digits-1' / 'candidates.parquet'}" in ended.err
    assert "lists 7 of 3,000 candidates" in nas("pick", "--runs", tmp_path, "--pick", "zzz").err
    assert nas("pick", "--runs", tmp_path, "--pick", outside.id).out.startswith(f"{outside.id}  outside the constraints  ")


def test_the_head_of_a_column_tells_what_is_modelled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    front = example_front(3, 0)
    first, *others = front.candidates
    modelled = replace(first.candidate.metrics["accuracy_search"], scope="int8, drop modelled from 24 quantised networks")
    twin = replace(first, candidate=replace(first.candidate, metrics={**first.candidate.metrics, "accuracy_search": modelled}))
    print_front(replace(front, candidates=(twin, *others)))
    head = capsys.readouterr().out.split(first.id)[0]
    assert all(words in head for words in ("supernet, int8, drop", "modelled from 24", "quantised networks"))


def test_what_was_pruned_stands_in_the_table_without_a_search_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    front = with_pruned(example_front())
    print_front(front)
    shown = capsys.readouterr().out
    (row,) = (line for line in shown.splitlines() if front.finalists[-1].id in line)
    assert "★p" in row
    assert " - " in row
    assert "p pruned from a finalist" in shown


def test_a_pruned_finalist_is_picked_where_it_is_the_answer(nas: Nas, tmp_path: Path) -> None:
    front = with_pruned(example_front(study="p"))
    *whole, pruned = front.finalists
    write_front(tmp_path / "p", front)
    write_atomic(
        tmp_path / "p" / "config.json",
        check_config({"study": "p", "devices": ("raspberrypi4",), "space": "mobilenet_tiny", "data": "digits"}).model_dump_json(),
    )

    def picked(*options: str) -> str:
        ended = nas("pick", "p", "--runs", tmp_path, *options, "--json")
        assert ended.code == 0, ended.err
        return str(ended.json["candidate"]["id"])

    fastest_s = whole[0].value("latency_s") or 0.0
    assert picked("--fastest") == picked("--max-latency", f"{900 * fastest_s}ms") == pruned.id
    assert picked("--max-latency", f"{1001 * fastest_s}ms") == whole[0].id  # more accurate on search-validation
    assert picked("--most-accurate") == whole[-1].id
    assert picked("--min-accuracy", "90%", "--fastest") == pruned.id
    assert picked("--min-accuracy", "90.5%", "--fastest") == whole[0].id
    text = nas("pick", "p", "--runs", tmp_path, "--max-latency", f"{1001 * fastest_s}ms").out
    assert "by validation accuracy" in text
    refused = nas("pick", "p", "--runs", tmp_path, "--max-latency", "1us")
    assert (refused.code, "no pruned finalist meets --max-latency 1us: the nearest has 1.47 ms" in refused.err) == (3, True)
    (row,) = (row for row in csv.DictReader(io.StringIO(nas("front", "p", "--runs", tmp_path, "--csv").out)) if row["pruned"] == "True")
    assert row["id"] == pruned.id


def test_tables_lose_columns_and_never_characters(nas: Nas, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (("front", "--runs", runs), ("studies", "--runs", runs), ("devices",), ("spaces",)):
        monkeypatch.setenv("COLUMNS", "80")
        narrow = nas(*command).out
        table = narrow.split("not shown")[0]
        assert "…" not in table
        monkeypatch.setenv("COLUMNS", "300")
        assert "not shown" not in nas(*command).out
    monkeypatch.setenv("COLUMNS", "80")
    front = nas("front", "--runs", runs).out
    assert "not shown for want of width: energy mJ, params k, size MiB (nas front --json has them)" in front
    assert all(member.id in front for member in read_front(runs / "digits-1").front)


def test_a_space_that_does_not_hold_does_not_hide_the_others(nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    for name, text in (("copied", (data_root("search_spaces") / "mobilenet_tiny.yaml").read_text(encoding="utf-8")), ("broken", "name: [")):
        (tmp_path / "search_spaces" / f"{name}.yaml").write_text(text, encoding="utf-8")
    listed = nas("spaces")
    assert listed.code == 0
    assert all(name in listed.out for name in ("copied", "broken", "mobilenet_tiny"))
    found = {each["space"]: each for each in nas("spaces", "--json").json["spaces"]}
    assert (found["mobilenet_tiny"]["why"], found["copied"]["macs"]) == ("", None)
    assert "must be that of the file, 'copied', got 'mobilenet_tiny'" in found["copied"]["why"]
    assert "not valid YAML" in found["broken"]["why"]
    assert nas("spaces", "show", "copied").code == 2


@pytest.mark.parametrize("name", ["front.html", "a b/front.png"])
def test_pictures(name: str, nas: Nas, runs: Path, tmp_path: Path) -> None:
    ended = nas("front", "--runs", runs, "--plot", tmp_path / name)
    assert ended.code == 0
    assert (tmp_path / name).stat().st_size > 10_000
    assert nas("front", "--runs", runs, "--plot", "front.pdf").code == 2


def test_a_page_has_all_devices_unless_one_is_named(nas: Nas, runs: Path, tmp_path: Path) -> None:
    for named, devices in (((), ["raspberrypi4", "pixel3"]), (("--device", "pixel3"), ["pixel3"])):
        assert nas("front", "--runs", runs, *named, "--plot", tmp_path / "front.html").code == 0
        page = (tmp_path / "front.html").read_text(encoding="utf-8")
        assert re.findall(r'"device":"([^"]+)"', page) == devices


def test_pick(nas: Nas, runs: Path) -> None:
    members = read_front(runs / "digits-1").front  # fastest first, and so least accurate first
    picked = {
        option: nas("pick", "--runs", runs, option, "--json").json["candidate"]["id"]
        for option in ("--fastest", "--most-accurate", "--knee")
    }
    assert picked["--fastest"] == members[0].id
    assert picked["--most-accurate"] == members[-1].id
    assert picked["--knee"] in {member.id for member in members[1:-1]}
    latency_s = members[3].value("latency_s")
    assert latency_s is not None
    within = nas("pick", "--runs", runs, "--max-latency", f"{latency_s * 1e3 + 1e-6}ms", "--json").json["candidate"]
    assert within["id"] == members[3].id
    assert nas("pick", "--runs", runs, "--pick", members[2].id[:10], "--json").json["candidate"]["id"] == members[2].id
    text = nas("pick", "--runs", runs, "--fastest").out
    assert members[0].id in text
    assert "ms" in text
    assert "predicted" in text


def test_a_device_may_be_named_as_it_was_searched_for(nas: Nas, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data_root("hw_profiles") / "pixel3", tmp_path / "boards" / "pixel3")
    for named, name in (("pi4", "raspberrypi4"), ("PI4", "raspberrypi4"), ("./boards/pixel3", "pixel3")):
        for command in ("front", "pick", "impact"):
            assert nas(command, "digits-1", "--runs", runs, "-d", named, "--json").json["device"] == name, (command, named)
    known = nas("pick", "digits-1", "--runs", runs, "-d", "pi5")
    assert (known.code, "unknown device 'pi5'" in known.err) == (2, True)


def test_the_export_that_is_advised_is_of_the_picked_candidate(nas: Nas, runs: Path) -> None:
    member = next(each for each in read_front(runs / "digits-1", "pixel3").front if not each.finalist)
    shown = nas("pick", "digits-1", "--runs", runs, "-d", "pixel3", "--pick", member.id).out
    (advice,) = [line.removeprefix("not exported yet: ") for line in shown.splitlines() if line.startswith("not exported yet: ")]
    program, command, *arguments = shlex.split(advice)
    assert (program, command) == ("nas", "export")
    assert nas("pick", *arguments, "--json").json["candidate"]["id"] == member.id


def test_what_misses_a_second_bound_is_said_to_be_within_the_first(nas: Nas, runs: Path) -> None:
    assert nas("pick", "digits-1", "--runs", runs, "--min-accuracy", "98%").code == 0
    unknown = nas("pick", "digits-1", "--runs", runs, "--max-memory", "1GiB")
    assert (unknown.code, "--max-memory bounds a figure that study digits-1 does not have" in unknown.err) == (2, True)
    refused = nas("pick", "digits-1", "--runs", runs, "--min-accuracy", "98%", "--max-latency", "2.2ms", "--max-size", "4MiB")
    assert refused.code == 3
    words = "no member of the front within --max-latency 2.2ms and --max-size 4MiB meets --min-accuracy 98%: the nearest has 90.50"
    assert words in refused.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--max-latency", "1us"), 3, ("--max-latency 1us", "2.1 ms", "predicted")),
        (("--min-accuracy", "100%"), 3, ("--min-accuracy 100%", "%, supernet")),
        (("--pick", "zzz"), 2, ("'zzz'", "nas front --csv")),
        (("--pick", ""), 2, ("begins",)),
        (("--pick", "a", "--knee"), 2, ("choose one of",)),
        (("--pick", "a", "--max-latency", "3ms"), 2, ("leave out --max-latency",)),
        (("--device", "pixl3"), 2, ("did you mean pixel3",)),
    ],
)
def test_what_cannot_be_picked(options: tuple[str, ...], code: int, words: tuple[str, ...], nas: Nas, runs: Path) -> None:
    for command in ("pick", "export") if options[0] not in ("--min-accuracy",) else ("pick",):
        ended = nas(command, "digits-1", "--runs", runs, *options)
        assert ended.code == code, ended.err
        assert not ended.out
        assert all(word in ended.err for word in words), ended.err


def test_a_bound_of_latency_is_held_against_what_was_measured_and_what_goes_out() -> None:
    front = measured(example_front(6, 0))  # finalists take 1.1 times what is predicted
    slow = front.finalists[-1]
    seen, found_s = (slow.value(name) or 0.0 for name in ("latency_s", "latency_measured_s"))
    between = f"{1e3 * (seen + found_s) / 2}ms"
    small = {**slow.candidate.metrics, "latency_int8_s": Metric(0.5 * seen, "s", "predicted")}
    known = replace(slow, candidate=replace(slow.candidate, metrics=small))
    alone = replace(front, candidates=(known,))
    with pytest.raises(InfeasibleError, match=r"--max-latency .*: the nearest has .*, measured$"):
        choose(alone, None, {"--max-latency": between}, "fastest")
    with pytest.raises(InfeasibleError):
        choose(alone, None, {"--max-latency": between}, "fastest", "fp32")
    chosen, _ = choose(alone, None, {"--max-latency": between}, "fastest", "int8")
    assert chosen.id == slow.id
    with pytest.raises(InfeasibleError, match="predicted"):
        choose(alone, None, {"--max-latency": f"{1e3 * 0.4 * seen}ms"}, "fastest", "int8")
    key = slow.candidate.target.key
    assert [judged_otherwise(known, "onnx", precision) for precision in ("fp32", "int8")] == ["", ""]
    words = f"--max-latency was held against {slow.id} on {key}; its latency on {key.replace('/fp32/', '/int8/')} is in the card"
    assert judged_otherwise(slow, "onnx", "int8").startswith(words)
    assert "/openvino/int8/" in judged_otherwise(known, "openvino", "int8")


def test_an_export_warns_of_a_contradiction_of_what_goes_out_alone() -> None:
    each = measured(example_front(6, 0)).finalists[-1]
    metrics = each.candidate.metrics
    far = replace(metrics["latency_measured_s"], value=3 * metrics["latency_s"].value, low=None, high=None)
    known = replace(each, candidate=replace(each.candidate, metrics={**metrics, "latency_measured_s": far}))
    assert "outside the 90 % band of the predicted (" in contradicted(known, "onnx", "fp32")
    assert [contradicted(known, form, precision) for form, precision in (("onnx", "int8"), ("openvino", "fp32"))] == ["", ""]


def test_an_export_tells_what_its_bound_was_held_against(nas: Nas, runs: Path, tmp_path: Path) -> None:
    options = ("digits-1", "--runs", runs, "--max-latency", "1s", "--fastest", "--out", tmp_path / "out", "--json")
    assert "warning" not in nas("export", *options).err
    told = nas("export", *options, "--precision", "int8")
    assert "warning: --max-latency was held against " in told.err
    assert "raspberrypi4/onnxruntime/fp32/1; its latency on raspberrypi4/onnxruntime/int8/1 is in the card" in told.err


def test_an_id_that_is_not_there_brings_no_list_of_ids(nas: Nas, runs: Path) -> None:
    record = read_front(runs / "digits-1")
    told = nas("pick", "digits-1", "--runs", runs, "--pick", "zzz").err
    assert not [each.id for each in record.candidates if each.id in told]
    near = record.candidates[0].id
    assert f"did you mean {near}" in nas("pick", "digits-1", "--runs", runs, "--pick", f"{near}0").err


def test_export_of_a_finalist_copies_its_files(nas: Nas, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finalist = read_front(runs / "digits-1").finalists[0]
    ended = nas("export", "--runs", runs, "--pick", finalist.id, "--json")
    assert ended.code == 0, ended.err
    home = Path("exports") / f"digits-1-{finalist.id}"
    assert ended.json["files"] == [
        str(home / name) for name in ("architecture.json", "card.md", "labels.txt", "model.dynamic.onnx", "model.onnx")
    ]
    assert (home / "model.onnx").read_text(encoding="utf-8") == f"model.onnx of {finalist.id}"
    card = (home / "card.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {finalist.id}\n")
    assert re.findall(r"^\| (\S+/\S+) \| latency_s \|", card, re.M) == ["pixel3/onnxruntime/fp32/1"]


def test_export_says_first_where_it_cannot_write(nas: Nas, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    dominated = read_front(runs / "digits-1").candidates[-1]
    ended = nas("export", "--runs", runs, "--pick", dominated.id, "--out", tmp_path / "file" / "x")
    assert ended.code == 2
    assert "choose another folder" in ended.err


def test_an_empty_out_is_not_the_current_folder(nas: Nas, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finalist = read_front(runs / "digits-1").finalists[0]
    ended = nas("export", "--runs", runs, "--pick", finalist.id, "--out", "")
    assert (ended.code, ended.err) == (2, "nas: --out is a folder, got '': name one, or leave it out for exports/<study>-<id>\n")
    assert not list(tmp_path.iterdir())


def test_studies(nas: Nas, runs: Path, tmp_path: Path) -> None:
    found = {each["study"]: each for each in nas("studies", "--runs", runs, "--json").json["studies"]}
    assert found["cut"]["state"] == "unfinished"
    assert (found["digits-1"]["state"], found["digits-1"]["front"]) == ("done", 12)
    shown = nas("studies", "--runs", runs)
    assert f"nas search --resume cut --runs '{runs}'" in shown.out
    assert nas("studies", "show", "digits-1", "--runs", runs, "--json").json["config"]["devices"] == ["raspberrypi4", "pixel3"]
    assert "recipe.epochs" in nas("studies", "show", "digits-1", "--runs", runs).out
    shutil.copytree(runs / "cut", tmp_path / "cut")
    assert nas("studies", "rm", "cut", "--runs", tmp_path, "--yes").code == 0
    assert not (tmp_path / "cut").exists()


@pytest.mark.parametrize("scheme", ["sqlite:///", "journal://"])
def test_what_a_shared_storage_holds_of_a_study_goes_with_it(scheme: str, nas: Nas, runs: Path, tmp_path: Path) -> None:
    """Its name is free there again, and what others have is left alone; so is a study that somebody drives."""
    url = f"{scheme}{tmp_path / 'shared'}"
    shutil.copytree(runs / "cut", tmp_path / "cut")
    path = tmp_path / "cut" / "config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "targets": TARGETS, "config": {**told["config"], "storage": url}}))
    names = ["cut/pixel3", "cut/raspberrypi4", "cut/raspberrypi4/round-2", "cut-2/raspberrypi4"]
    for name in names:
        optuna.create_study(storage=open_storage(url), study_name=name, directions=["maximize", "minimize"])
    driven = find_study(open_storage(url), "cut/raspberrypi4")
    driven.set_user_attr(DRIVER, {"host": "node7", "pid": 12, "began": 1.0, "expiry": time.time() + 60})
    refused = nas("studies", "rm", "cut", "--runs", tmp_path, "--yes")
    assert (refused.code, "is being searched by process 12 on node7" in refused.err) == (2, True)
    assert path.is_file()
    assert sorted(optuna.get_all_study_names(open_storage(url))) == sorted(names)
    driven.set_user_attr(DRIVER, {})
    ended = nas("studies", "rm", "cut", "--runs", tmp_path, "--yes", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["stored"] == names[:3]
    assert not path.parent.exists()
    assert optuna.get_all_study_names(open_storage(url)) == names[3:]


def test_a_study_of_another_search_of_that_name_stays_in_its_storage(nas: Nas, runs: Path, tmp_path: Path) -> None:
    """As where two people began one at the same moment, and the second one was refused."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    shutil.copytree(runs / "cut", tmp_path / "cut")
    path = tmp_path / "cut" / "config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "id": "b" * 32, "targets": TARGETS, "config": {**told["config"], "storage": url}}))
    for name in ("cut/pixel3", "cut/raspberrypi4"):
        optuna.create_study(storage=open_storage(url), study_name=name, directions=["maximize", "minimize"])
    claim(find_study(open_storage(url), "cut/pixel3"), "a" * 32)
    with pytest.raises(StudyError, match="study cut/pixel3 of another search: start a new one with another --study"):
        claim(find_study(open_storage(url), "cut/pixel3"), "b" * 32)  # as on --resume
    assert nas("studies", "rm", "cut", "--runs", tmp_path, "--yes", "--json").json["stored"] == []
    assert not path.parent.exists()
    assert optuna.get_all_study_names(open_storage(url)) == ["cut/pixel3", "cut/raspberrypi4"]


@pytest.mark.parametrize("whose", ["a" * 32, ""])
def test_a_search_of_that_name_for_other_devices_is_left_alone(whose: str, nas: Nas, runs: Path, tmp_path: Path) -> None:
    """From other folders two searches of one name may share a storage; one of them may be driven, and an earlier version's says nothing."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    shutil.copytree(runs / "cut", tmp_path / "cut")
    path = tmp_path / "cut" / "config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "id": "b" * 32, "targets": TARGETS[:1], "config": {**told["config"], "storage": url}}))
    names = ["cut/raspberrypi4", "cut/raspberrypi4/round-2", "cut/pixel3"]
    for name in names:
        optuna.create_study(storage=open_storage(url), study_name=name, directions=["maximize", "minimize"])
    other = find_study(open_storage(url), names[2])
    claim(find_study(open_storage(url), names[0]), "b" * 32)
    claim(other, whose)
    other.set_user_attr(DRIVER, {"host": "node7", "pid": 12, "began": 1.0, "expiry": time.time() + 600})
    assert nas("studies", "rm", "cut", "--runs", tmp_path, "--yes", "--json").json["stored"] == names[:2]
    assert optuna.get_all_study_names(open_storage(url)) == names[2:]


def test_a_storage_that_is_gone_is_named_before_a_study_is_deleted(nas: Nas, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "cut", tmp_path / "cut")
    path = tmp_path / "cut" / "config.json"
    told = json.loads(path.read_text())
    url = f"sqlite:///{tmp_path}/gone/shared.db"
    path.write_text(json.dumps({**told, "config": {**told["config"], "storage": url}}))
    ended = nas("studies", "rm", "cut", "--runs", tmp_path, "--yes")
    assert ended.code == 2
    assert "cannot be opened" in ended.err
    assert f"where the storage is gone for good, delete {tmp_path / 'cut'} by hand" in ended.err
    assert path.is_file()


def test_options_before_a_subcommand_hold_for_it(nas: Nas, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home in ("runs", "backup"):
        shutil.copytree(runs / "cut", tmp_path / home / "cut")
    monkeypatch.chdir(tmp_path)
    ended = nas("studies", "--runs", "backup", "--json", "rm", "cut", "--yes")
    assert ended.json["deleted"] == str(Path("backup") / "cut")
    assert [path.parent.name for path in tmp_path.glob("*/cut")] == ["runs"]
    assert nas("studies", "--runs", "nowhere", "list", "--runs", "runs", "--json").json["studies"][0]["study"] == "cut"
    for command in (("devices", "--json", "show", "pi4"), ("spaces", "--json", "show", "mobilenet_tiny"), ("devices", "--json", "list")):
        assert nas(*command).json["schema"] == 1, command


def test_a_study_is_kept_where_nobody_says_yes(nas: Nas, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    ended = nas("studies", "rm", "cut", "--runs", runs)
    assert ended.code == 130
    assert not ended.out.strip()
    assert (runs / "cut" / "config.json").is_file()


def test_the_runs_folder_may_be_named_by_the_environment(nas: Nas, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_RUNS", str(runs))
    assert nas("pick", "digits-1", "--json").code == 0
    monkeypatch.setenv("NAS_RUNS", str(tmp_path / "new" / "runs"))
    assert f"{tmp_path / 'new' / 'runs'} can be written to" in nas("doctor").out
    monkeypatch.chdir(tmp_path)  # a checkout may well have a folder runs
    monkeypatch.setenv("NAS_RUNS", "")
    assert "runs yet" in nas("pick").err


@pytest.mark.parametrize("name", reference_names())
def test_predict_a_reference(name: str, nas: Nas) -> None:
    found = nas("predict", name, "-d", "raspberrypi4", "--json").json
    latency = found["metrics"]["latency_s"]
    assert latency["low"] < latency["value"] < latency["high"]
    assert all(metric["source"] for metric in found["metrics"].values())
    assert found["target"]["device"] == "raspberrypi4"
    assert sum(block["macs"] for block in found["blocks"]) == found["metrics"]["macs"]["value"]
    text = nas("predict", name, "-d", "raspberrypi4").out
    assert "[predicted]" in text
    assert "[modelled, board]" in text


def test_a_terminal_without_stars_gets_question_marks(nas: Nas, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", stream)
    assert nas("front", "--runs", runs).code == 0
    stream.flush()
    assert b"?" in stream.buffer.getvalue()  # type: ignore[attr-defined]
