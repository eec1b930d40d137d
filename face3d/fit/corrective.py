"""Form that a head's identity basis cannot say: smooth offsets along the normals of the face.

A Gaussian process over the face, as in Lüthi et al. (2018), cut to its first eigenfunctions. They
stand beside the identity components as more columns of the basis, so that whatever fits identity
fits them too, and their prior keeps them at zero where nothing speaks for another form.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import eigsh
from scipy.spatial import KDTree

from face3d.model import HeadData
from face3d.render import vertex_normals

MODES = 40
SPREAD_M, REACH_M = 1.0e-3, 22e-3
"""Standard deviation of the offsets, and over which distance they are alike. Scans of faces differ
from the nearest open head by about half of the first; the fit counts priors of identity at 0.6."""

RIM_M = 15e-3
"""Over which the offsets fade out towards the face's border."""

STILL = ("eyes", "mouth_interior", "teeth", "gums", "tongue")


def corrective_modes(data: HeadData) -> Float[np.ndarray, "vertex 3 mode"]:
    """Offsets of one standard deviation each, metres; none for a head without a face region.

    Args:
        data: With regions ``face`` and ``skin``.
    """
    count = len(data.v_template)
    if not {"face", "skin"} <= set(data.regions):
        return np.zeros((count, 3, 0))
    face = data.regions["face"] & data.regions["skin"]
    for name in STILL:
        if name in data.regions:
            face = face & ~data.regions[name]
    outside = data.v_template[data.regions["skin"] & ~data.regions["face"]]
    index = np.flatnonzero(face)
    places = data.v_template[index]
    weight = np.clip(KDTree(outside).query(places)[0] / RIM_M, 0, 1)
    squared = ((places[:, None] - places[None]) ** 2).sum(-1)
    kernel = SPREAD_M**2 * np.exp(-squared / (2 * REACH_M**2)) * weight[:, None] * weight
    # eigsh would start at random.
    values, vectors = eigsh(kernel, k=MODES, v0=np.ones(len(index)))
    order = np.argsort(-values)
    values, vectors = values[order], vectors[:, order]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(MODES)])
    normals = vertex_normals(
        torch.tensor(data.v_template).double(), torch.as_tensor(data.faces)
    ).numpy()
    out = np.zeros((count, 3, MODES))
    out[index] = normals[index][:, :, None] * (vectors * np.sqrt(values))[:, None]
    return out


def correctable(data: HeadData) -> HeadData:
    """The head with its corrective modes as further identity components."""
    basis = data.identity_basis
    wider = np.concatenate([basis, corrective_modes(data).astype(basis.dtype)], axis=-1)
    return replace(data, identity_basis=wider, identity_axes={})


def corrected(data: HeadData, offsets: Float[np.ndarray, "vertex 3"]) -> HeadData:
    """One person's head: its template is the model's with their offsets.

    Args:
        data: The head.
        offsets: Metres.
    """
    return replace(data, v_template=(data.v_template + offsets).astype(data.v_template.dtype))
