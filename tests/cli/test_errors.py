"""Bad input gets a clear error: one or two lines, the right exit code, and nothing is left behind."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import typer.main
from onnx import TensorProto, helper

from nas import diagnosis
from nas.cli.app import app
from nas.config import SearchConfig
from nas.errors import TargetError
from nas.resources import data_root
from tests.command import Ended, Nas
from tests.training.pictures import grow

SEARCH = ("search", "-d", "raspberrypi4")


def assert_clear(ended: Ended, code: int, *words: str) -> None:
    """A message of one or two lines that holds every word, and nothing on standard output."""
    message = next(iter(ended.err.split("nas: ", 1)[1:]), "")
    assert ended.code == code, ended.err
    assert not ended.out
    assert 1 <= len(message.splitlines()) <= 2, ended.err
    assert "Traceback" not in ended.err
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} missing in: {message}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search",), ("--device", "nas devices")),
        (("search", "-d", "raspbery4"), ("'raspbery4'", "raspberrypi4")),
        (("search", "-d", "raspberrypi4", "-d", "rpi4"), ("rpi4", "one device", "name it once")),
        ((*SEARCH, "-d", "raspberrypi4"), ("named twice",)),
        ((*SEARCH, "--space", "mobilnet_tiny"), ("'mobilnet_tiny'", "did you mean mobilenet_tiny")),
        ((*SEARCH, "--data", "digit"), ("'digit'", "did you mean digits")),
        ((*SEARCH, "--data", ""), ("unknown data set ''",)),
        ((*SEARCH, "--data", "cifar10"), ("nothing is downloaded", "pass a folder or a .zip")),
        ((*SEARCH, "--data", "nosuch.zip"), ("'nosuch.zip'",)),
        ((*SEARCH, "--trials", "0"), ("--trials: ", "got 0")),
        ((*SEARCH, "--trials", "-3"), ("--trials: ", "got -3")),
        ((*SEARCH, "--trials", "many"), ("'--trials'", "got 'many'", "nas search --help")),
        ((*SEARCH, "--epochs", "0"), ("epochs", "got 0")),
        ((*SEARCH, "--finalists", "51"), ("--finalists: ", "got 51")),
        ((*SEARCH, "--workers", "0"), ("--workers: ", "got 0")),
        ((*SEARCH, "--seed", "-1"), ("--seed: ", "got -1")),
        ((*SEARCH, "--threads", "9"), ("1 to 4", "got 9")),
        ((*SEARCH, "--threads", "2", "--threads", "2"), ("--threads: one is named twice: 2, 2",)),
        ((*SEARCH, "--runtime", "tflite"), ("'tflite'", "onnxruntime")),
        (
            (*SEARCH, "--verify", "--via", "ssh://pi", "--runtime", "onnxruntime", "--runtime", "openvino"),
            ("one runtime, got onnxruntime",),
        ),
        ((*SEARCH, "--precision", "fp64"), ("'fp64'",)),
        ((*SEARCH, "--precision", "int8"), ("--precision fp32 --precision int8", "int8 alone")),
        ((*SEARCH, "--sampler", "nsga"), ("'nsga'", "nsga2")),
        ((*SEARCH, "--evaluator", "oracle"), ("'oracle'", "supernet")),
        ((*SEARCH, "--evaluator", "zero-cost"), ("zero-cost", "naswot", "no accuracy", "supernet or tabular or train")),
        ((*SEARCH, "--evaluator", "tabular"), ("tabular", "--table FILE")),
        ((*SEARCH, "--evaluator", "tabular", "--table", "nosuch.csv"), ("nosuch.csv",)),
        ((*SEARCH, "--evaluator", "train", "--weights", "w.safetensors"), ("--weights", "train", "leave it out")),
        ((*SEARCH, "--table", "nosuch.csv"), ("--table", "supernet", "leave it out")),
        ((*SEARCH, "--evaluator", "train", "--epochs", "0"), ("--epochs: ", "got 0")),
        ((*SEARCH, "--teacher", "nosuch.onnx"), ("nosuch.onnx",)),
        ((*SEARCH, "--objective", "speed"), ("--objective: ", "'speed'", "latency")),
        ((*SEARCH, "--study", "../up"), ("'../up'", "letters")),
        ((*SEARCH, "--max-latency", "25"), ("--max-latency", "ms", "'25'")),
        ((*SEARCH, "--max-latency", "-3ms"), ("'-3ms'",)),
        ((*SEARCH, "--max-latency", "0ms"), ("more than zero",)),
        ((*SEARCH, "--max-size", "4 parsecs"), ("MiB", "'4 parsecs'")),
        ((*SEARCH, "--time-budget", "20"), ("--time-budget", "min", "'20'")),
        ((*SEARCH, "--min-accuracy", "101%"), ("at most 1", "'101%'")),
        ((*SEARCH, "--storage", "foo://x"), ("foo://x",)),
        ((*SEARCH, "photos"), ("'photos'", "--resume")),
        (("search", "--resume"), ("no study", "nas search --device")),
        (("front",), ("no study", "nas search --device")),
        (("studies", "rm", "x", "--yes"), ("no study",)),
        (("predict", "mobilenet_v2"), ("'--device'",)),
        (("predict", "mobilenetv2", "-d", "pi4"), ("'mobilenetv2'", "mobilenet_v2")),
        (("predict", "nosuch.onnx", "-d", "pi4"), ("nosuch.onnx", "no such file")),
        (("predict", "mobilenet_v2", "-d", "pixel3", "--threads", "2"), ("1 thread", "got 2")),
        ((*SEARCH, "--verify"), ("how is raspberrypi4 reached", "--via")),
        ((*SEARCH, "--verify", "--via", "pi@board"), ("transport", "'pi@board'")),
        (("search", "-d", "host", "--verify", "--via", "ssh://me@server"), ("host is this machine", "a name of its own")),
        ((*SEARCH, "--via", "ssh://pi"), ("via", "verify", "'ssh://pi'")),
        (("devices", "show", "pi44"), ("'pi44'", "did you mean pi4")),
        (("spaces", "show", "fbnets"), ("'fbnets'", "did you mean fbnet")),
        (("export", "--format", "tflite"), ("'tflite'", "'openvino'", "nas export --help")),
        (("ui", "--port", "99999"), ("'--port'", "65535", "got '99999'")),
        (("serch",), ("'serch'", "search")),
        (("studies", "lst"), ("'lst'", "nas studies --help")),
        (("search", "--sede", "3"), ("--sede", "--seed")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_arguments(
    arguments: tuple[str, ...], words: tuple[str, ...], nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_clear(nas(*arguments), 2, *words)
    assert not [path for path in tmp_path.glob("runs/*") if path.name != ".cache"]


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ({"cats": 12}, ("one class only", "cats")),
        ({"train/a": 12, "train/b": 12, "test/a": 4, "test/z": 4}, ("'z'", "train/ lacks")),
        ({"a": 3, "b": 12}, ("'a'", "3 readable images")),
        ({"train/a": 12, "train/b": 12}, ("add test/",)),
    ],
)
def test_folders_that_cannot_be_searched_on(folders: dict[str, int], words: tuple[str, ...], nas: Nas, tmp_path: Path) -> None:
    data = grow(tmp_path / "my photos", folders)
    assert_clear(nas(*SEARCH, "--data", data, "--runs", tmp_path / "runs"), 2, *words)
    assert not [path for path in (tmp_path / "runs").glob("*") if path.name != ".cache"]


def test_unreadable_images(nas: Nas, tmp_path: Path) -> None:
    data = grow(tmp_path / "photos", {"train/a": 12, "train/b": 12, "test/a": 4, "test/b": 4})
    (data / "train" / "a" / "0003.png").write_bytes(b"no picture")
    assert_clear(nas(*SEARCH, "--data", data, "--runs", tmp_path / "runs"), 2, "train/a/0003.png", "1 of 32")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kernel_size: [3, 5]", "kernel_sizes: [3, 5]", ("kernel_sizes", "did you mean kernel_size")),
        ("kernel_size: [3, 5]", "kernel_size: []", ("kernel_size", "[]")),
        ("kernel_size: [3, 5]", "kernel_size: [3, 4]", ("kernel_size", "odd", "4")),
        ("kernel_size: [3, 5]", "kernel_size: [3, 5", ("not valid YAML", "line")),
    ],
)
def test_a_space_with_a_typo(old: str, new: str, words: tuple[str, ...], nas: Nas, tmp_path: Path) -> None:
    text = (data_root("search_spaces") / "mobilenet_tiny.yaml").read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert_clear(nas(*SEARCH, "--space", file, "--runs", tmp_path / "runs"), 2, str(file), *words)


def test_a_profile_with_a_typo(nas: Nas, tmp_path: Path) -> None:
    shutil.copytree(data_root("hw_profiles") / "raspberrypi4", tmp_path / "raspberrypi4")
    file = tmp_path / "raspberrypi4" / "profile.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("spread:", "spred:", 1), encoding="utf-8")
    assert_clear(nas("devices", "show", file.parent), 2, str(file), "spred", "did you mean spread")


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (("--max-latency", "1us"), ("latency <= 0.001 ms", "fastest")),
        (("--max-params", "1k", "--max-latency", "1us"), ("params", "fewest", "fastest")),
        (("--max-memory", "1B"), ("memory", "smallest")),
    ],
)
def test_nothing_is_trained_where_nothing_meets_the_constraints(
    bounds: tuple[str, ...], words: tuple[str, ...], nas: Nas, tmp_path: Path
) -> None:
    assert_clear(nas(*SEARCH, *bounds, "--runs", tmp_path / "runs", "--study", "x"), 3, *words)
    assert not list((tmp_path / "runs").glob(".cache/*"))
    assert not (tmp_path / "runs" / "x").exists()


@pytest.mark.parametrize("where", ["a file/runs", "/proc/nowhere/runs"])
def test_a_runs_folder_that_cannot_be_written(where: str, nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    assert_clear(nas(*SEARCH, "--runs", tmp_path / where), 2, where, "--runs")


def test_a_study_that_exists(nas: Nas, runs: Path) -> None:
    assert_clear(nas(*SEARCH, "--study", "digits-1", "--runs", runs), 2, "'digits-1'", "--resume digits-1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digits-11",), ("'digits-11'", "did you mean digits-1")),
        (("digits-1", "--trials", "3"), ("may only grow", "got 3")),
        (("digits-1", "--time-budget", "20m"), ("--time-budget may only grow", "no limit", "got 20 min 00 s")),
        (
            ("digits-1", "--seed", "0", "--max-latency", "3ms", "-d", "host"),
            ("stored configuration", "--seed", "--max-latency", "--device", "--trials and --time-budget may grow"),
        ),
        (("digits-1", "--study", "cut"), ("one study", "'cut'", "'digits-1'")),
        (("digits-1",), ("the images of digits are not those",)),
    ],
)
def test_resuming_changes_nothing_but_the_budget(arguments: tuple[str, ...], words: tuple[str, ...], nas: Nas, runs: Path) -> None:
    assert_clear(nas("search", "--runs", runs, "--resume", *arguments), 2, *words)


def test_a_resume_without_a_name_goes_on_with_an_unfinished_study_and_says_which(nas: Nas, runs: Path) -> None:
    ended = nas("search", "--runs", runs, "--resume", "--trials", "3")
    assert_clear(ended, 2, "may only grow", "got 3")
    assert ended.err.startswith("going on with study cut\n")  # digits-1 is newer, and done


def test_a_time_budget_may_only_grow(nas: Nas, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "cut", tmp_path / "cut")
    path = tmp_path / "cut" / "config.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**stored, "config": {**stored["config"], "time_budget_s": 3600.0}}), encoding="utf-8")
    command = ("search", "--runs", tmp_path, "--resume", "cut", "--time-budget")
    assert_clear(nas(*command, "3599s"), 2, "--time-budget may only grow", "the study has 1 h 00 min, got 59 min 59 s")
    assert_clear(nas(*command, "2h"), 2, "the images of digits are not those")  # the budget is in order


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ("cannot be read",)),
        ("[1]", ("schema",)),
        ('{"schema": 2}', ("schema 2", "upgrade")),
        ('{"schema": 1}', ("'config' is missing",)),
        ('{"schema": 1, "config": {}, "data": {}}', ("study",)),
        ('{"schema": 1, "config": 3, "data": {}}', ("config.json",)),
    ],
)
def test_a_configuration_that_cannot_be_read(text: str, words: tuple[str, ...], nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text(text, encoding="utf-8")
    for command in (("studies", "show"), ("search", "--resume"), ("studies", "rebuild")):
        assert_clear(nas(*command, "x", "--runs", tmp_path), 2, "config.json", *words)
    assert "broken" in nas("studies", "--runs", tmp_path).out


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"schema": 1', '"schema": 99', ("schema 99", "upgrade")),
        ('"source": "predicted"', '"source": "guessed"', ("'guessed'", "predicted")),
        ('"on_front": true', '"on_front": 1', ("on_front",)),
        ('"value": ', '"value": NaN, "x": ', ("NaN",)),
        ("{", "", ()),
    ],
)
def test_a_front_that_was_edited_badly(old: str, new: str, words: tuple[str, ...], nas: Nas, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "digits-1", tmp_path / "digits-1")
    file = tmp_path / "digits-1" / "front.json"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    for command in ("front", "pick", "export"):
        assert_clear(nas(command, "--runs", tmp_path), 2, "front.json", *words)


def test_nothing_to_rebuild_from(nas: Nas, runs: Path) -> None:
    assert_clear(nas("studies", "rebuild", "cut", "--runs", runs), 2, "no candidate", "--resume cut")
    assert not (runs / "cut" / "study.db").exists()


def foreign_onnx(path: Path, blocks: str | None) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [value], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if blocks is not None:
        helper.set_model_props(model, {"blocks": blocks})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (None, ("reads x [1]", "(1, chs, height, width)")),
        ("{nope", ("model.onnx",)),
        ("[]", ("list of objects",)),
        ('[{"name": "stem"}]', ("needs name, kind",)),
        ('[{"name": "stem", "kind": "conv", "in_chs": 3, "out_chs": -1, "in_size": 8}]', ("out_chs", "got -1")),
    ],
)
def test_onnx_files_of_others(blocks: str | None, words: tuple[str, ...], nas: Nas, tmp_path: Path) -> None:
    foreign_onnx(tmp_path / "model.onnx", blocks)
    assert_clear(nas("predict", tmp_path / "model.onnx", "-d", "pi4"), 2, "model.onnx", *words)


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", b"\x08\x08\x12\x05"])
def test_onnx_files_that_are_none(content: bytes, nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert_clear(nas("predict", tmp_path / "model.onnx", "-d", "pi4"), 2, "model.onnx")


@pytest.mark.parametrize(
    "data", ["[", [1], {}, {"space": "mobilenet_tiny", "genes": {}}, {"space": "mobilenet_tny", "genes": {}}, {"blocks": []}]
)
def test_architecture_files_that_hold_none(data: object, nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    assert_clear(nas("predict", tmp_path / "arch.json", "-d", "pi4"), 2, "arch.json")


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (TargetError("the clock stands still"), 4, ("the clock stands still",)),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, ('pip install "hwnas[search]"',)),
        (OSError(errno.ENOSPC, "No space left on device"), 2, ("No space left on device", "free some space")),
        (ZeroDivisionError("division by zero"), 5, ("internal error: ZeroDivisionError", "--debug")),
        (KeyboardInterrupt(), 130, ("interrupted",)),
    ],
)
def test_exit_codes(raised: BaseException, code: int, words: tuple[str, ...], nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(runs: Path) -> list[diagnosis.Check]:
        raise raised

    monkeypatch.setattr(diagnosis, "checks", fail)
    assert_clear(nas("doctor"), code, *words)
    if code != 130:
        ended = nas("doctor", "--debug")
        assert ended.code == code
        assert ended.err.startswith("Traceback")
        assert str(raised) in ended.err


def commands() -> Iterator[tuple[str, ...]]:
    """Every command and subcommand."""
    yield ()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        yield (name,)
        yield from ((name, sub) for sub in getattr(command, "commands", {}))


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...], nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = nas(*command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"Example: nas {' '.join(command[:1])}" in " ".join(ended.out.split())
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "..." not in ended.out.split("Commands:")[-1]  # nothing is cut short


@pytest.mark.parametrize("group", [(), ("predictor",)], ids=" ".join)
def test_a_group_without_a_command_shows_what_there_is(group: tuple[str, ...], nas: Nas) -> None:
    ended = nas(*group)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == nas(*group, "--help").out


def test_options_and_configuration_have_the_same_defaults() -> None:
    search = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    defaults = {name: field.default for name, field in SearchConfig.model_fields.items()}
    ours = {option.name: option.default for option in search.params if option.default is not None}
    assert {name: value for name, value in ours.items() if name in defaults and name not in ("data", "study")} == {
        name: defaults[name] for name in ("evaluator", "sampler", "finalists", "verify", "grid", "workers", "seed")
    }
    trials = next(option for option in search.params if option.name == "trials")
    assert trials.show_default == str(defaults["trials"])


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (("--version",), 0, "hwnas ", ""),
        ((), 2, "", "Usage: nas"),
        (("search", "-d", "raspberrypi4", "--trials", "0"), 2, "", "nas: --trials: Input should be greater than or equal to 1, got 0\n"),
    ],
)
def test_as_a_process(arguments: tuple[str, ...], code: int, out: str, err: str) -> None:
    done = subprocess.run([sys.executable, "-m", "nas", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith(out)
    assert done.stderr.startswith(err)
    assert bool(done.stdout) == bool(out)
    assert bool(done.stderr) == bool(err)
