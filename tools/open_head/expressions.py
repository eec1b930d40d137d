"""The 52 ARKit shapes on the open head, from the CC0 Face Units targets, made to close."""

from pathlib import Path

import numpy as np

from open_head.assemble import Layout, affine_maps
from open_head.makehuman import BaseMesh, read_target

METRES_PER_DM = 0.1


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
        path = folder / f"faceunits01/targets/faceunits/{name}.target"
        offsets = read_target(path, len(base.vertices))
        shapes[k, layout.ranges["skin"]] = offsets[layout.base_of_skin]
        shapes[k, layout.ranges["tongue"]] = offsets[layout.base_of_tongue]
        moved = affine_maps(base.vertices[lower], (base.vertices + offsets)[lower][None])[0]
        shapes[k, layout.ranges["lower_teeth"]] = homogeneous @ moved - arch
    other = [names.index(mirrored_name(name)) for name in names]
    mirrored = shapes[other][:, layout.symmetry] * [-1, 1, 1]
    return np.moveaxis(0.5 * (shapes + mirrored), 0, -1) * METRES_PER_DM
