"""ICT-FaceKit (USC ICT, MIT): a folder of OBJ files in centimetres, read as this project's head.

Facts of the format, from ICT-VGL/ICT-FaceKit (README.md, Scripts/face_model_io.py): every shape is
a whole mesh of the same 26,719 vertices; identity modes and expressions are differences from
``generic_neutral_mesh.obj``; ``vertex_indices.json`` lists the expressions and sets of vertices;
the parts of the mesh are ranges of vertices. +x is the subject's left, +y up, +z out of the face.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from face3d.core.curves import ARKIT_52
from face3d.core.errors import AssetError
from face3d.core.npz import NpzError, read_npz
from face3d.model.data import HeadData, LandmarkEmbedding

VERTEX_COUNT = 26719

PIVOT_CM = (0.0, -1.5, 0.0)
"""Where the skull turns on the atlas, in the files' frame; it becomes the origin. The neutral mesh
has its ear canals at (+-6.5, 0.5, 1.0) cm, and the joint lies about 2 cm below and 1 cm behind."""

# The README's tables, first and last vertex.
_RANGES: dict[str, tuple[int, int]] = {
    "face": (0, 9408),
    "narrow_face": (0, 6705),
    "head_and_neck": (9409, 11247),
    "mouth_socket": (11248, 13293),
    "left_eye_socket": (13294, 13677),
    "right_eye_socket": (13678, 14061),
    "gums_and_tongue": (14062, 17038),
    "teeth": (17039, 21450),
    "upper_teeth": (17039, 19246),
    "lower_teeth": (19247, 21450),
    "left_eyeball": (21451, 23020),
    "left_sclera": (21451, 22220),
    "left_iris": (22221, 23020),
    "right_eyeball": (23021, 24590),
    "right_sclera": (23021, 23790),
    "right_iris": (23791, 24590),
    "left_lacrimal_fluid": (24591, 24794),
    "right_lacrimal_fluid": (24795, 24998),
    "left_eye_blend": (24999, 25022),
    "right_eye_blend": (25023, 25046),
    "left_eye_occlusion": (25047, 25198),
    "right_eye_occlusion": (25199, 25350),
    "left_eyelashes": (25351, 26034),
    "right_eyelashes": (26035, 26718),
}
# Sets of vertex_indices.json that become regions.
_SETS = {"rigid": "idx_to_rigid_verts", "fitting": "idx_to_fitting_verts"}
_JOINT_NAMES = ("root", "left_eye", "right_eye")
_PACK = "ict_facekit_light.npz"


def read_ict(folder: Path) -> HeadData:
    """Read the ICT Face Model Light from its ``FaceXModel`` folder.

    Halves that ARKit does not have (browInnerUp and cheekPuff, left and right) are added up to one
    shape. ICT has no tongueOut, and its eyeLook shapes move the lids only: the eyeballs turn about
    the centres of their scleras by the joints left_eye and right_eye. There is no joint for the
    neck or the jaw; the jaw opens by jawOpen. Texture coordinates lie on seven UDIM tiles.

    Args:
        folder: ``generic_neutral_mesh.obj``, ``vertex_indices.json`` and either the shapes as OBJ
            files or all of them as differences in ``ict_facekit_light.npz``.

    Returns:
        Identity in standard deviations; expressions in ARKit's order; regions from the README's
        ranges and from the file's sets; its 68 landmarks as the embedding ``ibug68``.

    Raises:
        AssetError: A file is missing or damaged, or the mesh is another one.

    Example:
        >>> head = HeadModel(read_ict(Path("ICT-FaceKit/FaceXModel")))  # doctest: +SKIP
    """
    config = _read_config(folder / "vertex_indices.json")
    neutral, faces, uv, uv_faces = _read_neutral(folder / "generic_neutral_mesh.obj")
    if (folder / "identity000.obj").exists():
        identity, shapes = _read_meshes(folder, neutral, config["expressions"])
    else:
        identity, shapes = _read_pack(folder / _PACK, config["expressions"])
    names, expressions = _arkit_shapes(folder, shapes)
    template = (neutral - PIVOT_CM) / 100
    regressor, weights = _joints(template, config["idx_to_rigid_verts"])
    return HeadData(
        name="ICT-FaceKit",
        licence="MIT",
        v_template=template,
        faces=faces,
        identity_basis=(identity / np.float32(100)).transpose(1, 2, 0),
        expression_basis=(expressions / np.float32(100)).transpose(1, 2, 0),
        pose_basis=np.zeros((VERTEX_COUNT, 3, 18), np.float32),
        joint_regressor=regressor,
        parents=np.array([-1, 0, 0]),
        joint_names=_JOINT_NAMES,
        skinning_weights=weights,
        expression_names=names,
        uv=uv,
        uv_faces=uv_faces,
        regions=_regions(config),
        embeddings={"ibug68": _landmarks(faces, config["idx_to_landmark_verts"])},
    )


def _damaged(path: Path, why: str) -> str:
    return (
        f"{path} is not ICT-FaceKit's file as published: {why}; get the folder FaceXModel again "
        "from github.com/ICT-VGL/ICT-FaceKit."
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AssetError(
            f"{path} cannot be read ({error.strerror}); give the folder FaceXModel of "
            "github.com/ICT-VGL/ICT-FaceKit."
        ) from error


def _read_numbers(path: Path, lines: Sequence[bytes], size: int) -> Float[np.ndarray, "line _"]:
    """The first ``size`` numbers of each line, after its keyword."""
    words = [line.split()[1 : size + 1] for line in lines]
    try:
        numbers = np.array(words, dtype=object).astype(np.float64).reshape(len(words), size)
    except ValueError as error:
        raise AssetError(_damaged(path, f"a line has other than {size} numbers")) from error
    if not np.isfinite(numbers).all():
        raise AssetError(_damaged(path, "it holds numbers that are NaN or infinite"))
    return numbers


def _read_vertices(path: Path, text: bytes) -> Float[np.ndarray, "vertex 3"]:
    """The vertices of an OBJ, in the order of the file."""
    lines = [line for line in text.splitlines() if line.startswith(b"v ")]
    if len(lines) != VERTEX_COUNT:
        raise AssetError(
            _damaged(path, f"it has {len(lines)} vertices where {VERTEX_COUNT} are expected")
        )
    return _read_numbers(path, lines, 3)


def _read_neutral(
    path: Path,
) -> tuple[
    Float[np.ndarray, "vertex 3"],
    Int[np.ndarray, "face 3"],
    Float[np.ndarray, "texcoord 2"],
    Int[np.ndarray, "face 3"],
]:
    """Vertices, triangles and texture coordinates; each polygon becomes a fan of triangles."""
    text = _read_bytes(path)
    vertices = _read_vertices(path, text)
    lines = text.splitlines()
    uv = _read_numbers(path, [line for line in lines if line.startswith(b"vt ")], 2)
    corners: list[tuple[bytes, ...]] = []
    for line in lines:
        if line.startswith(b"f "):
            first, *rest = line.split()[1:]
            corners += [(first, a, b) for a, b in itertools.pairwise(rest)]
    try:
        pairs = [word.split(b"/")[:2] for corner in corners for word in corner]
        indices = np.array(pairs, dtype=object).astype(np.int64).reshape(-1, 3, 2) - 1
    except ValueError as error:
        raise AssetError(_damaged(path, "a face lacks vertex or texture indices")) from error
    faces, uv_faces = indices[..., 0], indices[..., 1]
    for index, count in ((faces, len(vertices)), (uv_faces, len(uv))):
        if not (len(index) and index.min() >= 0 and index.max() < count):
            raise AssetError(_damaged(path, "a face points at something that does not exist"))
    return vertices, faces, uv, uv_faces


def _read_config(path: Path) -> dict[str, Any]:
    """The lists of vertex_indices.json that are needed, checked."""
    try:
        config = json.loads(_read_bytes(path))
    except ValueError as error:
        raise AssetError(_damaged(path, f"it is no JSON ({error})")) from error
    chosen: dict[str, Any] = {}
    for key in ("expressions", "idx_to_landmark_verts", *_SETS.values()):
        value = config.get(key) if isinstance(config, dict) else None
        kind = str if key == "expressions" else int
        if not isinstance(value, list) or not value or {type(v) for v in value} != {kind}:
            raise AssetError(_damaged(path, f"the list {key!r} is missing or holds something else"))
        chosen[key] = value
        if kind is int and not 0 <= min(value) <= max(value) < VERTEX_COUNT:
            raise AssetError(_damaged(path, f"{key!r} names vertices that do not exist"))
    if len(chosen["idx_to_landmark_verts"]) != 68:
        raise AssetError(_damaged(path, "it does not have 68 landmarks"))
    return chosen


def _read_meshes(
    folder: Path, neutral: Float[np.ndarray, "vertex 3"], expressions: Sequence[str]
) -> tuple[Float32[np.ndarray, "identity vertex 3"], dict[str, Float32[np.ndarray, "vertex 3"]]]:
    """Identity modes and expressions as differences from the neutral mesh, in centimetres."""

    def difference(path: Path) -> Float32[np.ndarray, "vertex 3"]:
        return (_read_vertices(path, _read_bytes(path)) - neutral).astype(np.float32)

    # Counted by number, so that a gap is an error and not a shorter basis.
    count = len(list(folder.glob("identity[0-9][0-9][0-9].obj")))
    identity = np.stack([difference(folder / f"identity{k:03d}.obj") for k in range(count)])
    for name in expressions:
        if not (folder / f"{name}.obj").exists():
            raise AssetError(
                _damaged(folder, f"vertex_indices.json lists {name}, but {name}.obj is missing")
            )
    return identity, {name: difference(folder / f"{name}.obj") for name in expressions}


def _read_pack(
    path: Path, expressions: Sequence[str]
) -> tuple[Float32[np.ndarray, "identity vertex 3"], dict[str, Float32[np.ndarray, "vertex 3"]]]:
    """The same differences from one npz, in centimetres."""
    if not path.exists():
        raise AssetError(
            f"{path.parent} holds neither identity000.obj nor {path.name}; give the folder "
            "FaceXModel of github.com/ICT-VGL/ICT-FaceKit."
        )
    try:
        # np.load leaves a damaged file open when it opened it itself.
        file = read_npz(path)
        names = [str(name) for name in file["expr_names"]]
        identity, shapes = file["identity_deltas"], file["expr_deltas"]
    except KeyError as error:
        raise AssetError(_damaged(path, f"it cannot be read ({error} is missing)")) from error
    except (FileNotFoundError, NpzError, TypeError) as error:
        raise AssetError(_damaged(path, str(error))) from error
    for array in (identity, shapes):
        if array.shape[1:] != (VERTEX_COUNT, 3) or array.dtype != np.float32 or not len(array):
            raise AssetError(
                _damaged(path, f"its deltas have shape {array.shape} and type {array.dtype}")
            )
        if not np.isfinite(array).all():
            raise AssetError(_damaged(path, "its deltas hold values that are NaN or infinite"))
    missing = sorted(set(expressions) - set(names))
    if missing or len(names) != len(shapes):
        raise AssetError(
            _damaged(path, f"its names do not fit its shapes (missing: {', '.join(missing)})")
        )
    return identity, {name: shapes[names.index(name)] for name in expressions}


def _arkit_shapes(
    folder: Path, shapes: Mapping[str, Float32[np.ndarray, "vertex 3"]]
) -> tuple[tuple[str, ...], Float32[np.ndarray, "expression vertex 3"]]:
    """Shapes under ARKit's names and in its order, halves of one shape added up."""
    found: dict[str, Float32[np.ndarray, "vertex 3"]] = {}
    for name, delta in shapes.items():
        base, side = (name[:-2], name[-2:]) if name[-2:] in ("_L", "_R") else (name, "")
        sided = base + {"_L": "Left", "_R": "Right", "": ""}[side]
        target = sided if sided in ARKIT_52 else base
        if target not in ARKIT_52:
            raise AssetError(
                _damaged(folder, f"vertex_indices.json lists {name}, which ARKit does not have")
            )
        found[target] = found[target] + delta if target in found else delta
    names = tuple(name for name in ARKIT_52 if name in found)
    return names, np.stack([found[name] for name in names])


def _joints(
    template: Float[np.ndarray, "vertex 3"], rigid: Sequence[int]
) -> tuple[Float[np.ndarray, "joint vertex"], Float[np.ndarray, "vertex joint"]]:
    """Where the joints are and what they carry: the eyeballs, and the root all the rest."""
    regressor = np.zeros((len(_JOINT_NAMES), VERTEX_COUNT))
    weights = np.zeros((VERTEX_COUNT, len(_JOINT_NAMES)))
    regressor[0, rigid] = _affine_weights(template[rigid], np.zeros(3))
    for joint, side in enumerate(("left", "right"), start=1):
        first, last = _RANGES[f"{side}_sclera"]
        sclera = slice(first, last + 1)
        centre = _sphere_centre(template[sclera])
        regressor[joint, sclera] = _affine_weights(template[sclera], centre)
        first, last = _RANGES[f"{side}_eyeball"]
        weights[first : last + 1, joint] = 1
    weights[:, 0] = 1 - weights[:, 1:].sum(-1)
    return regressor, weights


def _sphere_centre(points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "3"]:
    """The centre of the sphere through the points, by linear least squares."""
    mean = points.mean(0)
    p = points - mean
    # |p - c|^2 = r^2 is linear in c and in r^2 - |c|^2.
    rows = np.concatenate([2 * p, np.ones((len(p), 1))], axis=1)
    return mean + np.linalg.lstsq(rows, (p * p).sum(-1), rcond=None)[0][:3]


def _affine_weights(
    points: Float[np.ndarray, "point 3"], target: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "point"]:
    """Weights that add up to one and give ``target``, as close to equal as can be.

    Any affine change of the points, and so of an identity near enough, carries the target along.
    """
    rows = np.concatenate([points.T, np.ones((1, len(points)))])
    equal = np.full(len(points), 1 / len(points))
    missing = np.append(target, 1.0) - rows @ equal
    return equal + np.linalg.lstsq(rows, missing, rcond=None)[0]


def _regions(config: Mapping[str, Any]) -> dict[str, Bool[np.ndarray, "vertex"]]:
    numbers = np.arange(VERTEX_COUNT)
    regions = {name: (numbers >= a) & (numbers <= b) for name, (a, b) in _RANGES.items()}
    return regions | {name: np.isin(numbers, config[key]) for name, key in _SETS.items()}


def _landmarks(faces: Int[np.ndarray, "face 3"], vertices: Sequence[int]) -> LandmarkEmbedding:
    """Landmarks at vertices, as corners of the first face that has them."""
    face_index = [int((faces == vertex).any(-1).argmax()) for vertex in vertices]
    corners = faces[face_index] == np.array(vertices)[:, None]
    return LandmarkEmbedding(
        layout="ibug68",
        indices=np.arange(len(vertices)),
        face_index=np.array(face_index),
        barycentric=corners.astype(np.float64),
    )
