"""Joints, skinning weights and the jaw's pose corrective."""

import json
from pathlib import Path

import numpy as np

from open_head.assemble import Layout
from open_head.makehuman import BaseMesh

JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")
PARENTS = np.array([-1, 0, 1, 1, 1])


def _bone_weights(folder: Path, vertex_count: int, bones: tuple[str, ...]) -> np.ndarray:
    rig = json.loads((folder / "mpfb2/rigs/standard/weights.default.json").read_text())["weights"]
    weight = np.zeros(vertex_count)
    for bone, rows in rig.items():
        if bone.startswith(bones):
            for index, value in rows:
                weight[index] += value
    return weight


def affine_row(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Weights that sum to one and average ``points`` to ``place``, as even as that allows.

    They follow every affine change of the points, so a joint follows identity.
    """
    system = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    uniform = np.full(len(points), 1 / len(points))
    missing = np.append(place, 1.0) - system.T @ uniform
    return uniform + np.linalg.pinv(system.T) @ missing


def joint_regressor(
    template: np.ndarray, layout: Layout, places: dict[str, np.ndarray]
) -> np.ndarray:
    """Joints as weighted averages of vertices, (5, v).

    Args:
        template: The mean head.
        layout: The open head's layout.
        places: Where each joint lies in the mean head.
    """
    regressor = np.zeros((len(JOINT_NAMES), len(template)))
    skin = layout.ranges["skin"]
    for row, name in enumerate(JOINT_NAMES):
        if name in layout.ranges:
            members = layout.ranges[name]
        else:
            # Both sides of the head count for a joint in its middle.
            distance = np.linalg.norm((template[skin] - places[name]) * [0.6, 1, 1], axis=1)
            near = skin[np.argsort(distance, kind="stable")[:400]]
            members = np.unique(np.concatenate([near, layout.symmetry[near]]))
        regressor[row, members] = affine_row(template[members], places[name])
    return regressor


def jaw_motion(teeth: np.ndarray, teeth_open: np.ndarray, axis_point: np.ndarray) -> float:
    """The angle (rad) about the +x axis through ``axis_point`` that best opens the lower teeth."""
    a = (teeth - axis_point)[:, 1:]
    b = (teeth_open - axis_point)[:, 1:]
    return float(np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum()))


def rotate_about_x(points: np.ndarray, centre: np.ndarray, angle_rad: float) -> np.ndarray:
    """Turn points about the x axis through a centre."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return centre + (points - centre) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T


def jaw_follow(template: np.ndarray, opened: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """How much of the jaw's turn each vertex makes in the sculpted jawOpen, in [0, 1].

    Args:
        template: (v, 3).
        opened: The same with jawOpen.
        turned: The same with everything turned by the jaw's angle.
    """
    wanted, full = opened - template, turned - template
    norm = (full**2).sum(1)
    # Near the axis nothing moves and the quotient means nothing; such skin stays with the skull.
    follow = (wanted * full).sum(1) / np.maximum(norm, (0.004) ** 2)
    return np.clip(follow, 0, 1)


def smooth_on_mesh(values: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Average each vertex with its neighbours, ``rounds`` times."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    degree = np.bincount(edges.ravel(), minlength=len(values))
    for _ in range(rounds):
        total = np.bincount(edges[:, 0], values[edges[:, 1]], len(values))
        total += np.bincount(edges[:, 1], values[edges[:, 0]], len(values))
        values = 0.5 * values + 0.5 * total / np.maximum(degree, 1)
    return values


def skinning_weights(
    folder: Path, base: BaseMesh, layout: Layout, follow_jaw: np.ndarray
) -> np.ndarray:
    """Weights (v, 5): the throat blends from root to skull, the jaw as sculpted, eyes rigid."""
    count = len(layout.symmetry)
    weights = np.zeros((count, len(JOINT_NAMES)))
    base_count = len(base.vertices)
    body = _bone_weights(folder, base_count, ("spine", "clavicle", "shoulder", "upperarm"))
    lower = _bone_weights(folder, base_count, ("neck01",))
    middle = _bone_weights(folder, base_count, ("neck02",))
    upper = _bone_weights(folder, base_count, ("neck03",))
    still = np.clip(body + lower + 0.6 * middle + 0.25 * upper, 0, 1)[layout.base_of_skin]
    still = smooth_on_mesh(
        still, layout.faces[np.isin(layout.faces[:, 0], layout.ranges["skin"])], 8
    )
    skin = layout.ranges["skin"]
    jaw = follow_jaw.copy()
    jaw[skin] *= 1 - still
    weights[skin, 0] = still
    weights[:, 2] = jaw
    for side in ("left_eye", "right_eye"):
        weights[layout.ranges[side]] = np.eye(5)[JOINT_NAMES.index(side)]
    weights[layout.ranges["upper_teeth"]] = np.eye(5)[1]
    weights[layout.ranges["lower_teeth"]] = np.eye(5)[2]
    weights[:, 1] = 1 - weights[:, [0, 2, 3, 4]].sum(1)
    weights = 0.5 * (weights + weights[layout.symmetry][:, [0, 1, 2, 4, 3]])
    return np.clip(weights, 0, 1) / np.clip(weights, 0, 1).sum(1, keepdims=True)


def jaw_corrective(
    template: np.ndarray, opened: np.ndarray, turned: np.ndarray, weight: np.ndarray, angle: float
) -> np.ndarray:
    """Pose basis (v, 3, 36) that makes a jaw turned by ``angle`` look like the sculpted jawOpen.

    Blend skinning moves a vertex by its weight's share of the turn. What the sculpt does beyond
    that (lips, cheeks, throat) is added in the rest pose, in proportion to the sine of the
    angle: half on each of the two entries of R - I that are +-sin.
    """
    skinned = template + weight[:, None] * (turned - template)
    beyond = opened - skinned
    # Undo the skinning's linear part, because the corrective is added before it.
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    blended = weight[:, None, None] * rotation + (1 - weight)[:, None, None] * np.eye(3)
    rest = np.linalg.solve(blended, beyond[..., None])[..., 0]
    basis = np.zeros((len(template), 3, 36))
    jaw = 9 * (JOINT_NAMES.index("jaw") - 1)
    basis[:, :, jaw + 5] = -0.5 * rest / s
    basis[:, :, jaw + 7] = 0.5 * rest / s
    return basis
