"""What a character and its animation must fulfil before they are written as GLB."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from face3d.core import InputError
from face3d.core.checks import require_finite
from face3d.export.records import GlbAnimation, GlbCharacter
from face3d.export.surface import check_materials, check_surface

MAX_JOINTS = 256
"""Joint indices are written as bytes."""


def _require_shape(name: str, value: Shaped[np.ndarray, "..."], shape: tuple[int, ...]) -> None:
    """Raise unless ``value`` has ``shape`` and only values that float32 can hold."""
    if value.shape != shape:
        raise InputError(
            f"The {name} have shape {value.shape} but this head needs {shape}; "
            "give arrays of one and the same head."
        )
    with np.errstate(over="ignore"):
        require_finite(f"The array of {name}", value.astype(np.float32))


def _require_unique(name: str, values: tuple[str, ...]) -> None:
    """Raise if a name is empty or stands twice, because tools find things by name."""
    if len(set(values)) != len(values) or "" in values:
        raise InputError(f"The {name} hold an empty or a repeated name; give each its own name.")


def _check_parents(parents: Int[np.ndarray, "joint"]) -> None:
    """Raise unless every parent stands before its children."""
    if any(not -1 <= parent < joint for joint, parent in enumerate(parents.tolist())):
        raise InputError(
            f"The joint parents are {parents.tolist()}; give -1 for a root and for all others "
            "the number of a joint that comes earlier."
        )


def check_rigid(name: str, transforms: Float[np.ndarray, "*batch 4 4"]) -> None:
    """Raise unless each matrix is a proper rotation and a translation.

    Raises:
        InputError: A matrix scales, mirrors or shears, or its last row is not 0, 0, 0, 1.
    """
    require_finite(name, transforms.astype(np.float64))
    rotation = transforms[..., :3, :3].astype(np.float64)
    square = rotation @ rotation.swapaxes(-1, -2)
    orthonormal = np.allclose(square, np.eye(3), atol=1e-4)
    last_row = np.allclose(transforms[..., 3, :], [0.0, 0.0, 0.0, 1.0], atol=1e-6)
    if not (orthonormal and last_row and bool((np.linalg.det(rotation) > 0).all())):
        raise InputError(
            f"{name} is not a rotation and a translation; take the scale or the mirroring out."
        )


def check_character(character: GlbCharacter) -> None:
    """Raise unless the character is complete and its parts fit together.

    Raises:
        InputError: The message names the part and what it should be.
    """
    check_surface(character.vertices, character.topology)
    check_materials(character.materials, character.topology)
    _require_unique("material names", tuple(m.name for m in character.materials))
    vertices, joints = character.vertices.shape[0], len(character.joint_names)
    if not 1 <= joints <= MAX_JOINTS:
        raise InputError(f"The head has {joints} joints; give between 1 and {MAX_JOINTS}.")
    _require_unique("joint names", character.joint_names)
    _require_shape("joint parents", character.joint_parents, (joints,))
    _check_parents(character.joint_parents)
    _require_shape("joint places", character.joint_places, (joints, 3))
    weights = character.skinning_weights
    _require_shape("skinning weights", weights, (vertices, joints))
    if weights.min() < -1e-6 or weights.sum(-1).min() < 1e-3:
        raise InputError(
            "Some skinning weights are negative or all zero for a vertex; "
            "give weights of at least zero that sum to one."
        )
    if character.joint_rotations is not None:
        _require_shape("joint rotations", character.joint_rotations, (joints, 3))
    if character.world_from_head is not None:
        check_rigid("world_from_head", character.world_from_head)
    _check_morphs(character, vertices)


def _check_morphs(character: GlbCharacter, vertices: int) -> None:
    """Raise unless names, deltas and weights of the morphs belong together."""
    count = len(character.morph_names)
    _require_unique("morph names", character.morph_names)
    if (character.morph_deltas is None) != (count == 0):
        raise InputError("Morphs need names and deltas; give both or none.")
    if character.morph_deltas is not None:
        _require_shape("morph deltas", character.morph_deltas, (count, vertices, 3))
    if character.morph_weights is not None:
        _require_shape("morph weights", character.morph_weights, (count,))


def check_animation(animation: GlbAnimation, character: GlbCharacter) -> None:
    """Raise unless the animation fits the character.

    Raises:
        InputError: Times do not increase, or a track has the wrong shape or values.
    """
    count = animation.times_s.size
    _require_shape("key times", animation.times_s, (count,))
    # Players compare the stored float32 times, so these must differ too.
    times = animation.times_s.astype(np.float32)
    if count == 0 or times[0] < 0 or (np.diff(times) <= 0).any():
        raise InputError("The key times must start at zero or later and increase; sort them.")
    morphs, joints = len(character.morph_names), len(character.joint_names)
    tracks = (animation.morph_weights, animation.joint_rotations, animation.world_from_head)
    if all(track is None for track in tracks):
        raise InputError("The animation has no track; give at least one or leave it out.")
    if animation.morph_weights is not None:
        if morphs == 0:
            raise InputError("The animation moves morphs but the head has none; leave them out.")
        _require_shape("animated morph weights", animation.morph_weights, (count, morphs))
    if animation.joint_rotations is not None:
        _require_shape("animated joint rotations", animation.joint_rotations, (count, joints, 3))
    if animation.world_from_head is not None:
        _require_shape("animated world_from_head", animation.world_from_head, (count, 4, 4))
        check_rigid("The animated world_from_head", animation.world_from_head)
