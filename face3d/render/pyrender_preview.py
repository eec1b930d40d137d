"""Previews by pyrender's OpenGL instead of ours (the extra ``pyrender``).

On a machine without a screen it needs EGL: ``apt-get install libegl1 libegl-mesa0
libgl1-mesa-dri``. It exists for comparison; ours is faster on a CPU and antialiased better.
"""

import os
from functools import cache
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from trimesh.visual import TextureVisuals

from face3d.core.errors import MissingDependencyError
from face3d.core.types import Camera, HeadMesh
from face3d.render.preview import SINGLE_LIGHTS

if "DISPLAY" not in os.environ:
    os.environ.setdefault("PYOPENGL_PLATFORM", "egl")

try:
    import pyrender
except ImportError as error:
    raise MissingDependencyError(
        "Drawing with pyrender needs pyrender: pip install 'face3d[pyrender]', and on a machine "
        "without a screen apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri."
    ) from error

_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@cache
def _renderer(width: int, height: int) -> Any:
    return pyrender.OffscreenRenderer(width, height)


def preview_pyrender(
    mesh: HeadMesh,
    camera: Camera,
    *,
    texture: Float[Tensor, "3 size size"] | None = None,
    background_srgb: tuple[float, float, float] = (0.93, 0.93, 0.95),
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Draw a head with the same lights as ``preview``, without shadows.

    Args:
        mesh: One surface in the world frame of ``camera``.
        camera: The view.
        texture: sRGB colours in [0, 1]; none draws clay.
        background_srgb: Behind the head.

    Returns:
        The picture, and 1 where the head is.
    """
    scene = pyrender.Scene(bg_color=[*background_srgb, 0.0], ambient_light=[0.35] * 3)
    scene.add(_primitive(mesh, texture))
    pose = np.linalg.inv(camera.camera_from_world.double().numpy()) @ _OPENGL_FROM_OPENCV
    lens = pyrender.IntrinsicsCamera(
        float(camera.fx), float(camera.fy), float(camera.cx), float(camera.cy), znear=0.01
    )
    scene.add(lens, pose=pose)
    for direction, rgb in SINGLE_LIGHTS:
        strength = max(rgb)
        lamp = pyrender.DirectionalLight(color=np.array(rgb) / strength, intensity=3 * strength)
        scene.add(lamp, pose=pose @ _turned_to(np.array(direction)))
    rgb, depth = _renderer(camera.width, camera.height).render(scene)
    return rgb, (depth > 0).astype(np.float32)


def _turned_to(direction: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """A pose whose +z points in a direction: lights shine along their -z."""
    z = direction / np.linalg.norm(direction)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    return pose


def _primitive(mesh: HeadMesh, texture: Tensor | None) -> Any:
    """The surface as pyrender's, with one vertex per texture coordinate."""
    topology, vertices = mesh.topology, mesh.vertices.detach().numpy()
    if texture is None or topology.uv is None or topology.uv_faces is None:
        surface = trimesh.Trimesh(vertices, topology.faces, process=False)
        return pyrender.Mesh.from_trimesh(surface, smooth=True)
    corner = np.zeros(len(topology.uv), dtype=np.int64)
    corner[topology.uv_faces] = topology.faces
    rgb = (texture * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
    visual = TextureVisuals(uv=topology.uv, image=Image.fromarray(rgb))
    surface = trimesh.Trimesh(vertices[corner], topology.uv_faces, process=False, visual=visual)
    return pyrender.Mesh.from_trimesh(surface, smooth=True)
