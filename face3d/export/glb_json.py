"""Strict access to a JSON document from a file that may be damaged."""

import json
import math
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Float

from face3d.core import AssetError


class Cursor:
    """A value of a JSON document and where it stands.

    Every method raises AssetError when the value is not what was asked for, so a damaged
    document can neither crash its reader nor make it look outside the file.
    """

    def __init__(self, value: object, path: Path, place: str = "") -> None:
        self._value = value
        self._path = path
        self.place = place

    def fail(self, what: str) -> NoReturn:
        """Raise with the file, the place in it and ``what`` is wrong there."""
        where = self.place or "its JSON part"
        raise AssetError(
            f"{self._path} is damaged or was not written by face3d: {where} {what}; "
            "export the head again."
        )

    def find(self, key: str) -> "Cursor | None":
        """The member of an object, or None where there is no such member."""
        if not isinstance(self._value, dict):
            self.fail("is not an object")
        if key not in self._value:
            return None
        return Cursor(self._value[key], self._path, f"{self.place}.{key}".removeprefix("."))

    def get(self, key: str) -> "Cursor":
        """The member of an object."""
        member = self.find(key)
        if member is None:
            self.fail(f"has no {key}")
        return member

    def items(self) -> "list[Cursor]":
        """The entries of an array."""
        if not isinstance(self._value, list):
            self.fail("is not an array")
        return [
            Cursor(value, self._path, f"{self.place}[{number}]")
            for number, value in enumerate(self._value)
        ]

    def pick(self, link: "Cursor") -> "Cursor":
        """The entry of an array whose number ``link`` holds."""
        if not isinstance(self._value, list):
            self.fail("is not an array")
        number = link.integer(below=len(self._value))
        return Cursor(self._value[number], self._path, f"{self.place}[{number}]")

    def members(self) -> "dict[str, Cursor]":
        """The members of an object by name."""
        if not isinstance(self._value, dict):
            self.fail("is not an object")
        return {key: self.get(key) for key in self._value}

    def integer(self, below: int = 2**32) -> int:
        """A whole number from zero to ``below``, exclusive."""
        value = self._value
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
            self.fail(f"is not a whole number from 0 to {below - 1}")
        return value

    def number(self) -> float:
        """A finite number."""
        value = self._value
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
            return float(value)
        if not isinstance(value, float) or not math.isfinite(value):
            self.fail("is not a finite number")
        return value

    def text(self) -> str:
        """A string."""
        if not isinstance(self._value, str):
            self.fail("is not a text")
        return self._value

    def scalar(self) -> str | int | float:
        """A string or a finite number."""
        if isinstance(self._value, int) and not isinstance(self._value, bool):
            return self._value
        return self._value if isinstance(self._value, str) else self.number()

    def numbers(self, count: int) -> Float[np.ndarray, "entry"]:
        """An array of ``count`` finite numbers."""
        values = [item.number() for item in self.items()]
        if len(values) != count:
            self.fail(f"has {len(values)} numbers, not {count}")
        return np.array(values, dtype=np.float64)


def parse_json(data: bytes, path: Path) -> Cursor:
    """The document in ``data``; ``path`` is the file that messages name.

    Raises:
        AssetError: The bytes are not JSON.
    """
    root = Cursor(None, path)
    try:
        return Cursor(json.loads(data), path)
    except (ValueError, RecursionError):
        root.fail("is not valid JSON")
