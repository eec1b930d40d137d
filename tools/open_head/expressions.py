"""The 52 ARKit shapes on the open head, from the CC0 Face Units targets, made to close."""

from pathlib import Path

import numpy as np

from open_head.assemble import Layout, affine_maps
from open_head.makehuman import BaseMesh, read_target

METRES_PER_DM = 0.1

# Most Face Units move as far as people do; these fall short by about these factors against a rig
# made from scans (docs/design/open-head.md). A smile's corners go up, but its upper lip hardly
# widens and its cheeks stay, which the dimple's does.
RECIPES = {
    "mouthSmile": {"mouthSmile": 0.7, "mouthDimple": 0.8},
    "mouthUpperUp": {"mouthUpperUp": 1.4},
    "mouthStretch": {"mouthStretch": 1.4},
    "mouthPucker": {"mouthPucker": 1.2},
    "mouthShrugLower": {"mouthShrugLower": 1.5},
    "mouthShrugUpper": {"mouthShrugUpper": 1.3},
    "mouthRollLower": {"mouthRollLower": 1.6},
    "mouthLeft": {"mouthLeft": 1.3},
    "mouthRight": {"mouthRight": 1.3},
    "browInnerUp": {"browInnerUp": 1.6},
    "browOuterUp": {"browOuterUp": 1.7},
    "noseSneer": {"noseSneer": 1.5},
}
"""ARKit shapes as sums of Face Units, by name without its side; the others are one unit."""


def mirrored_name(name: str) -> str:
    """The name of the shape on the other side; a shape without a side is its own mirror."""
    if "Left" in name:
        return name.replace("Left", "Right")
    return name.replace("Right", "Left")


def read_shapes(folder: Path, base: BaseMesh, layout: Layout, names: tuple[str, ...]) -> np.ndarray:
    """Offsets (v, 3, 52) in metres, exactly mirrored between left and right.

    Eyeballs are left to the eye joints, as on ARKit's own face, whose eyeLook shapes move lids.
    Upper teeth are the skull's. Lower teeth follow the affine motion of MakeHuman's.
    """
    shapes = np.zeros((len(names), len(layout.symmetry), 3))
    lower = base.groups["helper-lower-teeth"]
    arch = layout.arches["lower"].vertices
    homogeneous = np.concatenate([arch, np.ones((len(arch), 1))], axis=1)
    for k, name in enumerate(names):
        offsets = _mixed_units(folder, name, len(base.vertices))
        shapes[k, layout.ranges["skin"]] = offsets[layout.base_of_skin]
        shapes[k, layout.ranges["tongue"]] = offsets[layout.base_of_tongue]
        moved = affine_maps(base.vertices[lower], (base.vertices + offsets)[lower][None])[0]
        shapes[k, layout.ranges["lower_teeth"]] = homogeneous @ moved - arch
    other = [names.index(mirrored_name(name)) for name in names]
    mirrored = shapes[other][:, layout.symmetry] * [-1, 1, 1]
    return np.moveaxis(0.5 * (shapes + mirrored), 0, -1) * METRES_PER_DM


def _mixed_units(folder: Path, name: str, vertex_count: int) -> np.ndarray:
    """Offsets (v, 3) in decimetres of one ARKit shape from the Face Units."""
    stem = name.removesuffix("Left").removesuffix("Right")
    recipe = RECIPES.get(name) or RECIPES.get(stem) or {stem: 1.0}
    side = "" if name in RECIPES else name.removeprefix(stem)
    total = np.zeros((vertex_count, 3))
    for unit, share in recipe.items():
        path = folder / f"faceunits01/targets/faceunits/{unit}{side}.target"
        total += share * read_target(path, vertex_count)
    return total
