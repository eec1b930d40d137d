"""FLAME files: Python-2 pickles read as data, without chumpy, scipy or running what they ask for.

A pickle is a program: it names functions and has them called. FLAME's official files need a dozen
names, all of which only rebuild arrays. So every name that is allowed stands here for a record that
keeps what it was given, no name leads to real code, and the arrays are rebuilt from the records
afterwards, field by field. A file that names anything else is refused.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float, Int, Shaped

from face3d.core.errors import AssetError
from face3d.core.landmarks import LAYOUT_SIZES
from face3d.core.npz import NpzError, read_npy, read_npz
from face3d.model.data import HeadData, LandmarkEmbedding

VERTEX_COUNT, FACE_COUNT, IDENTITY_COUNT, EXPRESSION_COUNT = 5023, 9976, 300, 100
EYELIDS = ("eyelidLeft", "eyelidRight")
"""Sizes of every FLAME since 2019; identity fills the first 300 columns of shapedirs."""

_SHAPES: dict[str, tuple[int, ...]] = {
    "v_template": (VERTEX_COUNT, 3),
    "f": (FACE_COUNT, 3),
    "J_regressor": (5, VERTEX_COUNT),
    "kintree_table": (2, 5),
    "weights": (VERTEX_COUNT, 5),
    "posedirs": (VERTEX_COUNT, 3, 36),
    "shapedirs": (VERTEX_COUNT, 3, IDENTITY_COUNT + EXPRESSION_COUNT),
}
_ALIASES = {
    "v_template": ("default_v", "template_v"),
    "J_regressor": ("joint_regressor",),
    "posedirs": ("blendshapes",),
}
_INTEGERS = {"f", "kintree_table"}

# An official file has 55 MB and about a thousand opcodes. The limits keep a small hostile file
# from asking for much memory, or for tuples nested deeper than the C stack.
_MOST_BYTES, _MOST_OPCODES = 1 << 30, 10_000
_MOST_WEIGHT = 1_000_000
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
# Persistent ids, the copyreg extension registry, protocol 1's instances and protocol 4's keyword
# arguments reach code by ways that find_class does not see or that no FLAME file takes.
_REFUSED_OPCODES = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ_EX"}


class _Sealed(type):
    """The class of records: a pickle can set attributes of what it names, but not of these."""

    def __setattr__(cls, name: str, value: object) -> NoReturn:
        raise pickle.UnpicklingError(f"it sets {name} on a class")


class _Record(metaclass=_Sealed):
    """What a pickle asked for, kept and not done."""

    __slots__ = ("args", "state")
    kind = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: object) -> "_Record":
        record = object.__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: object) -> None:
        self.state = state


def _record_of(kind: str) -> type[_Record]:
    return _Sealed(kind, (_Record,), {"__slots__": (), "kind": kind})


# Spelled as the files spell them: Python 2 and 3, numpy before and after 2.0, scipy before and
# after 1.8. `set` and `object` are what a pickled chumpy array refers to.
_KIND_OF_GLOBAL = {
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy._core.multiarray", "_reconstruct"): "array",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("scipy.sparse.csc", "csc_matrix"): "csc",
    ("scipy.sparse._csc", "csc_matrix"): "csc",
    ("scipy.sparse.csr", "csr_matrix"): "csr",
    ("scipy.sparse._csr", "csr_matrix"): "csr",
    ("chumpy.ch", "Ch"): "chumpy",
    ("_codecs", "encode"): "encode",
    ("copy_reg", "_reconstructor"): "reconstructor",
    ("copyreg", "_reconstructor"): "reconstructor",
    ("__builtin__", "object"): "object",
    ("builtins", "object"): "object",
    ("__builtin__", "set"): "set",
    ("builtins", "set"): "set",
}
_RECORD_OF_KIND = {kind: _record_of(kind) for kind in set(_KIND_OF_GLOBAL.values())}


class _Unpickler(pickle.Unpickler):
    """An unpickler for which the only callables are classes of records."""

    def find_class(self, module: str, name: str, /) -> type[_Record]:
        # A dotted name of protocol 4 would be an attribute path; here it is just not in the table.
        kind = _KIND_OF_GLOBAL.get((module, name))
        if kind is None:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no FLAME file needs")
        return _RECORD_OF_KIND[kind]


def read_flame(
    path: Path,
    *,
    landmark_embedding: Path | None = None,
    eyelids: tuple[Path, Path] | None = None,
) -> HeadData:
    """Read FLAME 2020, 2023 or 2023 Open from its official pickle.

    Nothing in the file is run, and chumpy is not needed. FLAME's units and axes are this
    project's, so the numbers are the file's own. The codes of the 2020 and 2023 heads are not
    interchangeable.

    Args:
        path: ``generic_model.pkl``, ``flame2023.pkl``, ``flame2023_Open.pkl`` or a copy.
        landmark_embedding: ``mediapipe_landmark_embedding.npz``, where it is at hand.
        eyelids: ``l_eyelid.npy`` and ``r_eyelid.npy``, which trackers of FLAME share, where they
            are at hand.

    Returns:
        300 identity and 100 expression directions, four joints below the root. With eyelids two
        more expressions, EYELIDS, which close them at one.

    Raises:
        AssetError: The file is missing, damaged, asks for code to be run, or lacks a key.

    Example:
        >>> head = HeadModel(read_flame(Path("generic_model.pkl")))  # doctest: +SKIP
    """
    entries = _load_entries(path)
    arrays = {key: _entry(path, entries, key) for key in _SHAPES}
    parents = _parents(path, arrays["kintree_table"])
    faces = arrays["f"]
    if faces.min() < 0 or faces.max() >= VERTEX_COUNT:
        raise AssetError(_damaged(path, "f points at vertices that do not exist"))
    embeddings: dict[str, LandmarkEmbedding] = {}
    if landmark_embedding is not None:
        embeddings["mediapipe478"] = _read_mediapipe_embedding(landmark_embedding)
    name, licence = _name_and_licence(path)
    expressions = arrays["shapedirs"][..., IDENTITY_COUNT:]
    names = tuple(f"expression_{k:03d}" for k in range(EXPRESSION_COUNT))
    if eyelids is not None:
        lids = [_read_eyelid(lid) for lid in eyelids]
        expressions = np.concatenate([expressions, np.stack(lids, axis=-1)], axis=-1)
        names = (*names, *EYELIDS)
    return HeadData(
        name=name,
        licence=licence,
        v_template=arrays["v_template"],
        faces=faces,
        identity_basis=arrays["shapedirs"][..., :IDENTITY_COUNT],
        expression_basis=expressions,
        pose_basis=arrays["posedirs"],
        joint_regressor=arrays["J_regressor"],
        parents=parents,
        joint_names=("root", "neck", "jaw", "left_eye", "right_eye"),
        skinning_weights=arrays["weights"],
        expression_names=names,
        embeddings=embeddings,
    )


def _read_eyelid(path: Path) -> Float[np.ndarray, "vertex 3"]:
    try:
        offsets = read_npy(path)
    except (OSError, NpzError) as error:
        raise AssetError(f"{path} cannot be read; download it again or remove it.") from error
    if offsets.shape != (VERTEX_COUNT, 3) or offsets.dtype.kind != "f":
        raise AssetError(f"{path} holds no eyelid of FLAME; download it again or remove it.")
    return offsets.astype(np.float64)


def _damaged(path: Path, why: str) -> str:
    return (
        f"{path} is not a FLAME model as published: {why}; download it again from "
        "flame.is.tue.mpg.de."
    )


def _name_and_licence(path: Path) -> tuple[str, str]:
    """The file does not say which FLAME it is; its published name does."""
    stem = path.stem.casefold()
    if stem == "flame2023_open":
        return "FLAME 2023 Open", "CC-BY-4.0"
    name = {"generic_model": "FLAME 2020", "flame2023": "FLAME 2023"}.get(stem, "FLAME")
    return name, "FLAME licence of the Max Planck Institute, as accepted by the user"


def _load_entries(path: Path) -> Mapping[str, Any]:
    """The dictionary of the file, with records in the place of everything but plain values."""
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise AssetError(_damaged(path, f"it has {size} bytes"))
        raw = path.read_bytes()
    except OSError as error:
        raise AssetError(
            f"{path} cannot be read ({error.strerror}); give the path of the FLAME model that you "
            "downloaded from flame.is.tue.mpg.de."
        ) from error
    try:
        _scan_opcodes(raw)
        entries = _Unpickler(io.BytesIO(raw), encoding="latin1").load()
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError),
        *(LookupError, ArithmeticError, RecursionError, MemoryError),
    ) as error:
        raise AssetError(
            _damaged(path, f"it is no pickle that can be read safely ({error})")
        ) from error
    if not isinstance(entries, dict) or not all(isinstance(key, str) for key in entries):
        raise AssetError(_damaged(path, "it does not hold a dictionary of names"))
    return entries


class _Weights:
    """How many parts the objects on a pickle's stack have when what they share is counted anew.

    A tuple of twice the same tuple, and so on, takes a few bytes, and for ever to hash.
    """

    def __init__(self) -> None:
        self._stack: list[int] = []  # -1 is a mark
        self._memo: dict[int, int] = {}

    def take(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Follow one opcode; raise ValueError once an object unfolds to too many parts."""
        before, after = opcode.stack_before, opcode.stack_after
        if opcode.name in {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}:
            place = len(self._memo) if opcode.name == "MEMOIZE" else argument
            self._memo[place] = self._stack[-1] if self._stack else 1
            return
        total = 1
        if pickletools.markobject in before:
            while self._stack and (weight := self._stack.pop()) >= 0:
                total += weight
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            total += self._stack.pop() if self._stack else 0
        if total > _MOST_WEIGHT:
            raise ValueError("its objects unfold to more than memory holds")
        if opcode.name in {"GET", "BINGET", "LONG_BINGET"}:
            total = self._memo.get(argument, 1)
        mark = opcode.name == "MARK"
        self._stack += [-1 if mark else total] * len(after)


def _scan_opcodes(raw: bytes) -> None:
    """Raise ValueError unless the pickle is whole, short and uses harmless opcodes only.

    The unpickler believes lengths and memo indices, so a few bytes could make it allocate
    gigabytes; here they are compared with what is there before it runs.
    """
    stream = io.BytesIO(raw)
    weights = _Weights()
    for count in range(_MOST_OPCODES):
        opcode = _OPCODES.get(stream.read(1).decode("latin1"))
        if opcode is None:
            raise ValueError("it is truncated or no pickle")
        if opcode.name in _REFUSED_OPCODES or opcode.proto > 4:
            raise ValueError(f"it uses the opcode {opcode.name}")
        argument: Any = None
        if opcode.name == "STRING":
            # pickletools expects ASCII, but protocol 0 keeps the bytes of arrays in such lines.
            argument = stream.readline()
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)
        if opcode.name in {"PUT", "BINPUT", "LONG_BINPUT"} and argument > count:
            raise ValueError("its memo indices are out of order")
        weights.take(opcode, argument)
        if opcode.name == "STOP":
            return
    raise ValueError(f"it has more than {_MOST_OPCODES} opcodes")


def _entry(path: Path, entries: Mapping[str, Any], key: str) -> Shaped[np.ndarray, "..."]:
    """An entry as an array of the shape and kind that FLAME gives it."""
    found = [name for name in (key, *_ALIASES.get(key, ())) if name in entries]
    if not found:
        raise AssetError(_damaged(path, f"the key {key!r} is missing"))
    value, shape = entries[found[0]], _SHAPES[key]
    try:
        array = _array(value, shape)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise AssetError(
            _damaged(path, f"the key {key!r} holds no readable array ({error})")
        ) from error
    if array.shape != shape:
        raise AssetError(
            _damaged(path, f"the key {key!r} has shape {array.shape} where {shape} is expected")
        )
    kinds = "iu" if key in _INTEGERS else "f"
    if array.dtype.kind not in kinds:
        raise AssetError(_damaged(path, f"the key {key!r} has the wrong type {array.dtype}"))
    if kinds == "f" and not np.isfinite(array).all():
        raise AssetError(_damaged(path, f"the key {key!r} holds values that are NaN or infinite"))
    return array.astype(np.int64) if kinds == "iu" else array


def _parents(path: Path, kintree_table: Int[np.ndarray, "2 5"]) -> Int[np.ndarray, "5"]:
    """Parents of the joints; the files mark the root with 2**32 - 1 or with -1."""
    parents = kintree_table[0].copy()
    parents[0] = -1
    if parents.tolist() != [-1, 0, 1, 1, 1]:
        raise AssetError(_damaged(path, f"kintree_table names the parents {parents.tolist()}"))
    return parents


def _kind(value: object) -> str:
    """The kind of a record; one that copyreg was to make is of the kind of its class."""
    if not isinstance(value, _Record):
        return ""
    if value.kind == "reconstructor":
        made = value.args[0]
        return made.kind if isinstance(made, type) and issubclass(made, _Record) else ""
    return value.kind


def _array(value: Any, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    """The array that a record stands for: plain, wrapped by chumpy, or sparse of ``shape``."""
    kind = _kind(value)
    if kind == "chumpy":
        # A leaf keeps its value as x; chumpy's expressions keep operands, and no file has those.
        value, kind = value.state["x"], _kind(value.state["x"])
    if kind in {"csc", "csr"}:
        return _dense(value.state, shape, by_column=kind == "csc")
    if kind == "array":
        _, size, dtype, fortran, raw = value.state
        return _numbers(dtype, tuple(map(_integer, size)), raw, fortran=bool(fortran))
    raise TypeError(f"found {kind or type(value).__name__}")


def _integer(value: Any) -> int:
    if _kind(value) == "scalar":
        dtype, raw = value.args
        value = _numbers(dtype, (), raw, fortran=False).item()
    if not isinstance(value, int) or value < 0:
        raise ValueError("a size is not a whole number")
    return value


def _numbers(
    dtype: Any, shape: tuple[int, ...], raw: Any, *, fortran: bool
) -> Shaped[np.ndarray, "..."]:
    """An array from its type, sizes and bytes, in native byte order and writable."""
    if _kind(raw) == "encode" and raw.args[1:] in (("latin1",), ("latin-1",)):
        raw = raw.args[0]  # how Python 3 spells bytes in protocols 0 to 2
    if isinstance(raw, str):
        raw = raw.encode("latin1")  # how Python 2's str arrives
    code = dtype.args[0]
    if _kind(dtype) != "dtype" or not re.fullmatch("f[248]|[iu][1248]", code):
        raise ValueError(f"the element type {code!r} is no number")
    order = dtype.state[1] if dtype.state is not None and dtype.state[1] in ("<", ">") else "="
    element = np.dtype(order + code)
    if not isinstance(raw, bytes) or math.prod(shape) * element.itemsize != len(raw):
        raise ValueError("its bytes do not fit its shape")
    array: Any = np.ndarray(shape, element, raw, order="F" if fortran else "C")
    return array.astype(element.newbyteorder("="), order="C")


def _dense(
    state: Any, shape: tuple[int, ...], *, by_column: bool
) -> Float[np.ndarray, "row column"]:
    """A scipy matrix in compressed columns (or rows) as a plain one."""
    stored = tuple(map(_integer, state["_shape"] if "_shape" in state else state["shape"]))
    if stored != shape:
        raise ValueError(f"it has shape {stored} where {shape} is expected")
    values, minor, pointer = (_array(state[key], ()) for key in ("data", "indices", "indptr"))
    dense = np.zeros(shape[::-1] if by_column else shape)
    counts = np.diff(pointer.astype(np.int64))
    major = np.arange(dense.shape[0])
    fits = pointer.shape == (len(major) + 1,) and pointer[0] == 0 and bool((counts >= 0).all())
    if not fits or not pointer[-1] == len(values) == len(minor):
        raise ValueError("its column pointers do not fit its values")
    if len(minor) and (minor.min() < 0 or minor.max() >= dense.shape[1]):
        raise ValueError("its indices are out of range")
    np.add.at(dense, (np.repeat(major, counts), minor), values)
    return dense.T.copy() if by_column else dense


def _read_mediapipe_embedding(path: Path) -> LandmarkEmbedding:
    """MediaPipe's landmarks on FLAME, from the npz that SMIRK and metrical-tracker share."""
    keys = ("landmark_indices", "lmk_face_idx", "lmk_b_coords")
    try:
        file = read_npz(path)
        points, faces, weights = (file[key] for key in keys)
    except (FileNotFoundError, NpzError, KeyError) as error:
        raise AssetError(
            f"{path} is no landmark embedding with the arrays {', '.join(keys)} ({error}); give "
            "mediapipe_landmark_embedding.npz."
        ) from error
    size = LAYOUT_SIZES["mediapipe478"]
    count = len(points) if points.ndim == 1 else -1
    if faces.shape != (count,) or weights.shape != (count, 3) or len(np.unique(points)) != count:
        why = f"has shapes {points.shape}, {faces.shape} and {weights.shape}"
    elif any(a.dtype.kind not in "iu" for a in (points, faces)) or weights.dtype.kind != "f":
        why = "holds other types than whole indices and real weights"
    elif not (count and 0 <= points.min() <= points.max() < size and faces.min() >= 0):
        why = f"names points that are not in 0..{size - 1}"
    elif faces.max() >= FACE_COUNT or not np.allclose(weights.sum(-1), 1, atol=1e-3):
        why = "names places that are not on FLAME's surface"
    else:
        order = np.argsort(points)
        return LandmarkEmbedding(
            layout="mediapipe478",
            indices=points[order].astype(np.int64),
            face_index=faces[order].astype(np.int64),
            barycentric=weights[order].astype(np.float64),
        )
    raise AssetError(
        f"The landmark embedding {path} {why}; give mediapipe_landmark_embedding.npz as published."
    )
