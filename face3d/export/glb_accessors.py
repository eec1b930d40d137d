"""The container of a GLB file, read without trusting any number in it.

Only what face3d.export.glb_buffers writes is understood; everything else is an AssetError.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from face3d.export.glb_buffers import (
    BINARY_CHUNK,
    COMPONENT_DTYPES,
    ELEMENT_SIZES,
    JSON_CHUNK,
    MAGIC,
    VERSION,
)
from face3d.export.glb_json import Cursor, parse_json


@dataclass(frozen=True, kw_only=True)
class GlbParts:
    """The two halves of a file."""

    root: Cursor
    data: memoryview


def parts_from_glb(content: bytes, path: Path) -> GlbParts:
    """Take the header and the two chunks apart.

    Args:
        content: The whole file.
        path: What messages call it.

    Raises:
        AssetError: A length or a mark is wrong, or the JSON part is not JSON.
    """
    whole = Cursor(None, path, "its header")
    if len(content) < 20:
        whole.fail("is cut off")
    magic, version, total, json_length, json_kind = struct.unpack_from("<IIIII", content)
    if magic != MAGIC:
        whole.fail("does not start with glTF, so it is no GLB file")
    if version != VERSION or total != len(content) or json_kind != JSON_CHUNK:
        whole.fail(f"states version {version} and {total} bytes, but {len(content)} are there")
    start = 20 + json_length
    if start + 8 > len(content):
        whole.fail("states a JSON part that is longer than the file")
    binary_length, binary_kind = struct.unpack_from("<II", content, start)
    if binary_kind != BINARY_CHUNK or start + 8 + binary_length != len(content):
        whole.fail("states a binary part that does not end where the file does")
    root = parse_json(content[20:start], path)
    data = memoryview(content)[start + 8 :]
    buffer_length = only(root, "buffers").get("byteLength").integer()
    if not len(data) - 4 < buffer_length <= len(data):
        whole.fail("and the JSON part disagree on the size of the binary part")
    return GlbParts(root=root, data=data[:buffer_length])


def only(root: Cursor, key: str) -> Cursor:
    """The single entry of an array."""
    entries = root.get(key).items()
    if len(entries) != 1:
        root.get(key).fail(f"has {len(entries)} entries, not one")
    return entries[0]


def view_bytes(parts: GlbParts, link: Cursor) -> memoryview:
    """The bytes of the buffer view whose number ``link`` holds."""
    view = parts.root.get("bufferViews").pick(link)
    start, length = view.get("byteOffset").integer(), view.get("byteLength").integer()
    if start + length > len(parts.data):
        view.fail("reaches beyond the binary part")
    return parts.data[start : start + length]


def accessor_values(
    parts: GlbParts, link: Cursor, kind: str, *, integer: bool = False, count: int | None = None
) -> Shaped[np.ndarray, "element component"]:
    """The rows of the accessor whose number ``link`` holds.

    Args:
        parts: The file.
        link: The number of the accessor.
        kind: Its type, such as VEC3.
        integer: Whether it must hold whole numbers; otherwise finite float32.
        count: How many rows it must have, if that is known. Only then may it be sparse: nothing
            else bounds the memory that a sparse accessor asks for.

    Raises:
        AssetError: The accessor is not as asked for, or reaches outside the file.
    """
    accessor = parts.root.get("accessors").pick(link)
    if accessor.get("type").text() != kind:
        accessor.fail(f"is not a {kind}")
    size, rows = ELEMENT_SIZES[kind], accessor.get("count").integer()
    if rows == 0 or count not in {None, rows}:
        accessor.fail(f"has {rows} entries, not {count or 'one or more'}")
    component, sparse = accessor.get("componentType"), accessor.find("sparse")
    if sparse is None:
        values = _stored(parts, accessor.get("bufferView"), component, rows, size)
    elif count is None:
        accessor.fail("is sparse")
    else:
        values = np.zeros((rows, size), dtype=np.float32)
        places, moved = _sparse(parts, sparse, component, size)
        if int(places.max()) >= rows:
            sparse.fail("names an entry that does not exist")
        values[places] = moved
    if (values.dtype.kind != "f") != integer:
        accessor.fail("holds the wrong kind of number")
    if not integer and not np.isfinite(values).all():
        accessor.fail("holds values that are NaN or infinite")
    return values


def _stored(
    parts: GlbParts, link: Cursor, component: Cursor, count: int, size: int
) -> Shaped[np.ndarray, "element component"]:
    """``count`` rows of ``size`` numbers that fill a buffer view exactly."""
    number = component.integer()
    if number not in COMPONENT_DTYPES:
        component.fail("is a type of number that face3d does not write")
    dtype = np.dtype(COMPONENT_DTYPES[number])
    data = view_bytes(parts, link)
    if count * size * dtype.itemsize != len(data):
        link.fail(f"leads to {len(data)} bytes, which are not those of {count} entries")
    return np.frombuffer(data, dtype=dtype).reshape(count, size).copy()


def _sparse(
    parts: GlbParts, sparse: Cursor, component: Cursor, size: int
) -> tuple[Int[np.ndarray, "element"], Shaped[np.ndarray, "element component"]]:
    """The numbers of the rows that a sparse accessor sets, and these rows."""
    count, index = sparse.get("count").integer(), sparse.get("indices")
    if count == 0 or component.integer() != 5126:
        sparse.fail("has no entries or none of float32")
    places = _stored(parts, index.get("bufferView"), index.get("componentType"), count, 1)
    if places.dtype.kind != "u":
        index.fail("are not whole numbers")
    view = sparse.get("values").get("bufferView")
    return places[:, 0].astype(np.int64), _stored(parts, view, component, count, size)
