"""How an exported file did in its runtime, as a value. Light: files and cards tell of it without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nas.errors import InputError

__all__ = ["Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """How an exported file compares with torch in fp32 on the same images.

    Attributes:
        file: its name.
        runtime: that ran it, with its version.
        max_error: largest absolute difference of a logit.
        agreement: share of images with the same class.
        correct: images that the runtime classifies right.

    Raises:
        InputError: it does not hold together.
    """

    file: str
    runtime: str
    precision: str
    max_error: float
    agreement: float
    correct: int
    images: int

    def __post_init__(self) -> None:
        for name in ("file", "runtime", "precision"):
            if not isinstance(value := getattr(self, name), str) or not value.strip():
                raise InputError(f"{name} of a check must be a word, got {value!r}")
        for name in ("max_error", "agreement"):
            if isinstance(value := getattr(self, name), bool) or not isinstance(value, int | float):
                raise InputError(f"{name} of a check must be a number, got {value!r}")
        if type(self.correct) is not int or type(self.images) is not int or not 0 <= self.correct <= self.images or not self.images:
            raise InputError(f"a check is of images, some of them right, got {self.correct!r} of {self.images!r}")

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    def to_dict(self) -> dict[str, str | int | float]:
        return {**asdict(self), "accuracy": self.accuracy}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Check:
        """Reads `to_dict`'s form; what else is there is of the file that it lies in.

        Raises:
            InputError: naming a key that is missing.
        """
        try:
            return cls(**{field.name: data[field.name] for field in fields(cls)})
        except KeyError as exc:
            raise InputError(f"a check has {', '.join(field.name for field in fields(cls))}; {exc} is missing") from exc
