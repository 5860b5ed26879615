"""A module imports from its own floor or below, lazily too, and each heavy library has a home (the layout of the design in a test)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "nas"
FLOORS = (
    "architecture errors metrics target",
    "channels config cost decoding events files matching ops passwords plugins resources space space_file yaml_file",
    "hardware models",
    "compress hardware.export training",
    "search",
    "report",
    "bench classify diagnosis estimating exporting finishing ledger measuring opening picturing pipeline precision prediction preparation "
    "provenance pruning recording remaining rounds schedule supernet targets testing",
    "__main__ cli service",
)
HOMES = {
    "codecarbon": "report.footprint",
    "fastapi": "service",
    "jinja2": "report.pages",
    "matplotlib": "report.canvas report.figures report.impact_figure report.macs_energy report.predicted report.roofline",
    "mlflow": "report.tracking bench.tracking",
    "moocore": "search",
    "onnx": "compress hardware.export hardware.onnx_file hardware.onnx_shapes",
    "onnxruntime": "hardware.runtimes hardware.export compress bench.check_export",
    "openvino": "hardware.runtimes hardware.export compress bench.check_export",
    "optuna": "search",
    "pandas": "report.record",
    "PIL": "training classify bench.check_export",
    "playwright": "bench.page",
    "plotly": "report.front_page",
    "pycountry": "report.grid",
    "pyarrow": "report.record bench search.evaluators.tabular",
    "ray": "search.executors bench.chaos",
    "nncf": "compress",
    "safetensors": "models training",
    "scipy": "hardware.additive hardware.evaluation search training.data bench",
    "sklearn": "hardware.fitting hardware.predictor search training.data",
    "torch": "models training compress hardware.export search.evaluators bench.steps",
    "typer": "cli",
}
VAGUE = {"common", "core", "helpers", "utils"}


def lies_in(module: str, home: str) -> bool:
    return module == f"nas.{home}" or module.startswith(f"nas.{home}.")


def floor(module: str) -> int | None:
    """Of the longest name that fits; `nas` itself only re-exports, from floor 1 or below."""
    fitting = [(len(home), number) for number, homes in enumerate(FLOORS) for home in homes.split() if lies_in(module, home)]
    return 1 if module == "nas" else max(fitting)[1] if fitting else None


def imports(source: str, known: set[str], package: str) -> Iterator[str]:
    """Full names of all that a module imports, anywhere in it; a submodule where one is meant."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: package.count(".") + 2 - node.level]) if node.level else ""
            base = ".".join(filter(None, (above, node.module)))
            yield from (f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names)


def guilty(module: str, imported: str) -> str | None:
    library = imported.split(".")[0]
    if library != "nas":
        fits = library not in HOMES or any(lies_in(module, home) for home in HOMES[library].split())
        return None if fits else f"{module} imports {imported}: {library} belongs to {HOMES[library]}"
    here, there = floor(module), floor(imported)
    if module == "nas":  # the public face names what is loaded when it is asked for
        return None
    if here is None or there is None:  # said once, by the test of the floors themselves
        return None
    return None if there <= here else f"{module} (floor {here}) imports {imported} (floor {there})"


def modules() -> dict[str, tuple[Path, str]]:
    """Module name to its file and its package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        package = ".".join(parts[:-1])
        found[package if parts[-1] == "__init__" else ".".join(parts)] = (path, package)
    return found


def test_every_module_is_on_a_floor() -> None:
    assert not [name for name in modules() if floor(name) is None]


def test_every_import_goes_down_and_every_library_stays_at_home() -> None:
    known = modules()
    errors = [
        error
        for module, (path, package) in sorted(known.items())
        for imported in imports(path.read_text(encoding="utf-8"), set(known), package)
        if (error := guilty(module, imported))
    ]
    assert not errors, "\n".join(errors)


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [name for name in modules() if set(name.split(".")) & VAGUE]


def test_a_guilty_import_is_named_however_it_is_written() -> None:
    source = "def f():\n    from nas.search import engine\n    import torch.nn\n    from ..report import plots\n    from nas import cli\n"
    known = {"nas.search.engine", "nas.report.plots", "nas.cli"}
    errors = [guilty("nas.hardware.profile", imported) for imported in imports(source, known, "nas.hardware")]
    assert errors == [
        "nas.hardware.profile (floor 2) imports nas.search.engine (floor 4)",
        "nas.hardware.profile imports torch.nn: torch belongs to models training compress hardware.export search.evaluators bench.steps",
        "nas.hardware.profile (floor 2) imports nas.report.plots (floor 5)",
        "nas.hardware.profile (floor 2) imports nas.cli (floor 7)",
    ]
