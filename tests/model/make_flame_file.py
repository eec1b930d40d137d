"""Writes pickles in the form of the official FLAME files, with made-up geometry.

Three spellings: Python 2's protocol 2 with numpy 1's, scipy's and chumpy's names and arrays
wrapped by chumpy (FLAME 2020), the same with plain arrays (FLAME 2023), and protocol 0. The
classes that a file names need not be installed: stand-ins carry their names while it is written.
"""

import io
import pickle
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

VERTICES, FACES, JOINTS = 5023, 9976, 5
CHUMPY_KEYS = ("v_template", "shapedirs", "posedirs", "J")


def make_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """The entries of a FLAME dictionary: random, but with true shapes, joints and weights."""
    random = np.random.default_rng(seed)
    weights = random.random((VERTICES, JOINTS)) ** 4
    template = random.normal(scale=0.1, size=(VERTICES, 3))
    regressor = np.zeros((JOINTS, VERTICES))
    for joint in range(JOINTS):
        near = random.choice(VERTICES, 30, replace=False)
        regressor[joint, near] = random.dirichlet(np.ones(30))
    # Single precision spread over double: quick to draw, and still no two numbers alike.
    shapes = random.random((VERTICES, 3, 400), np.float32).astype(np.float64) - 0.5
    return {
        "v_template": template,
        "f": random.integers(0, VERTICES, (FACES, 3)).astype(np.uint32),
        "shapedirs": shapes * 1e-3,
        "posedirs": (random.random((VERTICES, 3, 36)) - 0.5) * 1e-3,
        "J_regressor": regressor,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
        "weights": weights / weights.sum(-1, keepdims=True),
        "J": regressor @ template,
    }


def write_flame(
    path: Path,
    arrays: dict[str, np.ndarray],
    *,
    chumpy: bool = False,
    protocol: int = 2,
    rows: bool = False,
) -> Path:
    """Write a file of the official form.

    Args:
        path: Where to.
        arrays: From make_arrays; J_regressor is stored sparse.
        chumpy: Whether the arrays that FLAME 2020 wraps are wrapped.
        protocol: 2 is what Python 2 wrote; 0 and 4 occur in copies.
        rows: Whether the sparse matrix is kept by rows, under scipy's newer module names.
    """
    with _stand_ins() as (wrapped, by_column, by_row):
        entries: dict[str, Any] = dict(arrays) | {"bs_style": "lbs", "bs_type": "lrotmin"}
        if "J_regressor" in arrays and arrays["J_regressor"].ndim == 2:
            matrix = by_row if rows else by_column
            entries["J_regressor"] = matrix(arrays["J_regressor"])
        if chumpy:
            entries |= {key: wrapped(arrays[key]) for key in CHUMPY_KEYS if key in arrays}
        path.write_bytes(dump_like_python2(entries, protocol))
    return path


class _Python2Pickler(pickle._Pickler):
    """Writes bytes and text as Python 2's str, which is how its arrays keep their numbers."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value: bytes | str) -> None:
        raw = value if isinstance(value, bytes) else value.encode("ascii")
        if self.proto == 0:
            # Python 3's b'..' without the b is Python 2's '..', escapes and quotes included.
            self.write(pickle.STRING + repr(raw)[1:].encode("ascii") + b"\n")
        elif len(raw) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(raw)]) + raw)
        else:
            self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)
        self.memoize(value)

    dispatch[bytes] = save_string
    dispatch[str] = save_string


def dump_like_python2(entries: object, protocol: int) -> bytes:
    """Pickle with the names and strings of Python 2 and numpy 1; protocol 4 is Python 3's own."""
    if protocol > 2:
        return pickle.dumps(entries, protocol=protocol)
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=protocol, fix_imports=True).dump(entries)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


@contextmanager
def _stand_ins():
    """Classes that pickle themselves as chumpy.ch.Ch and as scipy's matrices."""

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.x, self._dirty_vars, self._itr, self._depends_on_deps = x, set(), None, {}

    class csc_matrix:
        def __init__(self, dense: np.ndarray) -> None:
            column, row = np.nonzero(dense.T)
            self._keep(dense, dense[row, column], row, column, dense.shape[1])

        def _keep(self, dense, data, minor, major, count):
            counts = np.bincount(major, minlength=count)
            self.data, self.indices = data, minor.astype(np.int32)
            self.indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
            self._shape, self.maxprint = dense.shape, 50

    class csr_matrix(csc_matrix):
        def __init__(self, dense: np.ndarray) -> None:
            row, column = np.nonzero(dense)
            self._keep(dense, dense[row, column], column, row, dense.shape[0])

    places = {"chumpy.ch": Ch, "scipy.sparse.csc": csc_matrix, "scipy.sparse._csr": csr_matrix}
    modules = {name: ModuleType(name) for name in places}
    modules |= {name: ModuleType(name) for name in ("chumpy", "scipy", "scipy.sparse")}
    before = {name: sys.modules.get(name) for name in modules}
    for name, made in places.items():
        made.__module__, made.__qualname__ = name, made.__name__
        setattr(modules[name], made.__name__, made)
        parent, _, child = name.rpartition(".")
        setattr(modules[parent], child, modules[name])
    try:
        sys.modules.update(modules)
        yield Ch, csc_matrix, csr_matrix
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def globals_of(raw: bytes) -> set[str]:
    """The names that a pickle refers to, as spelled in it."""
    names: set[str] = set()

    class Anything:
        def __new__(cls, *_: object):
            return object.__new__(cls)

        def __setstate__(self, state: object) -> None:
            pass

    class Lister(pickle.Unpickler):
        def find_class(self, module: str, name: str):
            names.add(f"{module}.{name}")
            return Anything

    Lister(io.BytesIO(raw), encoding="latin1").load()
    return names
