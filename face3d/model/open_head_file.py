"""Reader of heads in the project's own file: FLAME's keys in an NPZ, with names and regions."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from face3d.core.errors import AssetError
from face3d.core.landmarks import LAYOUT_SIZES
from face3d.model.data import HeadData, LandmarkEmbedding

REQUIRED = (
    "v_template", "f", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights",
    "identity_count", "expression_names", "joint_names",
)  # fmt: skip


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise AssetError(f"The head file {path} does not exist; check the path.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise AssetError(
            f"{path} is not a readable head file; build or download it anew."
        ) from error


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
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise AssetError(f"{path} lacks the keys {', '.join(missing)}; it is not a head file.")
    count = arrays["v_template"].shape[0]
    identity_count = int(arrays["identity_count"])
    basis = arrays["shapedirs"].astype(np.float64)
    expression_names = tuple(str(n) for n in arrays["expression_names"])
    if basis.shape[:2] != (count, 3) or basis.shape[2] != identity_count + len(expression_names):
        raise AssetError(
            f"{path} has shapedirs of shape {basis.shape}; {count} vertices, {identity_count} "
            f"identity and {len(expression_names)} expression columns need "
            f"({count}, 3, {identity_count + len(expression_names)})."
        )
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
