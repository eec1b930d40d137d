"""Smooth functions over the skin: what albedo may do where shading must say the form."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Float
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from torch import Tensor

from face3d.model import HeadData

SMOOTH_MODES = 30

HIDDEN = ("eyes", "eye_sockets", "mouth_interior", "teeth", "gums", "tongue", "brows", "scalp")
"""What the albedo model does not describe: hair and what is no skin."""


@dataclass(frozen=True, kw_only=True)
class AlbedoBasis:
    """Functions of the vertices."""

    modes: Float[Tensor, "vertex mode"]  # of the logarithm of albedo
    skin: Float[Tensor, "vertex"]  # one where the model holds


BEARD_STRENGTH = 2.0
"""Of a beard's spread over that of other albedo."""


def _beard(data: HeadData) -> Float[np.ndarray, "vertex"]:
    """How likely hair grows on a face: nowhere above the nose's foot, fully below the lips."""
    if not {"nose", "lips"} <= set(data.regions):
        return np.zeros(len(data.v_template))
    height = data.v_template[:, 1]
    top, mouth = height[data.regions["nose"]].min(), height[data.regions["lips"]].mean()
    return BEARD_STRENGTH * np.clip((top - height) / (top - mouth), 0, 1)


def albedo_basis(data: HeadData) -> AlbedoBasis:
    """The smoothest functions on the skin, the lips, and where beards grow.

    Eigenvectors of the graph Laplacian of the largest connected part, which are as smooth as that
    many functions can be (Taubin, 1995), and zero elsewhere.
    """
    count = len(data.v_template)
    skin = np.array(data.regions.get("skin", np.ones(count, dtype=bool)))
    edges = np.concatenate([data.faces[:, [0, 1]], data.faces[:, [1, 2]], data.faces[:, [2, 0]]])
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    graph = ((graph + graph.T) > 0).astype(np.float64)
    kept = np.flatnonzero(skin)
    _, label = connected_components(graph[kept][:, kept])
    kept = kept[label == np.bincount(label).argmax()]
    part = graph[kept][:, kept]
    degree = sparse.diags(np.asarray(part.sum(1)).ravel())
    laplacian = (degree - part).tocsc()
    start = np.ones(len(kept))  # eigsh would start at random
    _, vectors = eigsh(laplacian, k=SMOOTH_MODES, M=degree.tocsc(), sigma=-1e-6, v0=start)
    modes = np.zeros((count, SMOOTH_MODES + 2))
    modes[kept, :SMOOTH_MODES] = vectors / np.abs(vectors).max(axis=0)
    if "lips" in data.regions:
        modes[:, SMOOTH_MODES] = data.regions["lips"]
    modes[:, SMOOTH_MODES + 1] = _beard(data) * skin
    shown = np.array(data.regions.get("face", skin))
    for name in HIDDEN:
        if name in data.regions:
            shown &= ~data.regions[name]
    return AlbedoBasis(modes=torch.tensor(modes).float(), skin=torch.tensor(shown).float())
