"""Speaks with a runner through any command, and checks what it answers: that a kind of device is served, without its times.

    python scripts/check_runner.py HOME COMMAND...

e.g. qemu-aarch64-static -L ROOT ROOT/usr/bin/python3 {home}/runner.pyz --home {home}

The runner's file and two small models, fp32 and int8, are put into HOME; "{home}" in the command stands for it. Exit status 0: all held.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from nas.compress.quantize import quantize, random_images
from nas.config import MeasureProtocol
from nas.hardware.export import export_blocks
from nas.hardware.measurement import Measurement
from nas.hardware.transports.bundle import bundle
from nas.hardware.transports.link import Link
from nas.space import load_space

ANSWER_S = 300.0


def ask(link: Link, job: dict[str, Any]) -> dict[str, Any]:
    """Sends a job, prints its answer in short."""
    started = time.monotonic()
    link.send(job)
    answer = link.receive(job["id"], ANSWER_S)
    shown = {key: value for key, value in answer.items() if key not in ("measurement", "id")}
    print(f"{job['id']:<14} {time.monotonic() - started:5.1f} s  {shown}"[:400])
    return answer


def prepare(home: Path) -> None:
    """The runner and the models."""
    (home / "models").mkdir(parents=True, exist_ok=True)
    (home / "runner.pyz").write_bytes(bundle())
    space = load_space("mobilenet_tiny")
    for name, arch in (("small", space.smallest), ("large", space.largest)):
        blocks = space.decode(arch)
        export_blocks(blocks, home / "models" / f"{name}.onnx")
        images = random_images((1, blocks[0].in_chs, blocks[0].in_size, blocks[0].in_size))
        quantize(home / "models" / f"{name}.onnx", home / "models" / f"{name}.int8.onnx", images)
    (home / "models" / "broken.onnx").write_bytes((home / "models" / "small.onnx").read_bytes()[:1000])


def main() -> int:
    home = Path(sys.argv[1]).resolve()
    command = [part.replace("{home}", str(home)) for part in sys.argv[2:]]
    prepare(home)
    protocol = MeasureProtocol(windows=3, window_s=0.2, max_drift=3.0, max_repeats=20).model_dump(mode="json")
    link = Link(command)
    held = []
    try:
        hello = link.receive("hello", ANSWER_S)
        print(f"hello          {hello}")
        held.append(bool(hello.get("ok")) and "onnxruntime" in hello["runtimes"])
        facts = ask(link, {"id": "facts", "op": "facts"})
        held.append(facts["facts"]["machine"] == hello["machine"])
        for precision, suffix in (("fp32", ".onnx"), ("int8", ".int8.onnx")):
            what = {"runtime": "onnxruntime", "model": f"large{suffix}", "threads": 1}
            found = ask(link, {"id": f"inspect {precision}", "op": "inspect", **what})
            job = {"id": f"measure {precision}", "op": "measure", **what, "anchor": f"small{suffix}", "protocol": protocol}
            first, again = ask(link, job), ask(link, job)
            measured = Measurement.from_dict(first["measurement"])
            print(f"               {len(measured.samples_s)} runs in {len(measured.windows_s)} windows, {len(measured.rejected)} rejected")
            held += [found["precision"] == precision == first["precision"], len(measured.windows_s) >= 2, bool(first["peak_memory_bytes"])]
            held += [bool(again.get("kept")), again["measurement"] == first["measurement"]]
        broken = ask(link, {"id": "broken", "op": "inspect", "runtime": "onnxruntime", "model": "broken.onnx", "threads": 1})
        held.append(broken.get("kind") == "model")
    finally:
        link.close()
    print(f"{sum(held)} of {len(held)} checks held")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
