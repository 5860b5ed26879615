from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

from nas.hardware.transports.bundle import BUNDLED, bundle, tar

PACKAGE = Path(__file__).resolve().parents[3]
RUNTIMES = {"nas.hardware.runtimes.onnxruntime": "onnxruntime", "nas.hardware.runtimes.openvino": "openvino"}
CHECKED_ONLY = {"nas.config"}  # named for type checkers, or imported where the bundle does not come


def imported(tree: ast.Module) -> set[str]:
    """Modules that are imported anywhere but below `if TYPE_CHECKING`."""
    hidden = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) not in hidden:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
    return found


def test_bundled_files_need_only_python_numpy_and_their_runtime() -> None:
    bundled = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in BUNDLED}
    for name in BUNDLED:
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        # Python 3.9 reads it; what it calls is below.
        tree = ast.parse((PACKAGE / name).read_text(), feature_version=(3, 9))
        for each in imported(tree):
            top = each.split(".")[0]
            if top == "nas":
                assert each in bundled | CHECKED_ONLY, f"{name} imports {each}"
            else:
                assert top in sys.stdlib_module_names | {"numpy", RUNTIMES.get(module, "numpy")}, f"{name} imports {each}"
        newer = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)} & {"slots", "kw_only", "strict"}
        assert not newer, f"{name} uses {newer}: newer than Python 3.9"


def test_the_bundle_is_the_same_whenever_it_is_packed() -> None:
    assert bundle() == bundle()
    assert len(bundle()) < 100_000


def test_the_bundle_speaks_lines_of_json_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "runner.pyz"
    path.write_bytes(bundle())
    lines = '{"id": "1", "op": "facts"}\n\nnot json\n{"id": "2", "op": "stop"}\n{"id": "3", "op": "facts"}\n'
    done = subprocess.run(
        [sys.executable, str(path), "--home", str(tmp_path / "home")], input=lines, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == ["hello", "1", "", "2"]
    assert [answer["ok"] for answer in answers] == [True, True, False, True]


def test_the_runner_ends_where_nobody_asks_any_more(tmp_path: Path) -> None:
    code = f"from nas.hardware import runner; runner._IDLE_S = 0.1; raise SystemExit(runner.main(['--home', {str(tmp_path)!r}]))"
    runner = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with runner:
        assert runner.stdin is not None
        assert runner.stdout is not None
        assert json.loads(runner.stdout.readline())["ok"]
        try:
            assert runner.wait(60) == 0  # its input is open still
        finally:
            runner.kill()


def test_a_tar_holds_its_files() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar({"a.txt": b"abc"}))) as archive:
        (member,) = archive.getmembers()
        extracted = archive.extractfile(member)
        assert extracted is not None
        assert extracted.read() == b"abc"
        assert member.mode == 0o600
