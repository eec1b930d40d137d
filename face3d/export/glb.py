"""GLB (binary glTF 2.0): the head with its skeleton, morphs, materials and animation.

Section numbers are those of the glTF 2.0 specification (Khronos, 2021). The head frame has
glTF's axes and unit, so nothing is converted but the texture coordinate v (down in glTF), the
colour factors (linear in glTF) and rotations (quaternions in glTF).
"""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from face3d.core.version import __version__
from face3d.export.files import require_suffix, write_file
from face3d.export.glb_buffers import (
    ARRAY_BUFFER,
    ELEMENT_ARRAY_BUFFER,
    GlbBuffers,
    Json,
    glb_from_parts,
    smallest_index_dtype,
)
from face3d.export.glb_checks import check_animation, check_character
from face3d.export.quaternions import (
    quaternion_from_axis_angle,
    quaternion_from_matrix,
    with_continuous_sign,
)
from face3d.export.records import GlbAnimation, GlbCharacter, Material
from face3d.export.surface import SplitSurface, image_suffix, split_seams, vertex_normals

_LOG = logging.getLogger(__name__)

_MAX_DROPPED = 0.01
"""The share of a vertex's skinning weight that may be lost without a word."""

_NO_MOVE_M, _NO_TURN = 1e-8, 1e-6
"""Displacements and changes of a normal below these are noise of float32 and become zero."""


def write_glb(
    path: Path,
    character: GlbCharacter,
    *,
    animation: GlbAnimation | None = None,
    normal_targets: bool = True,
    sparse_targets: bool = True,
) -> None:
    """Write a head as one GLB file that opens in Blender, Unreal, Unity and browsers.

    The same input gives the same bytes. The first vertices of the file are the head's in their
    order; copies along texture seams follow. Each vertex keeps its four strongest joints.

    Args:
        path: The .glb file to create or replace.
        character: The head at rest and how it moves.
        animation: Curves for it.
        normal_targets: Whether morphs carry normals too; without them the file is smaller and
            wrinkles are lit as if the face were at rest.
        sparse_targets: Whether morphs store only the vertices that they move; turn it off for
            readers that do not know sparse accessors.

    Raises:
        InputError: The parts do not fit together, or the file cannot be written.

    Example:
        >>> write_glb(Path("head.glb"), character)
    """
    require_suffix(path, ".glb")
    check_character(character)
    if animation is not None:
        check_animation(animation, character)
    buffers = GlbBuffers()
    document = _document(character)
    surface = split_seams(character.vertices.shape[0], character.topology)
    attributes = _attributes(character, surface, buffers)
    targets = _targets(character, surface, buffers, normal_targets, sparse_targets)
    document["meshes"] = [_mesh(character, surface, buffers, attributes, targets)]
    document["skins"] = [_skin(character, buffers)]
    document |= _materials(character.materials, buffers)
    if animation is not None:
        document["animations"] = [_animation(animation, character, buffers)]
    document["accessors"] = buffers.accessors
    document["bufferViews"] = buffers.views
    document["buffers"] = [{"byteLength": len(buffers.data)}]
    write_file(path, glb_from_parts(document, bytes(buffers.data)))


def _document(character: GlbCharacter) -> Json:
    """The head of the file and its nodes: 0 the rig, then the joints, then the mesh."""
    asset: Json = {"version": "2.0", "generator": f"face3d {__version__}"}
    if character.copyright:
        asset["copyright"] = character.copyright
    if character.licence:
        asset["extras"] = {"licence": character.licence}
    return {
        "asset": asset,
        "scene": 0,
        # A skinned mesh follows its joints only; as a child of the rig it would look as if it
        # followed that too (3.7.3.3).
        "scenes": [{"nodes": [0, len(character.joint_names) + 1]}],
        "nodes": _nodes(character),
    }


def _nodes(character: GlbCharacter) -> list[Json]:
    parents = character.joint_parents.tolist()
    places = character.joint_places.astype(np.float64)
    rotations = character.joint_rotations
    rotations = np.zeros_like(places) if rotations is None else rotations
    quaternions = quaternion_from_axis_angle(rotations).astype(np.float32)
    rig: Json = {"name": f"{character.name}_rig"}
    if character.world_from_head is not None:
        rig["translation"] = character.world_from_head[:3, 3].astype(np.float32).tolist()
        turned = quaternion_from_matrix(character.world_from_head[:3, :3])
        rig["rotation"] = turned.astype(np.float32).tolist()
    joints: list[Json] = []
    for joint, (name, parent) in enumerate(zip(character.joint_names, parents, strict=True)):
        origin = places[parent] if parent >= 0 else np.zeros(3)
        local = (places[joint] - origin).astype(np.float32)
        node: Json = {"name": name, "translation": local.tolist()}
        joints.append(node | {"rotation": quaternions[joint].tolist()})
    for number, node in enumerate([rig, *joints]):
        children = [child + 1 for child, parent in enumerate(parents) if parent + 1 == number]
        if children:
            node["children"] = children
    return [rig, *joints, {"name": character.name, "mesh": 0, "skin": 0}]


def _skin(character: GlbCharacter, buffers: GlbBuffers) -> Json:
    """At rest no joint is turned, so a joint's inverse bind matrix undoes its place only."""
    count = len(character.joint_names)
    inverse_bind = np.tile(np.eye(4, dtype="<f4"), (count, 1, 1))
    inverse_bind[:, :3, 3] = -character.joint_places
    # Matrices are stored by columns (3.6.2.2).
    stored = inverse_bind.swapaxes(-1, -2)
    return {
        "joints": list(range(1, count + 1)),
        "skeleton": 0,
        "inverseBindMatrices": buffers.add(np.ascontiguousarray(stored)),
    }


def strongest_four(
    weights: Float[np.ndarray, "vertex joint"],
) -> tuple[UInt8[np.ndarray, "vertex 4"], Float[np.ndarray, "vertex 4"]]:
    """The four strongest joints of each vertex and weights that sum to one, strongest first.

    The weights are whole multiples of 2^-24, so their float32 sum is exactly one in every order
    of adding; the strongest takes the rounding. Unused places name joint 0 with weight zero.
    """
    count = weights.shape[-1]
    order = np.argsort(-weights, axis=-1, kind="stable")[:, :4]
    chosen = np.clip(np.take_along_axis(weights, order, axis=-1), 0.0, None).astype(np.float64)
    dropped = float((1 - chosen.sum(-1) / np.clip(weights, 0.0, None).sum(-1)).max())
    if dropped > _MAX_DROPPED:
        _LOG.warning("A vertex hangs on over four joints; GLB drops %.1f%%.", 100 * dropped)
    units = np.rint(chosen / chosen.sum(-1, keepdims=True) * 2**24).astype(np.int64)
    units[:, 0] += 2**24 - units.sum(-1)
    order = np.where(units == 0, 0, order)
    padding = ((0, 0), (0, max(0, 4 - count)))
    joints = np.pad(order, padding).astype(np.uint8)
    return joints, (np.pad(units, padding) / 2**24).astype("<f4")


def _attributes(character: GlbCharacter, surface: SplitSurface, buffers: GlbBuffers) -> Json:
    """What each vertex has."""
    chosen = surface.vertex_of
    joints, weights = strongest_four(character.skinning_weights)
    normals = vertex_normals(character.vertices, character.topology.faces)
    positions = character.vertices.astype("<f4")[chosen]
    attributes: Json = {
        "POSITION": buffers.add(positions, target=ARRAY_BUFFER, bounds=True),
        "NORMAL": buffers.add(normals.astype("<f4")[chosen], target=ARRAY_BUFFER),
    }
    if surface.uv is not None:
        flipped = np.stack([surface.uv[:, 0], 1 - surface.uv[:, 1]], axis=-1).astype("<f4")
        attributes["TEXCOORD_0"] = buffers.add(flipped, target=ARRAY_BUFFER)
    attributes["JOINTS_0"] = buffers.add(joints[chosen], target=ARRAY_BUFFER)
    attributes["WEIGHTS_0"] = buffers.add(weights[chosen], target=ARRAY_BUFFER)
    return attributes


def _mesh(
    character: GlbCharacter,
    surface: SplitSurface,
    buffers: GlbBuffers,
    attributes: Json,
    targets: list[Json],
) -> Json:
    """One mesh; its primitives, one per material, share the vertices and the morph targets."""
    chosen = surface.vertex_of
    index_dtype = smallest_index_dtype(chosen.size)
    primitives: list[Json] = []
    for number, material in enumerate(character.materials):
        indices = surface.faces[material.faces].reshape(-1).astype(index_dtype)
        view = buffers.add(indices, target=ELEMENT_ARRAY_BUFFER)
        primitive: Json = {"attributes": attributes, "indices": view, "material": number}
        primitives.append(primitive | ({"targets": targets} if targets else {}))
    own = character.vertices.shape[0]
    seams: Json = {"vertexCount": own, "seamCopies": chosen[own:].tolist()}
    mesh: Json = {"name": character.name, "primitives": primitives}
    if not targets:
        return mesh | {"extras": {"face3d": seams}}
    start = character.morph_weights
    start = np.zeros(len(targets), dtype=np.float32) if start is None else start
    mesh["weights"] = start.astype(np.float32).tolist()
    # The name is a convention of Blender, three.js and Unreal; glTF itself has none for morphs.
    return mesh | {"extras": {"targetNames": list(character.morph_names), "face3d": seams}}


def _targets(
    character: GlbCharacter,
    surface: SplitSurface,
    buffers: GlbBuffers,
    normal_targets: bool,
    sparse: bool,
) -> list[Json]:
    """The morph targets: displacements of places and, if asked for, of normals (3.7.2.2)."""
    if character.morph_deltas is None:
        return []
    chosen, faces = surface.vertex_of, character.topology.faces
    at_rest = character.vertices.astype(np.float64)
    rest_normals = vertex_normals(at_rest, faces)
    targets: list[Json] = []
    for delta in character.morph_deltas:
        moved = np.where((np.abs(delta) > _NO_MOVE_M).any(-1, keepdims=True), delta, 0.0)
        stored = moved.astype("<f4")[chosen]
        target: Json = {"POSITION": buffers.add_displacements(stored, sparse=sparse, bounds=True)}
        if normal_targets:
            turn = vertex_normals(at_rest + moved, faces) - rest_normals
            turn = np.where((np.abs(turn) > _NO_TURN).any(-1, keepdims=True), turn, 0.0)
            turn = turn.astype("<f4")[chosen]
            target["NORMAL"] = buffers.add_displacements(turn, sparse=sparse, bounds=False)
        targets.append(target)
    return targets


def linear_from_srgb(color: tuple[float, float, float]) -> list[float]:
    """Linear light of an sRGB colour, both in [0, 1] (IEC 61966-2-1)."""
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]


def _materials(materials: tuple[Material, ...], buffers: GlbBuffers) -> Json:
    """Materials with their textures and images; a picture that is used twice is stored once."""
    stored: dict[bytes, int] = {}
    images: list[Json] = []
    entries: list[Json] = []

    def link(texture: bytes, name: str) -> Json:
        if texture not in stored:
            stored[texture] = len(images)
            kind = {".png": "image/png", ".jpg": "image/jpeg"}[image_suffix(texture)]
            view = buffers.add_view(texture)
            images.append({"name": name, "bufferView": view, "mimeType": kind})
        return {"index": stored[texture]}

    for material in materials:
        surface: Json = {
            "baseColorFactor": [*linear_from_srgb(material.base_color_srgb), material.opacity],
            "metallicFactor": 0.0,
            "roughnessFactor": material.roughness,
        }
        if material.texture is not None:
            surface["baseColorTexture"] = link(material.texture, material.name)
        entry: Json = {"name": material.name, "pbrMetallicRoughness": surface}
        if material.normal_texture is not None:
            entry["normalTexture"] = link(material.normal_texture, f"{material.name}_normal")
        if material.opacity < 1:
            entry["alphaMode"] = "BLEND"
        if material.double_sided:
            entry["doubleSided"] = True
        entries.append(entry)
    if not images:
        return {"materials": entries}
    textures = [{"sampler": 0, "source": number} for number in range(len(images))]
    # Linear with mipmaps, repeating: what viewers do by default, but stated.
    samplers = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 10497, "wrapT": 10497}]
    return {"materials": entries, "textures": textures, "images": images, "samplers": samplers}


def _animation(animation: GlbAnimation, character: GlbCharacter, buffers: GlbBuffers) -> Json:
    """Channels and samplers; between keys everything is interpolated linearly (3.11)."""
    times = buffers.add(animation.times_s.astype("<f4"), bounds=True)
    joints = len(character.joint_names)
    channels: list[Json] = []
    samplers: list[Json] = []

    def add(node: int, path: str, values: Float[np.ndarray, "..."]) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        output = buffers.add(np.ascontiguousarray(values.astype("<f4")))
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})

    if animation.morph_weights is not None:
        # All weights of the first key, then all of the second and so on (3.11).
        add(joints + 1, "weights", animation.morph_weights.reshape(-1))
    if animation.joint_rotations is not None:
        turns = with_continuous_sign(quaternion_from_axis_angle(animation.joint_rotations))
        for joint in range(joints):
            add(joint + 1, "rotation", turns[:, joint])
    if animation.world_from_head is not None:
        turn = quaternion_from_matrix(animation.world_from_head[:, :3, :3])
        add(0, "rotation", with_continuous_sign(turn))
        add(0, "translation", animation.world_from_head[:, :3, 3])
    result: Json = {"name": animation.name, "channels": channels, "samplers": samplers}
    return result | ({"extras": dict(animation.extras)} if animation.extras else {})
