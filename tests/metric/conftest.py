"""A small face and what is known of it."""

import numpy as np
import pytest

from face3d.metric import FROM_IBUG68
from face3d.pipeline import load_head


class Face:
    """The open head's skin, at rest."""

    def __init__(self) -> None:
        data = load_head("open").data
        kept = data.faces[data.regions["skin"][data.faces].all(1)]
        used, own = np.unique(kept, return_inverse=True)
        self.vertices = data.v_template[used].astype(np.float64)
        self.faces = own.reshape(-1, 3)
        known, rows = data.embeddings["ibug68"], list(FROM_IBUG68)
        corners = data.faces[known.face_index[rows]]
        assert np.isin(corners, used).all()
        self._corners = np.searchsorted(used, corners)
        self._barycentric = known.barycentric[rows]

    def landmarks(self, vertices: np.ndarray) -> np.ndarray:
        return (vertices[self._corners] * self._barycentric[..., None]).sum(1)


@pytest.fixture(scope="session")
def face() -> Face:
    return Face()


def similarity(scale: float = 1.0, seed: int = 3) -> np.ndarray:
    """A transform that turns by some ten degrees and moves by some centimetres."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(np.eye(3) + 0.2 * rng.standard_normal((3, 3)))
    q *= np.sign(np.diag(q))
    out = np.eye(4)
    out[:3, :3] = scale * q * (1 if np.linalg.det(q) > 0 else -1)
    out[:3, 3] = rng.normal(0, 0.02, 3)
    return out


@pytest.fixture
def moved_by():
    return similarity
