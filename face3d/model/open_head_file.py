"""Reader of heads in the project's own file: FLAME's keys in an NPZ, with names and regions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from face3d.core.errors import AssetError
from face3d.core.landmarks import LAYOUT_SIZES
from face3d.core.npz import NpzError, read_npz
from face3d.model.data import HeadData, LandmarkEmbedding

JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
REQUIRED = (
    "v_template", "f", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights",
    "identity_count", "expression_names", "joint_names",
)  # fmt: skip


def _damaged(path: Path, why: str) -> str:
    return f"{path} is not a readable head file: {why}; build or download it anew."


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path)
    except FileNotFoundError as error:
        raise AssetError(f"The head file {path} does not exist; check the path.") from error
    except NpzError as error:
        raise AssetError(_damaged(path, str(error))) from error


def _embeddings(arrays: Mapping[str, np.ndarray]) -> dict[str, LandmarkEmbedding]:
    return {
        layout: LandmarkEmbedding(
            layout=layout,
            indices=arrays[f"lmk_{layout}_indices"].astype(np.int64),
            face_index=arrays[f"lmk_{layout}_faces"].astype(np.int64),
            barycentric=arrays[f"lmk_{layout}_bary"].astype(np.float64),
        )
        for layout in LAYOUT_SIZES
        if f"lmk_{layout}_faces" in arrays
    }


def _check(path: Path, arrays: Mapping[str, np.ndarray], count: int) -> None:
    """Raise unless shapes fit each other, numbers are finite and indices are in range."""
    joints = len(arrays["joint_names"])
    faces = len(arrays["f"]) if arrays["f"].ndim else 0
    shapes: dict[str, tuple[int, ...]] = {
        "f": (faces, 3),
        "posedirs": (count, 3, 9 * (joints - 1)),
        "J_regressor": (joints, count),
        "kintree_table": (2, joints),
        "weights": (count, joints),
    }
    if "vt" in arrays:
        shapes |= {"vt": (len(arrays["vt"]), 2), "ft": (faces, 3)}
    if "symmetry" in arrays:
        shapes["symmetry"] = (count,)
    for key, shape in shapes.items():
        if key not in arrays or arrays[key].shape != shape:
            raise AssetError(_damaged(path, f"{key} is missing or has not the shape {shape}"))
    limits = {"f": count, "symmetry": count, "ft": len(arrays.get("vt", ()))}
    limits |= {key: count for key in arrays if key.startswith("region_")}
    limits |= {key: faces for key in arrays if key.startswith("lmk_") and key.endswith("_faces")}
    for key, limit in limits.items():
        index = arrays.get(key, np.zeros(0, dtype=np.int64))
        if index.dtype.kind not in "iu" or (
            index.size and not 0 <= index.min() <= index.max() < limit
        ):
            raise AssetError(_damaged(path, f"{key} holds indices out of range"))
    for key, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise AssetError(_damaged(path, f"{key} holds values that are NaN or infinite"))
    unknown = {str(n) for n in arrays["joint_names"]} - set(JOINTS)
    if unknown:
        raise AssetError(_damaged(path, f"it has joints called {', '.join(sorted(unknown))}"))
    parents = arrays["kintree_table"][0].astype(np.int64)
    if any(not 0 <= parents[k] < k for k in range(1, joints)):
        raise AssetError(_damaged(path, f"its joints have the parents {parents.tolist()}"))
    if (arrays["weights"].sum(1) <= 0).any():
        raise AssetError(_damaged(path, "a vertex has no skinning weight"))


def read_open_head(path: Path, *, name: str = "open head", licence: str = "CC0-1.0") -> HeadData:
    """Read the open head, or any head saved in its layout.

    Args:
        path: An NPZ with FLAME's keys and ``identity_count``, the number of identity columns that
            stand before the expression columns in ``shapedirs``.
        name: What to call the head in messages.
        licence: SPDX name of the data's licence.

    Raises:
        AssetError: The file is missing, damaged, or lacks a key.
    """
    arrays = _load(path)
    if "params.shape" in arrays:
        raise AssetError(f"{path} holds the parameters of a head; read it with face3d.load.")
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise AssetError(f"{path} lacks the keys {', '.join(missing)}; it is not a head file.")
    template = arrays["v_template"]
    if template.ndim != 2 or template.shape[1] != 3 or arrays["identity_count"].shape != ():
        raise AssetError(_damaged(path, f"v_template has shape {template.shape}"))
    count = template.shape[0]
    identity_count = int(arrays["identity_count"])
    basis = arrays["shapedirs"].astype(np.float64)
    expression_names = tuple(str(n) for n in arrays["expression_names"])
    if basis.shape[:2] != (count, 3) or basis.shape[2] != identity_count + len(expression_names):
        raise AssetError(
            f"{path} has shapedirs of shape {basis.shape}; {count} vertices, {identity_count} "
            f"identity and {len(expression_names)} expression columns need "
            f"({count}, 3, {identity_count + len(expression_names)})."
        )
    _check(path, arrays, count)
    parents = arrays["kintree_table"][0].astype(np.int64)
    parents[0] = -1
    weights = arrays["weights"].astype(np.float64)

    def mask(indices: np.ndarray) -> np.ndarray:
        out = np.zeros(count, dtype=bool)
        out[indices.astype(np.int64)] = True
        return out

    prefix = "region_"
    return HeadData(
        name=name,
        licence=licence,
        v_template=arrays["v_template"].astype(np.float64),
        faces=arrays["f"].astype(np.int64),
        identity_basis=basis[..., :identity_count],
        expression_basis=basis[..., identity_count:],
        pose_basis=arrays["posedirs"].astype(np.float64),
        joint_regressor=arrays["J_regressor"].astype(np.float64),
        parents=parents,
        joint_names=tuple(str(n) for n in arrays["joint_names"]),
        # Stored in single precision; the sums must be one to the last bit of ours.
        skinning_weights=weights / weights.sum(1, keepdims=True),
        expression_names=expression_names,
        uv=arrays["vt"].astype(np.float64) if "vt" in arrays else None,
        uv_faces=arrays["ft"].astype(np.int64) if "ft" in arrays else None,
        regions={
            k.removeprefix(prefix): mask(v) for k, v in arrays.items() if k.startswith(prefix)
        },
        symmetry=arrays["symmetry"].astype(np.int64) if "symmetry" in arrays else None,
        embeddings=_embeddings(arrays),
        identity_axes={
            str(n): row.astype(np.float64)
            for n, row in zip(arrays.get("axis_names", []), arrays.get("axes", []))
        },
    )
