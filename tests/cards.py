"""What a card tells, for tests: a network with its files, and how it came about."""

from __future__ import annotations

from nas.architecture import Architecture
from nas.compress.check import Check
from nas.metrics import Candidate, Metric
from nas.search.card import CardFacts, Description, Origin
from nas.target import Target

RUNS = (
    ("model.dynamic.onnx", "onnxruntime 1", "fp32", 360), ("model.onnx", "onnxruntime 1", "fp32", 256),
    ("model.xml", "openvino 2", "fp32", 360),
    ("model.int8.onnx", "onnxruntime 1", "int8", 360), ("model.int8.onnx", "openvino 2", "int8", 360),
)  # fmt: skip
ARCHITECTURE = Architecture("mobilenet_tiny", (("resolution", 32),), (("s1.b1.mid", 8),))
MODEL = Description(
    ("ant", "bee"), 32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), "static QDQ",
    tuple(Check(file, runtime, precision, 1.5e-6, 0.9975, 250, images) for file, runtime, precision, images in RUNS),
    ARCHITECTURE,
)  # fmt: skip
FILES = ("model.dynamic.onnx", "model.onnx", "model.xml", "model.int8.onnx", "labels.txt")
UNMEASURED = "latency of model.onnx not measured: it throttled"
CANDIDATE = Candidate(
    ARCHITECTURE,
    Target("raspberrypi4", "onnxruntime", "1", "fp32", 1),
    {
        "macs": Metric(5, "MAC", "counted"),
        "latency_s": Metric(0.1, "s", "predicted", low=0.05, high=0.15),
        "latency_measured_s": Metric(0.2, "s", "measured"),
        "accuracy_test": Metric(0.7, "1", "trained", std=0.02),
        "accuracy_test_int8": Metric(0.5, "1", "trained", std=0.1),
    },
)
FACTS = CardFacts("32px  24: 3e4", "insects", "0123456789abcdef", "fine-tuned for 3 epochs", UNMEASURED, metrics=CANDIDATE.metrics)
"""As an earlier version wrote it, without the id of its candidate."""
ORIGIN = Origin("another", {"macs": (6, 5), "latency_s": (0.2, 0.1), "accuracy_test_int8": (0.4, 0.5)})


def described(model: Description) -> dict[str, object]:
    """As a finalist's architecture.json has it."""
    said = {"size": model.size, "folded_mean": list(model.mean), "folded_std": list(model.std)}
    checks = [check.to_dict() for check in model.checks]
    known = {"schema": 1, "architecture": model.architecture.to_dict(), "classes": list(model.classes), "preprocessing": said}
    return {**known, "int8": model.int8, "checks": checks}
