"""A check is a value that holds together."""

from __future__ import annotations

import pytest

from nas.compress.check import Check
from nas.errors import InputError

CHECK = Check("model.onnx", "onnxruntime 1", "fp32", 1e-6, 1.0, 3, 4)


def test_it_is_read_as_it_was_told() -> None:
    told = CHECK.to_dict()
    assert told["accuracy"] == 0.75
    assert Check.from_dict({**told, "how": "a word"}) == CHECK


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file": None}, "file of a check must be a word, got None"), ({"runtime": " "}, "runtime of a check must be a word, got ' '"),
        ({"agreement": "all"}, "agreement of a check must be a number, got 'all'"), ({"max_error": True}, "max_error .* got True"),
        ({"images": 0, "correct": 0}, "got 0 of 0"), ({"correct": 5}, "got 5 of 4"), ({"correct": 1.5}, "got 1.5 of 4"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Check.from_dict({**CHECK.to_dict(), **change})
