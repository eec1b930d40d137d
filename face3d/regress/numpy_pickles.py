"""Arrays of numpy in files of torch, made without numpy's own way of unpickling.

torch's reader calls whatever it is allowed to with arguments from the file. numpy's functions are
not made for that: ``ndarray`` takes a buffer as pointers to objects. So plain classes stand in for
them that keep bytes, shape and a type of number, check that these agree, and make the array then.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from jaxtyping import Shaped

NUMBERS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"b1", "f2", "f4", "f8"}
MOST_DEPTH = 50
"""Of dictionaries and lists within each other."""


class PickledArrayError(Exception):
    """A file's array is not what numpy would have written."""


class _Dtype:
    def __init__(self, code: object, *_: object) -> None:
        if code not in NUMBERS:
            raise PickledArrayError(f"an array of {str(code)[:20]!r}")
        self.code, self.order = str(code), "<"

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise PickledArrayError("an array of an unknown type")
        self.order = "<" if order in ("|", "=") else str(order)

    def values(self, raw: object, count: int) -> Shaped[np.ndarray, "..."]:
        kind = np.dtype(self.order + self.code)
        if not isinstance(raw, bytes) or len(raw) != count * kind.itemsize:
            raise PickledArrayError("an array whose size is not that of its numbers")
        return np.frombuffer(raw, kind).astype(kind.newbyteorder("="))


class _Array:
    value: Shaped[np.ndarray, "..."] | None = None

    def __init__(self, *_: object) -> None:
        raise PickledArrayError("an array over a buffer")

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickledArrayError("an array without its numbers")
        _, shape, kind, columns_first, raw = cast("tuple[Any, ...]", state)
        whole = isinstance(shape, tuple) and all(
            type(side) is int and 0 <= side <= 1 << 40 for side in shape
        )
        if not whole or len(shape) > 8 or not isinstance(kind, _Dtype):
            raise PickledArrayError("an array of an unknown shape or type")
        values = kind.values(raw, math.prod(shape))
        self.value = values.reshape(shape, order="F" if columns_first else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array.__new__(_Array)


def _scalar(kind: object, raw: object = None) -> object:
    if not isinstance(kind, _Dtype):
        raise PickledArrayError("a number of an unknown type")
    return kind.values(raw, 1)[0].item()


def _encode(text: object, coding: object = None) -> bytes:
    if not isinstance(text, str) or coding != "latin1":
        raise PickledArrayError("bytes in an unknown coding")
    return text.encode("latin1")


def _bytes(*given: object) -> bytes:
    """Pickles make empty bytes so, and no others."""
    if given:
        raise PickledArrayError("bytes in an unknown coding")
    return b""


STAND_INS: dict[str, Any] = {
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    "numpy.ndarray": _Array, "numpy.dtype": _Dtype, "_codecs.encode": _encode,
    "builtins.bytes": _bytes, "__builtin__.bytes": _bytes,
}  # fmt: skip
"""By the names that pickles have for numpy's own."""


def with_arrays(value: object, depth: int = 0) -> Any:
    """The same dictionaries and lists with arrays where stand-ins are.

    Raises:
        PickledArrayError: An array was begun and not filled, or something holds itself.
    """
    if depth > MOST_DEPTH:
        raise PickledArrayError("something that holds itself")
    if isinstance(value, _Array):
        if value.value is None:
            raise PickledArrayError("an array without its numbers")
        return value.value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {key: with_arrays(inner, depth + 1) for key, inner in items}
    if isinstance(value, list | tuple):
        found = [with_arrays(inner, depth + 1) for inner in cast("list[Any]", value)]
        return found if isinstance(value, list) else tuple(found)
    return value
