"""A head as its parameter file holds it: it reloads to the same mesh."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from face3d.core.errors import AssetError
from face3d.core.types import Camera, HeadMesh, HeadParams
from face3d.export import SavedParams, read_params
from face3d.fit import corrected
from face3d.model import HeadData, HeadModel
from face3d.pipeline.heads import load_head

FINGERPRINT = "head_fingerprint"
METRES_PER_UNIT = "metres_per_unit"
OFFSETS = "vertex_offsets"


class Meshes(ABC):
    """The surfaces of whatever has a ``model`` and ``params`` for it."""

    model: HeadModel

    @property
    @abstractmethod
    def params(self) -> HeadParams:
        """Identity, expression, jaw, eyes and where the head is."""

    @cached_property
    def mesh(self) -> HeadMesh:
        """The surface as it stands in the photo: posed, in the world (camera) frame, metres."""
        with torch.no_grad():
            return self.model.mesh(self.params, frame="world")

    @cached_property
    def neutral(self) -> HeadMesh:
        """The same person at rest, in the head frame, metres."""
        with torch.no_grad():
            rest = self.model(self.params.shape, torch.zeros_like(self.params.expression))
        return HeadMesh(vertices=rest, frame="head", topology=self.model.data.topology)


def fingerprint(data: HeadData) -> str:
    """A short hash of what gives parameters their meaning: template and bases."""
    digest = hashlib.sha256()
    for array in (data.v_template, data.identity_basis, data.expression_basis):
        digest.update(np.ascontiguousarray(array, dtype=np.float32).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class SavedHead(Meshes):
    """A head that was read from its parameter file.

    Attributes:
        model: The head model that the parameters belong to.
        saved: The file's content; ``saved.arrays`` has landmarks, deviations and energies.
    """

    model: HeadModel
    saved: SavedParams

    @property
    def params(self) -> HeadParams:
        """Identity, expression, jaw, eyes and where the head is."""
        return self.saved.params

    @property
    def camera(self) -> Camera | None:
        """The photo's camera; its frame is the world."""
        return self.saved.camera

    @property
    def metres_per_unit(self) -> float:
        """By which factor the meshes have their true size; one if the file does not say."""
        return float(self.saved.arrays.get(METRES_PER_UNIT, 1.0))


def load(path: str | Path) -> SavedHead:
    """Read a head that ``Head.save("head.npz")`` wrote.

    Args:
        path: The .npz file.

    Returns:
        The head; its meshes are those of the head that was saved.

    Raises:
        AssetError: The file is missing or damaged, or the head model that it was made with is not
            installed or has changed.

    Example:
        >>> face3d.load("head.npz").neutral  # doctest: +SKIP
    """
    saved = read_params(Path(path))
    model = load_head(saved.head)
    made_with = saved.arrays.get(FINGERPRINT)
    if made_with is not None and str(made_with) != fingerprint(model.data):
        raise AssetError(
            f"{path} was made with another version of the head {saved.head!r}; "
            "reconstruct it anew, or give the version that it was made with."
        )
    offsets = saved.arrays.get(OFFSETS)
    if offsets is not None:
        if offsets.shape != model.data.v_template.shape or not np.isfinite(offsets).all():
            raise AssetError(f"{path} holds offsets for another head; it is damaged.")
        model = HeadModel(corrected(model.data, offsets.astype(np.float64)))
    return SavedHead(model=model, saved=saved)
