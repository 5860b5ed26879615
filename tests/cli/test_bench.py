"""nas bench: what it refuses before anything runs."""

from __future__ import annotations

import pytest

from nas.cli import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scoring", "--host"), "--host is for predictor"),
        (("scoring", "--write"), "--write is for priors"),
        (("scoring", "--pieces", "1"), "--pieces is for cifar10, fidelity"),
        (("scorings",), "did you mean scoring"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(("bench", *arguments))
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err
