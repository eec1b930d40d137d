"""GNM Head v3: Google's npz (github.com/google/GNM, Apache-2.0) read as this project's head.

Facts of the format, from google/GNM (gnm/shape/gnm_data_schema.py, gnm_common.py, gnm_xnp.py):
bases have the component first and are scaled to one standard deviation; joint places are the
template's plus an identity basis of their own; pose correctives take R - I of every joint, the
root's included, row by row; skinning weights and vertex groups have the vertex last. Metres, +x to
the subject's left, +y up, +z out of the face, so no axis changes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from face3d.core.errors import AssetError
from face3d.core.npz import NpzError, read_npz
from face3d.model.data import HeadData

_JOINTS = ("neck", "head", "left_eye", "right_eye")
_JOINT_NAMES = ("root", "neck", "left_eye", "right_eye")
"""GNM names a joint after what it carries; here the one that turns the skull is the neck."""

# Names stand for sizes that have to agree with each other; "3 vertex" is a product.
_AXES: dict[str, tuple[str | int, ...]] = {
    "template_vertex_positions": ("vertex", 3),
    "template_joint_positions": (len(_JOINTS), 3),
    "vertex_identity_basis": ("identity", "vertex", 3),
    "joint_identity_basis": ("identity", len(_JOINTS), 3),
    "expression_basis": ("expression", "vertex", 3),
    "expression_names": ("expression",),
    "joint_names": (len(_JOINTS),),
    "joint_parent_indices": (len(_JOINTS),),
    "skinning_weights": (len(_JOINTS), "vertex"),
    "triangles": ("face", 3),
    "triangle_uvs": ("face", 3, 2),
    "mirror_indices": ("vertex",),
    "joint_regressor": (len(_JOINTS), "vertex"),
    "pose_correctives_regressor": (9 * len(_JOINTS), "3 vertex"),
    "vertex_groups": ("group", "vertex"),
    "vertex_group_names": ("group",),
    "version": (),
    "variant": (),
}
_TEXTS = {"expression_names", "joint_names", "vertex_group_names", "version", "variant"}
_INTEGERS = {"joint_parent_indices", "triangles", "mirror_indices"}

_REGRESSOR_TOLERANCE_M, _JOINT_TOLERANCE_M = 1e-6, 1e-5


def read_gnm(path: Path) -> HeadData:
    """Read the GNM Head v3 file ``gnm_head.npz``.

    The origin moves to the template's head joint, where the skull turns on the neck. GNM has no
    jaw joint: the jaw opens by the ``lower_face_region`` expressions. Its neck joint, which moves
    the whole head, is the root here. Expressions are statistical directions, not ARKit shapes.

    Args:
        path: The npz as Google publishes it; any version 3 of the variant "head".

    Returns:
        253 identity and 383 expression directions in the published file, in single precision as
        stored. Regions are the file's vertex groups where their weight is above one half.

    Raises:
        AssetError: The file is missing, damaged, not GNM Head v3, or contradicts itself.

    Example:
        >>> head = HeadModel(read_gnm(Path("gnm_head.npz")))  # doctest: +SKIP
    """
    arrays = _load(path)
    version, variant = (str(arrays[key].item()) for key in ("version", "variant"))
    if version.split(".")[0] != "3" or variant != "head":
        raise AssetError(_damaged(path, f"it says version {version!r} and variant {variant!r}"))
    parents = _check_meaning(path, arrays)
    origin = arrays["template_joint_positions"][parents[_JOINTS.index("left_eye")]].astype(float)
    template = arrays["template_vertex_positions"].astype(float) - origin
    uv, uv_faces = _indexed_uv(arrays["triangle_uvs"])
    count = len(template)
    correctives = arrays["pose_correctives_regressor"].reshape(-1, count, 3)
    return HeadData(
        name=f"GNM Head {version}",
        licence="Apache-2.0",
        v_template=template,
        faces=arrays["triangles"],
        identity_basis=arrays["vertex_identity_basis"].transpose(1, 2, 0),
        expression_basis=arrays["expression_basis"].transpose(1, 2, 0),
        # The root's nine rows fall away: the root never turns here, the world does.
        pose_basis=correctives[9:].transpose(1, 2, 0),
        joint_regressor=_joint_regressor(path, arrays, template, origin),
        parents=parents,
        joint_names=_JOINT_NAMES,
        skinning_weights=arrays["skinning_weights"].T,
        expression_names=tuple(map(str, arrays["expression_names"])),
        uv=uv,
        uv_faces=uv_faces,
        regions=_regions(arrays),
        symmetry=arrays["mirror_indices"],
    )


def _damaged(path: Path, why: str) -> str:
    return (
        f"{path} is not GNM Head v3 as published: {why}; download gnm_head.npz again from "
        "huggingface.co/google/gnm-v3."
    )


def _load(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays that are needed, with shapes that fit each other."""
    try:
        file = read_npz(path)
    except FileNotFoundError as error:
        raise AssetError(
            f"{path} does not exist; download gnm_head.npz from huggingface.co/google/gnm-v3."
        ) from error
    except NpzError as error:
        raise AssetError(_damaged(path, str(error))) from error
    missing = sorted(set(_AXES) - set(file))
    arrays = {key: file[key] for key in _AXES if key in file}
    if missing:
        raise AssetError(_damaged(path, f"the arrays {', '.join(missing)} are missing"))
    sizes: dict[str, int] = {}
    for key, array in arrays.items():
        _check_shape(path, key, array, sizes)
        kinds = "U" if key in _TEXTS else "iu" if key in _INTEGERS else "f"
        if array.dtype.kind not in kinds:
            raise AssetError(_damaged(path, f"{key} has the wrong type {array.dtype}"))
        if kinds == "f" and not np.isfinite(array).all():
            raise AssetError(_damaged(path, f"{key} holds values that are NaN or infinite"))
        arrays[key] = array.astype(np.int64) if kinds == "iu" else array
    return arrays


def _check_shape(
    path: Path, key: str, array: Shaped[np.ndarray, "..."], sizes: dict[str, int]
) -> None:
    """Compare a shape with the axes it should have; a size is fixed by the first that has it."""
    axes = _AXES[key]
    wanted: list[int | None] = []
    for axis, size in zip(axes, array.shape, strict=False):
        if isinstance(axis, int):
            wanted.append(axis)
        elif axis == "3 vertex":
            wanted.append(3 * sizes["vertex"])
        else:
            wanted.append(sizes.setdefault(axis, size))
    if len(axes) != array.ndim or tuple(wanted) != array.shape:
        raise AssetError(
            _damaged(path, f"{key} has shape {array.shape} where {axes} with {sizes} is expected")
        )


def _check_meaning(path: Path, arrays: Mapping[str, Any]) -> Int[np.ndarray, "joint"]:
    """Check what the numbers say, and return the parents with -1 for the root."""
    names = tuple(map(str, arrays["joint_names"]))
    if names != _JOINTS:
        raise AssetError(_damaged(path, f"it has the joints {names} where {_JOINTS} are expected"))
    parents = arrays["joint_parent_indices"].copy()
    # GNM never looks at the root's own entry, which may be -1 or the root itself.
    if parents[0] not in (-1, 0) or any(not 0 <= parents[j] < j for j in (1, 2, 3)):
        raise AssetError(_damaged(path, f"its joints have the parents {parents.tolist()}"))
    parents[0] = -1
    if parents[2] != parents[3]:
        raise AssetError(_damaged(path, "its eyes hang on different joints"))
    count = len(arrays["template_vertex_positions"])
    for key in ("triangles", "mirror_indices"):
        if arrays[key].min() < 0 or arrays[key].max() >= count:
            raise AssetError(_damaged(path, f"{key} points at vertices that do not exist"))
    if not np.allclose(arrays["skinning_weights"].sum(0), 1, atol=1e-3):
        raise AssetError(_damaged(path, "its skinning weights do not add up to one"))
    return parents


def _joint_regressor(
    path: Path,
    arrays: Mapping[str, Any],
    template: Float[np.ndarray, "vertex 3"],
    origin: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "joint vertex"]:
    """Weights of the vertices that give the joints of every identity.

    GNM evaluates joints by a basis of their own. The file's regressor is kept where it agrees with
    that; otherwise it gets the smallest change that makes it agree for the template and for each
    identity direction, and that makes each row add up to one, so that joints move with the head.
    """
    joints = len(_JOINTS)
    identity = arrays["vertex_identity_basis"].astype(float)
    rows = np.concatenate(
        [
            template.T,
            identity.transpose(0, 2, 1).reshape(-1, len(template)),
            np.ones((1, len(template))),
        ]
    )
    places = (arrays["template_joint_positions"] - origin)[None]
    wanted = np.concatenate([places, arrays["joint_identity_basis"].astype(float)])
    wanted = np.concatenate(
        [wanted.transpose(1, 0, 2).reshape(joints, -1), np.ones((joints, 1))], axis=-1
    )
    regressor = arrays["joint_regressor"].astype(float)
    error = wanted - regressor @ rows.T
    if np.abs(error).max() <= _REGRESSOR_TOLERANCE_M:
        return regressor
    # The rows span metres to micrometres; without scaling the small ones would drown.
    norms = np.linalg.norm(rows, axis=-1)
    norms[norms == 0] = 1
    scaled = rows / norms[:, None]
    inverse = np.linalg.pinv(scaled @ scaled.T, rcond=1e-12, hermitian=True)
    regressor = regressor + (error / norms) @ inverse @ scaled
    if np.abs(wanted - regressor @ rows.T).max() > _JOINT_TOLERANCE_M:
        raise AssetError(_damaged(path, "its joints do not follow its vertices"))
    return regressor


def _indexed_uv(
    corners: Float[np.ndarray, "face 3 2"],
) -> tuple[Float[np.ndarray, "texcoord 2"], Int[np.ndarray, "face 3"]]:
    """Texture coordinates once each, from one per corner; the file's v points up already.

    Each part (skin, eyes, teeth, tongue) has a layout of its own that fills the unit square.
    """
    uv, index = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    return uv, index.reshape(-1, 3).astype(np.int64)


def _regions(arrays: Mapping[str, Any]) -> dict[str, Bool[np.ndarray, "vertex"]]:
    names = map(str, arrays["vertex_group_names"])
    return {name: weights > 0.5 for name, weights in zip(names, arrays["vertex_groups"])}
