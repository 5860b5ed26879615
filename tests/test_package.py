"""The package as a device sees it: light to import, and public names that exist."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nas

HEAVY = {
    "fastapi",
    "matplotlib",
    "mlflow",
    "onnxruntime",
    "openvino",
    "optuna",
    "pandas",
    "plotly",
    "pyarrow",
    "ray",
    "scipy",
    "sklearn",
    "torch",
}


def loaded(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`, which must end well."""
    tail = "\nimport json, sys\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code + tail, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_nas_loads_nothing_heavy() -> None:
    assert not loaded("import nas") & HEAVY


@pytest.mark.parametrize("arguments", [("--help",), ("devices",)])
def test_commands_of_a_device_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code = "from nas.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    assert not loaded(code, *arguments) & {"fastapi", "mlflow", "ray", "sklearn", "torch"}


def test_public_names_are_sorted_and_exist() -> None:
    assert nas.__all__ == sorted(nas.__all__)
    assert len(set(nas.__all__)) == len(nas.__all__)
    assert not [name for name in nas.__all__ if not hasattr(nas, name)]


def test_the_base_install_has_what_reads_pictures() -> None:
    """`nas run` classifies with it."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(each.startswith("pillow") for each in project["dependencies"])
    assert not any(each.startswith(("torch", "mlflow", "scikit-learn", "ray", "fastapi")) for each in project["dependencies"])
