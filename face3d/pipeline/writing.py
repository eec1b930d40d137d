"""Heads as files: what each format holds of them."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from face3d.core.errors import InputError
from face3d.core.types import HeadMesh
from face3d.detail import normal_map, subdivided
from face3d.export import (
    GlbCharacter,
    Material,
    SavedParams,
    write_exr,
    write_files,
    write_glb,
    write_obj,
    write_params,
    write_ply,
)
from face3d.pipeline.heads import load_head
from face3d.pipeline.likeness import Likeness
from face3d.pipeline.saved import FINGERPRINT, METRES_PER_UNIT, OFFSETS, fingerprint
from face3d.render import displaced, sample_texture

Pose = Literal["neutral", "photo"]
MOST_SUBDIVISIONS = 4
"""Each makes four faces of one; the open head's 10,680 become 2.7 million."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A head about to be written.

    Attributes:
        head: It.
        pose: At rest, or as in the (first) photo.
        subdivide: How often faces are divided by four; with any, fine relief moves the vertices.
    """

    head: Likeness
    pose: Pose = "neutral"
    subdivide: int = 0

    @cached_property
    def relief(self) -> Float[Tensor, "1 size size"] | None:
        """Displacement in this pose, metres of the model; None without detail."""
        if not self.head.detail or self.head.detail_refused is not None:
            return None
        return self.head.relief.displacement(self.posed)

    @cached_property
    def posed(self) -> HeadMesh:
        """The surface without relief, in the head frame, metres of the model."""
        if self.pose == "neutral":
            return self.head.neutral
        with torch.no_grad():
            return self.head.model.mesh(self.head.params, frame="head")

    @cached_property
    def mesh(self) -> HeadMesh:
        """The surface as it is written but for its size."""
        fine = subdivided(self.posed, self.subdivide)
        if self.subdivide == 0 or self.relief is None:
            return fine
        with torch.no_grad():
            vertices = displaced(fine, self.relief)
        return HeadMesh(vertices=vertices, frame=fine.frame, topology=fine.topology)

    @cached_property
    def vertices(self) -> Float[np.ndarray, "vertex 3"]:
        """In true size."""
        return self.mesh.vertices.numpy().astype(np.float64) * self.head.scale.metres_per_unit

    @property
    def wet(self) -> Bool[np.ndarray, "face"]:
        """Faces of the eyes."""
        data = self.head.model.data
        eyes = data.regions.get("eyes", np.zeros(len(data.v_template), dtype=bool))
        return np.repeat(eyes[data.faces].all(1), 4**self.subdivide)

    def materials(self, kind: Literal["PNG", "JPEG"]) -> tuple[Material, ...]:
        """Skin and eyes."""
        textured, wet, normals = self.head.model.data.uv is not None, self.wet, None
        texture = _encoded(self.head.texture, kind) if textured else None
        if self.relief is not None and self.subdivide == 0:
            bent = normal_map(self.posed, self.relief, self.head.relief.fragments)
            normals = _encoded(bent, "PNG")
        skin = Material(
            name="skin", faces=~wet, texture=texture, normal_texture=normals, roughness=0.6
        )
        if not wet.any():
            return (skin,)
        return (skin, Material(name="eyes", faces=wet, texture=texture, roughness=0.15))


def _encoded(rgb: Float[Tensor, "3 size size"], kind: Literal["PNG", "JPEG"]) -> bytes:
    stream = io.BytesIO()
    pixels = (rgb * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
    options = {"compress_level": 3} if kind == "PNG" else {"quality": 93, "subsampling": 0}
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def _write_glb(path: Path, out: Written) -> None:
    head = out.head
    data, p, factor = head.model.data, head.params, head.scale.metres_per_unit
    if out.subdivide:
        raise InputError("A GLB can be animated and is not subdivided; write .obj or .ply.")
    rotations = head.model.pose_axis_angles(p.neck, p.jaw, p.eyes)
    with torch.no_grad():
        places = head.model.joints(p.shape).numpy()
    opened = out.pose == "photo"
    character = GlbCharacter(
        name=data.name,
        vertices=head.neutral.vertices.numpy().astype(np.float64) * factor,
        topology=data.topology,
        materials=out.materials("JPEG"),
        joint_names=data.joint_names,
        joint_parents=data.parents,
        joint_places=places.astype(np.float64) * factor,
        skinning_weights=data.skinning_weights,
        joint_rotations=rotations.numpy().astype(np.float64) if opened else None,
        morph_names=data.expression_names,
        morph_deltas=np.moveaxis(data.expression_basis, -1, 0) * factor,
        morph_weights=p.expression.numpy().astype(np.float64) if opened else None,
        licence=data.licence,
    )
    write_glb(path, character)


def _write_obj(path: Path, out: Written) -> None:
    write_obj(
        path,
        out.vertices,
        out.mesh.topology,
        materials=out.materials("PNG"),
        licence=out.head.model.data.licence,
    )


def _write_ply(path: Path, out: Written) -> None:
    topology, colours = out.mesh.topology, None
    if topology.uv is not None and topology.uv_faces is not None:
        corner = np.zeros(len(out.vertices), dtype=np.int64)
        corner[topology.faces.ravel()] = topology.uv_faces.ravel()
        uv = torch.as_tensor(topology.uv[corner]).float()
        colours = (sample_texture(out.head.texture, uv) * 255 + 0.5).to(torch.uint8).numpy()
    write_ply(path, out.vertices, topology, colors_srgb=colours)


def _write_npz(path: Path, out: Written) -> None:
    head, fit = out.head, out.head.fit  # parameters hold every pose
    arrays = {
        "landmarks_px": head.detection.landmarks,
        "landmark_layout": head.detection.layout,
        FINGERPRINT: fingerprint(load_head(head.head).data),
        METRES_PER_UNIT: head.scale.metres_per_unit,
        f"sd_{METRES_PER_UNIT}": head.scale.sd,
    }
    if head.offsets is not None:
        arrays[OFFSETS] = head.offsets.numpy()
    arrays |= {f"sd_{name}": value.numpy() for name, value in fit.standard_deviation.items()}
    arrays |= {f"energy_{name}": value.numpy() for name, value in fit.energies.items()}
    saved = SavedParams(
        head=head.head,
        params=fit.params,
        camera=fit.camera,
        arrays={name: np.asarray(value) for name, value in arrays.items()},
    )
    write_params(path, saved)


def _write_exr(path: Path, out: Written) -> None:
    if out.relief is None:
        why = out.head.detail_refused or "reconstruct with detail=True (--detail)."
        raise InputError(f"There is no displacement to write: {why}")
    write_exr(path, (out.relief[0] * out.head.scale.metres_per_unit).numpy())


WRITERS: dict[str, Callable[[Path, Written], None]] = {
    ".glb": _write_glb,
    ".obj": _write_obj,
    ".ply": _write_ply,
    ".npz": _write_npz,
    ".exr": _write_exr,
}


def write_maps(folder: Path, out: Written) -> tuple[Path, ...]:
    """Write every texture of a head that has texture coordinates.

    Raises:
        InputError: It has none, or a file cannot be written.
    """
    head = out.head
    if head.model.data.uv is None:
        raise InputError("The head has no texture coordinates, so there are no maps to write.")
    pictures = {"texture": _encoded(head.texture, "PNG")}
    if head.light is not None:
        pictures["albedo"] = _encoded(head.albedo, "PNG")
    pictures["confidence"] = _encoded(head.confidence.expand(3, -1, -1), "PNG")
    if out.relief is not None:
        bent = normal_map(out.posed, out.relief, head.relief.fragments)
        pictures["normal"] = _encoded(bent, "PNG")
    files = {folder / f"{name}.png": data for name, data in pictures.items()}
    write_files(files)
    if out.relief is None:
        return tuple(files)
    exr = folder / "displacement.exr"
    _write_exr(exr, out)
    return (*files, exr)
