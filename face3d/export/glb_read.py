"""Reading back the GLB files that face3d writes.

This is no general glTF reader: it knows the layout of face3d.export.glb, expects all of it and
refuses everything else. Whatever the bytes, it returns a character or raises AssetError.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from face3d.core import AssetError, InputError, Topology
from face3d.export.files import read_file
from face3d.export.glb_accessors import GlbParts, accessor_values, only, parts_from_glb, view_bytes
from face3d.export.glb_checks import check_animation, check_character
from face3d.export.glb_json import Cursor
from face3d.export.quaternions import axis_angle_from_quaternion, matrix_from_quaternion
from face3d.export.records import GlbAnimation, GlbCharacter, Material

_MAX_TARGET_BYTES = 2**32
"""Sparse morphs unpack to more than they store; a file that asks for over 4 GiB is refused."""


def read_glb(path: Path) -> tuple[GlbCharacter, GlbAnimation | None]:
    """Read a head that write_glb wrote.

    Vertices are the head's own, without the copies along seams; faces come material by material.
    Places, morphs and skinning weights are as the file holds them, in float32; a rotation comes
    back as its shortest axis-angle vector.

    Args:
        path: The .glb file.

    Returns:
        The character, and its animation if the file has one.

    Raises:
        AssetError: There is no such file, it is damaged, or another program wrote it.

    Example:
        >>> character, animation = read_glb(Path("head.glb"))
    """
    parts = parts_from_glb(read_file(path), path)
    mesh = only(parts.root, "meshes")
    character = _with_morphs(_character(parts, mesh), parts, mesh)
    animation = _animation(parts, len(character.joint_names), len(character.morph_names))
    try:
        check_character(character)
        if animation is not None:
            check_animation(animation, character)
    except InputError as error:
        raise AssetError(f"{path} is damaged: {error}") from error
    return character, animation


def _character(parts: GlbParts, mesh: Cursor) -> GlbCharacter:
    """Everything but the morphs and the animation."""
    root, primitives = parts.root, mesh.get("primitives").items()
    if not primitives:
        mesh.fail("has no primitives")
    attributes = primitives[0].get("attributes")
    positions = accessor_values(parts, attributes.get("POSITION"), "VEC3")
    # Normals follow from the rest, so they are only checked.
    accessor_values(parts, attributes.get("NORMAL"), "VEC3", count=positions.shape[0])
    own, vertex_of = _seams(mesh, positions)
    faces, owners = _faces(parts, primitives, positions.shape[0])
    nodes, places = _joints(parts)
    asset = root.get("asset")
    extras, rights = asset.find("extras"), asset.find("copyright")
    return GlbCharacter(
        name=root.get("nodes").items()[-1].get("name").text(),
        vertices=positions[:own],
        topology=_topology(parts, attributes, vertex_of, faces),
        materials=tuple(
            _material(parts, root.get("materials").pick(p.get("material")), owners == number)
            for number, p in enumerate(primitives)
        ),
        joint_names=tuple(node.get("name").text() for node in nodes[1:]),
        joint_parents=_parents(nodes),
        joint_places=places,
        joint_rotations=axis_angle_from_quaternion(np.stack([_turn(n) for n in nodes[1:]])),
        skinning_weights=_weights(parts, attributes, len(places), vertex_of.size)[:own],
        world_from_head=_world_from_head(nodes[0]),
        licence="" if extras is None else extras.get("licence").text(),
        copyright="" if rights is None else rights.text(),
    )


def _seams(
    mesh: Cursor, positions: Float[np.ndarray, "split 3"]
) -> tuple[int, Int[np.ndarray, "split"]]:
    """How many vertices are the head's own, and the own vertex of each stored one."""
    split = positions.shape[0]
    note = mesh.get("extras").get("face3d")
    own, copies = note.get("vertexCount").integer(), note.get("seamCopies").items()
    if own + len(copies) != split:
        note.fail(f"names {own} vertices and {len(copies)} copies but {split} are there")
    originals = np.array([copy.integer(below=own) for copy in copies], dtype=np.int64)
    vertex_of = np.concatenate([np.arange(own), originals])
    if not np.array_equal(positions, positions[vertex_of]):
        note.fail("names copies that lie elsewhere than their vertex")
    return own, vertex_of


def _faces(
    parts: GlbParts, primitives: list[Cursor], split: int
) -> tuple[Int[np.ndarray, "face 3"], Int[np.ndarray, "face"]]:
    """The triangles of all primitives, and the number of the primitive that each is from."""
    groups: list[Int[np.ndarray, "face 3"]] = []
    for primitive in primitives:
        flat = accessor_values(parts, primitive.get("indices"), "SCALAR", integer=True)
        if flat.size % 3 or int(flat.max()) >= split:
            primitive.fail("has faces that are no triangles of its vertices")
        groups.append(flat.astype(np.int64).reshape(-1, 3))
    owners = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return np.concatenate(groups), owners


def _topology(
    parts: GlbParts,
    attributes: Cursor,
    vertex_of: Int[np.ndarray, "split"],
    faces: Int[np.ndarray, "face 3"],
) -> Topology:
    """Faces over the head's own vertices and, over all of them, texture coordinates with v up."""
    link = attributes.find("TEXCOORD_0")
    if link is None:
        return Topology(faces=vertex_of[faces])
    uv = accessor_values(parts, link, "VEC2", count=vertex_of.size)
    uv = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=-1)
    return Topology(faces=vertex_of[faces], uv=uv, uv_faces=faces)


def _material(parts: GlbParts, entry: Cursor, faces: Bool[np.ndarray, "face"]) -> Material:
    root, surface = parts.root, entry.get("pbrMetallicRoughness")
    factor = surface.get("baseColorFactor").numbers(4)
    # IEC 61966-2-1, from linear light; the writer's inverse.
    linear = np.clip(factor[:3], 0.0, 1.0)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    red, green, blue = np.where(linear <= 0.0031308, linear * 12.92, curved).clip(0, 1).tolist()

    def picture(link: Cursor | None) -> bytes | None:
        if link is None:
            return None
        source = root.get("textures").pick(link.get("index")).get("source")
        return bytes(view_bytes(parts, root.get("images").pick(source).get("bufferView")))

    return Material(
        name=entry.get("name").text(),
        faces=faces,
        base_color_srgb=(red, green, blue),
        opacity=float(factor[3]),
        texture=picture(surface.find("baseColorTexture")),
        normal_texture=picture(entry.find("normalTexture")),
        roughness=surface.get("roughnessFactor").number(),
        double_sided=entry.find("doubleSided") is not None,
    )


def _joints(parts: GlbParts) -> tuple[list[Cursor], Float[np.ndarray, "joint 3"]]:
    """The nodes of the rig and of its joints, and where the joints are at rest."""
    skin, nodes = only(parts.root, "skins"), parts.root.get("nodes").items()
    numbers = [joint.integer() for joint in skin.get("joints").items()]
    count = len(numbers)
    if count == 0 or len(nodes) != count + 2 or numbers != list(range(1, count + 1)):
        skin.fail("has joints that are not the nodes after the first")
    link = skin.get("inverseBindMatrices")
    stored = accessor_values(parts, link, "MAT4", count=count).reshape(count, 4, 4)
    places = -stored[:, 3, :3]
    # The matrices are stored by columns and only undo a place.
    expected = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    expected[:, 3, :3] = -places
    if not np.array_equal(stored, expected):
        link.fail("leads to matrices that do more than move")
    return nodes[:-1], places


def _parents(nodes: list[Cursor]) -> Int[np.ndarray, "joint"]:
    """The parent of each joint; node 0 is the rig and stands for none."""
    parents = np.full(len(nodes) - 1, -1, dtype=np.int64)
    for number, node in enumerate(nodes):
        children = node.find("children")
        for child in [] if children is None else children.items():
            joint = child.integer(below=len(nodes))
            if joint == 0:
                child.fail("makes the rig a child")
            parents[joint - 1] = number - 1
    return parents


def _turn(node: Cursor) -> Float[np.ndarray, "4"]:
    """The rotation of a node as a quaternion."""
    entry = node.get("rotation")
    quaternion = entry.numbers(4)
    _require_unit(entry, quaternion)
    return quaternion


def _require_unit(place: Cursor, quaternions: Float[np.ndarray, "*batch 4"]) -> None:
    """Raise unless every quaternion has about length one."""
    # Before the norm, because the squares of huge numbers would overflow.
    if (np.abs(quaternions) > 2).any() or not np.allclose(
        np.linalg.norm(quaternions, axis=-1), 1.0, rtol=0.0, atol=1e-3
    ):
        place.fail("is or leads to a quaternion that has not length one")


def _world_from_head(rig: Cursor) -> Float[np.ndarray, "4 4"] | None:
    """Where the rig stands; None where it stands in the origin."""
    place = rig.find("translation")
    if place is None:
        return None
    world = np.eye(4)
    world[:3, :3] = matrix_from_quaternion(_turn(rig))
    world[:3, 3] = place.numbers(3)
    return world


def _weights(
    parts: GlbParts, attributes: Cursor, count: int, split: int
) -> Float[np.ndarray, "split joint"]:
    """The skinning weights as a full table."""
    link = attributes.get("JOINTS_0")
    joints = accessor_values(parts, link, "VEC4", integer=True, count=split).astype(np.int64)
    weights = accessor_values(parts, attributes.get("WEIGHTS_0"), "VEC4", count=split)
    if int(joints.max()) >= count:
        link.fail("leads to a joint that does not exist")
    table = np.zeros((split, count), dtype=np.float64)
    # An unused place names joint 0 with weight zero, so the entries must be added, not set.
    np.add.at(table, (np.arange(split)[:, None], joints), weights)
    if not np.allclose(table.sum(-1), 1.0, atol=1e-5):
        attributes.fail("have skinning weights that do not sum to one")
    return table.astype(np.float32)


def _with_morphs(character: GlbCharacter, parts: GlbParts, mesh: Cursor) -> GlbCharacter:
    """The same with the morphs of the file, if it has any."""
    primitive = mesh.get("primitives").items()[0]
    listed = primitive.find("targets")
    if listed is None:
        return character
    targets, own = listed.items(), character.vertices.shape[0]
    copies = mesh.get("extras").get("face3d").get("seamCopies").items()
    split = own + len(copies)
    if not targets or len(targets) * split * 12 > _MAX_TARGET_BYTES:
        listed.fail(f"has {len(targets)} entries for {split} vertices")
    links = [target.get("POSITION") for target in targets]
    deltas = [accessor_values(parts, link, "VEC3", count=split)[:own] for link in links]
    for turn in (target.find("NORMAL") for target in targets):
        if turn is not None:
            accessor_values(parts, turn, "VEC3", count=split)
    names = mesh.get("extras").get("targetNames").items()
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused by name
        start = mesh.get("weights").numbers(len(targets)).astype(np.float32)
    return replace(
        character,
        morph_names=tuple(name.text() for name in names),
        morph_deltas=np.stack(deltas),
        morph_weights=start,
    )


def _tracks(entry: Cursor) -> tuple[Cursor, dict[tuple[int, str], Cursor]]:
    """The key times, and the values of each animated property by node and path."""
    samplers = entry.get("samplers")
    listed = samplers.items()
    if not listed:
        samplers.fail("has no entries")
    times = listed[0].get("input")
    if any(sampler.get("input").integer() != times.integer() for sampler in listed):
        samplers.fail("have different key times")
    tracks: dict[tuple[int, str], Cursor] = {}
    for channel in entry.get("channels").items():
        target = channel.get("target")
        key = target.get("node").integer(), target.get("path").text()
        tracks[key] = samplers.pick(channel.get("sampler")).get("output")
    return times, tracks


def _animation(parts: GlbParts, joints: int, morphs: int) -> GlbAnimation | None:
    """The only animation of the file, if there is one."""
    if parts.root.find("animations") is None:
        return None
    entry = only(parts.root, "animations")
    link, tracks = _tracks(entry)
    times = accessor_values(parts, link, "SCALAR")[:, 0]
    count = times.size
    weights, turns, world = None, None, None
    curve = tracks.get((joints + 1, "weights"))
    if curve is not None:
        flat = accessor_values(parts, curve, "SCALAR", count=count * morphs)
        weights = flat.reshape(count, morphs)
    turned = [t for j in range(joints) if (t := tracks.get((j + 1, "rotation"))) is not None]
    if turned:
        if len(turned) != joints:
            entry.fail("turns some joints but not all")
        turns = np.stack([_turns(parts, track, count) for track in turned], axis=1)
    head_turn, head_place = tracks.get((0, "rotation")), tracks.get((0, "translation"))
    if head_turn is not None and head_place is not None:
        world = np.tile(np.eye(4), (count, 1, 1))
        world[:, :3, :3] = matrix_from_quaternion(_turns(parts, head_turn, count))
        world[:, :3, 3] = accessor_values(parts, head_place, "VEC3", count=count)
    extras = entry.find("extras")
    return GlbAnimation(
        times_s=times,
        name=entry.get("name").text(),
        morph_weights=weights,
        joint_rotations=None if turns is None else axis_angle_from_quaternion(turns),
        world_from_head=world,
        extras={} if extras is None else {k: v.scalar() for k, v in extras.members().items()},
    )


def _turns(parts: GlbParts, link: Cursor, count: int) -> Float[np.ndarray, "time 4"]:
    """A track of unit quaternions."""
    quaternions = accessor_values(parts, link, "VEC4", count=count)
    _require_unit(link, quaternions)
    return quaternions
