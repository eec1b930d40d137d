"""Landmark files: MeshLab's picked points (.pp), numbers (.txt), .npy and .json."""

import io
import json
import math
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from face3d.core.errors import InputError
from face3d.metric.now import FROM_IBUG51, FROM_IBUG68, FROM_MEDIAPIPE478

LANDMARK_SUFFIXES = (".pp", ".txt", ".npy", ".json")
MOST_BYTES = 1 << 20

_PICKS = {7: tuple(range(7)), 51: FROM_IBUG51, 68: FROM_IBUG68, 478: FROM_MEDIAPIPE478}


def read_landmarks(path: Path) -> Float[np.ndarray, "7 3"]:
    """The NoW protocol's seven landmarks from a file, in the file's unit.

    Args:
        path: ``.pp``, ``.txt`` (three numbers a line), ``.npy`` or ``.json`` (a list of points, a
            list under "landmarks", or points by name in order). Files with the 68 or 51 points of
            iBUG or MediaPipe's 478 are taken too: the seven are picked from them.

    Raises:
        InputError: The file is missing, of another kind, damaged, or has another number of points.
    """
    readers = {".pp": _picked_points, ".txt": _text, ".npy": _array, ".json": _json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} is no landmark file; give one that ends in {', '.join(LANDMARK_SUFFIXES)}."
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The landmark file {path} cannot be read ({error.strerror}); check the name."
        ) from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{path} is too large for a landmark file; give a file with 7 points.")
    try:
        points = np.asarray(reader(data), dtype=np.float64)
    except Exception as error:
        # numpy's and json's readers let whatever goes wrong inside them through.
        raise InputError(
            f"{path} cannot be read as landmarks; give 7 points of 3 numbers each."
        ) from error
    if points.ndim != 2 or points.shape[1] != 3 or len(points) not in _PICKS:
        raise InputError(
            f"{path} holds numbers of shape {points.shape}; give 7 points of 3 numbers each "
            "(or iBUG's 51 or 68, or MediaPipe's 478)."
        )
    chosen = points[list(_PICKS[len(points)])]
    if not np.isfinite(chosen).all():
        raise InputError(f"{path} has landmarks that are not finite numbers; pick them again.")
    return chosen


def _picked_points(data: bytes) -> list[list[float]]:
    """MeshLab's PickPoints file: an XML element ``point`` for each, in order."""
    # A pattern instead of an XML parser: nothing to expand, nothing to load.
    points: list[list[float]] = []
    for element in re.findall(r"<point\b([^>]*)>", data.decode("utf-8")):
        named = dict(re.findall(r"\b([xyz])\s*=\s*[\"']([^\"']*)[\"']", element))
        points.append([float(named[axis]) for axis in "xyz"])
    return points


def _text(data: bytes) -> list[list[float]]:
    lines = [line.replace(",", " ").split() for line in data.decode("utf-8").splitlines()]
    return [[float(word) for word in line] for line in lines if line and line[0][0] != "#"]


def _array(data: bytes) -> np.ndarray:
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"numbers are needed, not {array.dtype}")
    flat = array.reshape(-1, 3) if math.prod(array.shape) in (3 * k for k in _PICKS) else array
    return flat.astype(np.float64)


def _json(data: bytes) -> object:
    content = json.loads(data)
    if isinstance(content, dict):
        content = content.get("landmarks", content)
    return list(content.values()) if isinstance(content, dict) else content
