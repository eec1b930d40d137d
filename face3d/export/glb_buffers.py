"""The binary part of a GLB file and the views and accessors that describe it.

Section numbers are those of the glTF 2.0 specification (Khronos, 2021).
"""

import json
import struct

import numpy as np
from jaxtyping import Float, Shaped

from face3d.core import InputError

Json = dict[str, object]

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
MAGIC, VERSION, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
COMPONENT_DTYPES: dict[int, str] = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
"""The component types that face3d writes, by glTF's numbers; all little endian."""
ELEMENT_SIZES: dict[str, int] = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
"""Numbers per element of each accessor type."""

_COMPONENT_OF = {np.dtype(dtype): number for number, dtype in COMPONENT_DTYPES.items()}
_TYPE_OF = {size: name for name, size in ELEMENT_SIZES.items()}


def smallest_index_dtype(count: int) -> str:
    """The dtype for indices below ``count``; the highest value of each is kept free (3.7.2.1)."""
    return "<u2" if count <= np.iinfo(np.uint16).max else "<u4"


class GlbBuffers:
    """Collects arrays and writes down where they are.

    Every array gets a view of its own, because index, vertex and animation data must not share
    one and a view per array costs only some JSON.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[Json] = []
        self.accessors: list[Json] = []

    def add_view(self, data: bytes, *, target: int | None = None) -> int:
        """Append bytes, aligned to four as every component type needs (3.6.2.4)."""
        self.data.extend(bytes(-len(self.data) % 4))
        view: Json = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        self.data.extend(data)
        return len(self.views) - 1

    def _add(self, accessor: Json) -> int:
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add(
        self,
        values: Shaped[np.ndarray, "element *component"],
        *,
        target: int | None = None,
        bounds: bool = False,
    ) -> int:
        """Append an array as it is; its dtype must be one of COMPONENT_DTYPES.

        Args:
            values: One row per element; a flat array makes SCALAR elements.
            target: What a graphics card will use it for, if anything.
            bounds: Whether to write the lowest and highest value of each column.

        Returns:
            The number of the accessor.
        """
        rows = values.reshape(values.shape[0], -1)
        accessor: Json = {
            "bufferView": self.add_view(np.ascontiguousarray(values).tobytes(), target=target),
            "componentType": _COMPONENT_OF[values.dtype],
            "count": values.shape[0],
            "type": _TYPE_OF[rows.shape[1]],
        }
        return self._add(accessor | (_bounds(rows) if bounds else {}))

    def add_displacements(
        self, values: Float[np.ndarray, "element 3"], *, sparse: bool, bounds: bool
    ) -> int:
        """Append a morph target, storing only its non-zero rows where that is smaller (3.6.2.3).

        A target that is zero everywhere still stores one row: some readers cannot take an
        accessor with neither a view nor a sparse part, although it would be valid.

        Returns:
            The number of the accessor.
        """
        moved = np.flatnonzero((values != 0).any(axis=-1))
        moved = moved if moved.size else np.zeros(1, dtype=np.int64)
        indices = moved.astype(smallest_index_dtype(values.shape[0]))
        stored = np.ascontiguousarray(values[moved])
        if not sparse or indices.nbytes + stored.nbytes >= values.nbytes:
            return self.add(values, target=ARRAY_BUFFER, bounds=bounds)
        accessor: Json = {
            "componentType": _COMPONENT_OF[values.dtype],
            "count": values.shape[0],
            "type": "VEC3",
            "sparse": {
                "count": moved.size,
                "indices": {
                    "bufferView": self.add_view(indices.tobytes()),
                    "componentType": _COMPONENT_OF[indices.dtype],
                },
                "values": {"bufferView": self.add_view(stored.tobytes())},
            },
        }
        return self._add(accessor | (_bounds(values) if bounds else {}))


def _bounds(rows: Shaped[np.ndarray, "element component"]) -> Json:
    """The lowest and highest value per column; Python's floats print a float32 exactly."""
    return {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}


def glb_from_parts(document: Json, data: bytes) -> bytes:
    """A whole file: header, JSON padded with spaces and binary data padded with zeros (4.4).

    Raises:
        InputError: The file would be longer than the 4 GiB that its header can state.
    """
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    encoded = text.encode()
    encoded += b" " * (-len(encoded) % 4)
    data += bytes(-len(data) % 4)
    total = 12 + 8 + len(encoded) + 8 + len(data)
    if total >= 2**32:
        raise InputError(
            f"The GLB would have {total} bytes, over its limit of 4 GiB; cut the take."
        )
    header = struct.pack("<III", MAGIC, VERSION, total)
    json_header = struct.pack("<II", len(encoded), JSON_CHUNK)
    return header + json_header + encoded + struct.pack("<II", len(data), BINARY_CHUNK) + data
