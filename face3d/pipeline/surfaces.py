"""Surfaces to look at, from the files that heads are kept in."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from trimesh.visual import TextureVisuals

from face3d.core import AssetError, HeadMesh, Topology
from face3d.core.rotations import matrix_from_axis_angle
from face3d.export import GlbAnimation, GlbCharacter, read_glb
from face3d.pipeline.saved import load
from face3d.render import Materials, lifelike
from face3d.render.materials import SKIN_WRAP

MAX_TEXTURE, MAX_SIDE = 4096, 16384
WET_BELOW = 0.3
"""Materials smoother than this are taken for eyes and teeth: light does not shine through them."""

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")


@dataclass(frozen=True, kw_only=True)
class Visible:
    """A surface with colours, which may move.

    Attributes:
        mesh: At rest, or as the file opens.
        texture: Base colour, sRGB.
        vertex_color: Base colour instead of a texture, sRGB.
        materials: Of the faces.
        times_s: Of the take's pictures; none is a still surface.
        pose: The vertices of one picture of the take.
    """

    mesh: HeadMesh
    texture: Float[Tensor, "3 size size"] | None
    materials: Materials
    vertex_color: Float[Tensor, "vertex 3"] | None = None
    times_s: Float[np.ndarray, "time"] | None = None
    pose: Callable[[int], Float[Tensor, "vertex 3"]] | None = None

    def at(self, number: int) -> HeadMesh:
        """The surface in one picture of the take."""
        if self.pose is None:
            return self.mesh
        return replace(self.mesh, vertices=self.pose(number))


def open_surface(path: Path) -> Visible:
    """Read a head's surface.

    Args:
        path: A parameter file (.npz), or .glb, .gltf, .obj, .ply or .stl, ours or another's.

    Raises:
        AssetError: There is no such file, or it is damaged or of another kind.
    """
    if not path.is_file():
        raise AssetError(f"There is no file {path}; check the name.")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        rest = load(path).neutral
        mesh = HeadMesh(vertices=rest.vertices, frame="world", topology=rest.topology)
        return Visible(mesh=mesh, texture=None, materials=lifelike(mesh.topology))
    if suffix not in MESH_SUFFIXES:
        known = ", ".join([".npz", *MESH_SUFFIXES])
        raise AssetError(f"{path} cannot be drawn; give a file that ends in {known}.")
    if suffix == ".glb":
        try:
            return _character(*read_glb(path))
        except AssetError:
            # Another program's, perhaps: what a general reader makes of it can be drawn too.
            return _foreign(path)
    return _foreign(path)


def _character(character: GlbCharacter, take: GlbAnimation | None) -> Visible:
    """A head that we wrote, with its take."""
    textured = [m.texture for m in character.materials if m.texture is not None]
    roughness = np.zeros(len(character.topology.faces), dtype=np.float32)
    for material in character.materials:
        roughness[material.faces] = material.roughness
    wrap = torch.tensor(SKIN_WRAP) * torch.tensor(roughness >= WET_BELOW)[:, None]
    puppet = Puppet(character)
    opened = puppet.vertices(character.morph_weights, character.joint_rotations)
    mesh = HeadMesh(vertices=opened, frame="world", topology=character.topology)
    still = Visible(
        mesh=mesh,
        texture=_squared(_decoded(textured[0])) if textured else None,
        materials=Materials(roughness=torch.tensor(roughness), wrap=wrap),
    )
    if take is None:
        return still

    def pose(number: int) -> Tensor:
        weights, turns = character.morph_weights, character.joint_rotations
        if take.morph_weights is not None:
            weights = take.morph_weights[number]
        if take.joint_rotations is not None:
            turns = take.joint_rotations[number]
        posed = puppet.vertices(weights, turns)
        if take.world_from_head is None:
            return posed
        world = torch.tensor(take.world_from_head[number]).float()
        return posed @ world[:3, :3].T + world[:3, 3]

    return replace(still, times_s=take.times_s, pose=pose)


class Puppet:
    """A character's vertices for any weights and rotations, as glTF defines them."""

    def __init__(self, character: GlbCharacter) -> None:
        self._rest = torch.tensor(character.vertices).float()
        deltas = character.morph_deltas
        self._deltas = None if deltas is None else torch.tensor(deltas).float()
        self._weights = torch.tensor(character.skinning_weights).float()
        self._places = torch.tensor(character.joint_places).float()
        self._parents = [int(parent) for parent in character.joint_parents]

    def vertices(
        self,
        morph_weights: Float[np.ndarray, "morph"] | None,
        joint_rotations: Float[np.ndarray, "joint 3"] | None,
    ) -> Float[Tensor, "vertex 3"]:
        """Morphed, then skinned; metres, head frame."""
        points = self._rest
        if self._deltas is not None and morph_weights is not None:
            points = points + torch.tensordot(torch.tensor(morph_weights).float(), self._deltas, 1)
        if joint_rotations is None:
            return points
        turns = matrix_from_axis_angle(torch.tensor(joint_rotations).float())
        matrices: list[Tensor] = []
        moves: list[Tensor] = []
        for turn, place, parent in zip(turns, self._places, self._parents, strict=True):
            matrix, move = turn, place - turn @ place
            if parent >= 0:
                move = matrices[parent] @ move + moves[parent]
                matrix = matrices[parent] @ matrix
            matrices.append(matrix)
            moves.append(move)
        each = torch.einsum("jab,vb->vja", torch.stack(matrices), points) + torch.stack(moves)
        return (self._weights[..., None] * each).sum(1)


def _foreign(path: Path) -> Visible:
    """Any mesh that trimesh reads, at rest, with its colours if it has some."""
    try:
        with warnings.catch_warnings(action="ignore"):
            scene = trimesh.load(path, process=False, maintain_order=True)
            mesh = _in_one(scene) if isinstance(scene, trimesh.Scene) else scene
            if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
                return _dressed(mesh, path)
    except AssetError:
        raise
    # Its readers let whatever goes wrong inside them through.
    except Exception as error:
        raise AssetError(f"{path} cannot be read as a mesh; it may be damaged.") from error
    raise AssetError(f"{path} holds no triangles; give a mesh.")


def _in_one(scene: trimesh.Scene) -> object:
    """All parts of a scene; parts with and without textures meet in vertex colours."""
    parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh)]
    textured = [_picture(part) is not None for part in parts]
    if any(textured) and not all(textured):
        for part in parts:
            visual: Any = part.visual
            if isinstance(visual, TextureVisuals):
                part.visual = visual.to_color()
    return trimesh.util.concatenate(parts) if parts else None


def _dressed(mesh: trimesh.Trimesh, path: Path) -> Visible:
    """A mesh as the renderer takes it, checked."""
    vertices = np.asarray(mesh.vertices, dtype=np.float32)
    if not np.isfinite(vertices).all():
        raise AssetError(f"{path} has vertices that are not finite numbers; it is damaged.")
    faces = np.asarray(mesh.faces, dtype=np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise AssetError(f"{path} has faces whose corners do not exist; it is damaged.")
    uv, picture = getattr(mesh.visual, "uv", None), _picture(mesh)
    if uv is None or picture is None or len(uv) != len(vertices):
        topology, texture = Topology(faces=faces), None
    else:
        places, uv_faces = _within_one_tile(np.asarray(uv, dtype=np.float64), faces)
        topology = Topology(faces=faces, uv=places, uv_faces=uv_faces)
        texture = _squared(_in_color(picture))
    colors = None
    visual: Any = mesh.visual
    if texture is None and visual.kind == "vertex":
        colors = torch.tensor(np.asarray(visual.vertex_colors)[:, :3]).float() / 255
    return Visible(
        mesh=HeadMesh(vertices=torch.tensor(vertices), frame="world", topology=topology),
        texture=texture,
        vertex_color=colors,
        materials=lifelike(topology),
    )


def _within_one_tile(
    uv: Float[np.ndarray, "vertex 2"], faces: Int[np.ndarray, "face 3"]
) -> tuple[Float[np.ndarray, "corner 2"], Int[np.ndarray, "face 3"]]:
    """Textures repeat in these formats: each face's place in the first tile.

    Faces that reach over several tiles lose the repetition.
    """
    if uv.size and uv.min() >= 0 and uv.max() <= 1:
        return uv, faces
    corners = uv[faces]
    corners = corners - np.floor(corners.mean(axis=1, keepdims=True))
    return corners.reshape(-1, 2), np.arange(faces.size).reshape(-1, 3)


def _picture(mesh: trimesh.Trimesh) -> Image.Image | None:
    """The base colour of a mesh that trimesh read."""
    material = getattr(mesh.visual, "material", None)
    for name in ("baseColorTexture", "image"):
        found = getattr(material, name, None)
        if isinstance(found, Image.Image):
            return found
    return None


def _in_color(picture: Image.Image) -> Image.Image:
    """A texture in RGB; Pillow alone would cut 16 bits off at 255."""
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) // 257).astype(np.uint8)).convert("RGB")
    return picture.convert("RGB")


def _decoded(data: bytes) -> Image.Image:
    """A texture as it lies in a file."""
    try:
        picture = Image.open(io.BytesIO(data), formats=["PNG", "JPEG"])
        if max(picture.size) > MAX_SIDE:
            raise AssetError(f"A texture is {picture.size} px; give at most {MAX_SIDE} on a side.")
        return _in_color(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AssetError("A texture in the file cannot be decoded; the file is damaged.") from error


def _squared(picture: Image.Image) -> Float[Tensor, "3 size size"]:
    """A texture as the renderer wants it: square, its side a power of two."""
    side = min(MAX_TEXTURE, 1 << (max(picture.size) - 1).bit_length())
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    return torch.tensor(np.asarray(picture)).permute(2, 0, 1).float() / 255
