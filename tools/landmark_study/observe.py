"""Renders, and what a detector makes of them."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from face3d.model.head import HeadModel
from face3d.render import rasterize
from landmark_study.looks import make_skin, make_texel_map
from landmark_study.scenes import random_scene, render_scene

Detector = Callable[[np.ndarray], np.ndarray | None]
"""A picture (h, w, 3) to landmarks (478, 3) in px, or None where no face is found."""


def observe(
    model: HeadModel, detector: Detector, *, count: int, seed: int, yaw_deg: float, looks: int = 150
) -> dict[str, np.ndarray]:
    """Render random heads and detect landmarks on them.

    Returns:
        Arrays over the pictures in which a face was found: the scene's parameters, ``detected``
        (n, 478, 3) px, and where on the surface each landmark lies: ``hit_face`` (-1 beside the
        head) and ``hit_bary``.
    """
    rng = np.random.default_rng(seed)
    texels = make_texel_map(model.data, 512)
    skins = [torch.tensor(make_skin(rng, texels)) for _ in range(looks)]
    rows: dict[str, list[np.ndarray]] = {}
    start = time.time()
    for number in range(count):
        scene = random_scene(rng, model, yaw_deg=yaw_deg)
        picture = render_scene(rng, model, scene, skins[rng.integers(looks)])
        found = detector(picture)
        if number % 250 == 249:
            print(f"  {number + 1} of {count} pictures, {time.time() - start:.0f} s", flush=True)
        if found is None:
            continue
        fragments = rasterize(model.mesh(scene.params, frame="world"), scene.camera)
        column = np.clip(found[:, 0].astype(int), 0, scene.camera.width - 1)
        row = np.clip(found[:, 1].astype(int), 0, scene.camera.height - 1)
        p = scene.params
        values = {
            "shape": p.shape,
            "expression": p.expression,
            "eyes": p.eyes,
            "world_from_head": p.world_from_head,
            "focal_px": scene.camera.fx,
            "yaw_pitch_rad": np.array([scene.yaw_rad, scene.pitch_rad]),
            "detected": found,
            "hit_face": fragments.face_index.numpy()[row, column],
            "hit_bary": fragments.barycentric.numpy()[row, column],
        }
        for name, value in values.items():
            rows.setdefault(name, []).append(np.asarray(value, dtype=None))
    return {name: np.stack(value) for name, value in rows.items()}


def cached(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Load arrays, or make and store them."""
    if path.exists():
        with np.load(path) as archive:
            return dict(archive)
    arrays = make()
    np.savez(path, **arrays)
    return arrays
