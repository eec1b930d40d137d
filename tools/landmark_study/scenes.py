"""Random heads in random poses, seen by random cameras, and their pictures."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from face3d.core import Camera, HeadParams
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import rigid_from_parts
from face3d.model.head import HeadModel
from face3d.render import (
    interpolate,
    linear_from_srgb,
    rasterize,
    sample_texture,
    sh_basis,
    srgb_from_linear,
    vertex_normals,
)
from face3d.train.synthetic.expressions import add_gaze, random_expression

SIZE = 512


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One head in front of one camera; everything that is needed to know the truth."""

    params: HeadParams
    camera: Camera
    yaw_rad: float
    pitch_rad: float


def random_scene(rng: np.random.Generator, model: HeadModel, *, yaw_deg: float = 26.0) -> Scene:
    """Draw identity, expression, gaze, pose and camera."""
    names = model.data.expression_names
    shape = rng.standard_normal(model.identity_count)
    gaze = rng.normal(0, [0.08, 0.15])
    expression = add_gaze(random_expression(rng, names), names, gaze[0], gaze[1])
    eyes = np.tile([-gaze[0], gaze[1], 0.0], (2, 1))
    yaw = float(np.clip(rng.normal(0, yaw_deg), -85, 85))
    pitch, roll = float(rng.normal(0, 10)), float(rng.normal(0, 9))
    # Head axes to camera axes for a face that looks into the camera.
    facing = np.diag([1.0, -1.0, -1.0])
    angles = torch.tensor(np.radians([[0, 0, roll], [pitch, 0, 0], [0, yaw, 0]]))
    turn, nod, spin = matrix_from_axis_angle(angles)
    rotation = torch.tensor(facing) @ turn @ nod @ spin
    focal = SIZE * float(np.exp(rng.uniform(np.log(1.1), np.log(4.5))))
    distance = 0.24 * focal / SIZE * float(rng.uniform(1.15, 1.9))
    middle = rotation @ torch.tensor([0.0, 0.0, 0.05], dtype=torch.float64)
    aim = torch.tensor([*(rng.normal(0, 0.012, 2)), 0.0])
    place = torch.tensor([0.0, 0.0, distance], dtype=torch.float64) - middle + aim
    params = HeadParams(
        shape=torch.tensor(shape).float(),
        expression=torch.tensor(expression).float(),
        neck=torch.zeros(3),
        jaw=torch.zeros(3),
        eyes=torch.tensor(eyes).float(),
        world_from_head=rigid_from_parts(rotation, place).float(),
    )
    half = torch.tensor(SIZE / 2)
    camera = Camera(
        fx=torch.tensor(focal),
        fy=torch.tensor(focal),
        cx=half,
        cy=half,
        width=SIZE,
        height=SIZE,
        camera_from_world=torch.eye(4),
    )
    return Scene(
        params=params,
        camera=camera,
        yaw_rad=float(np.radians(yaw)),
        pitch_rad=float(np.radians(pitch)),
    )


def random_light(rng: np.random.Generator) -> Tensor:
    """Nine SH coefficients per colour, in the camera's axes: ambient and one or two key lights."""
    light = np.zeros((9, 3))
    light[0] = rng.uniform(0.9, 1.8) * (1 + 0.05 * rng.standard_normal(3))
    for _ in range(rng.integers(1, 3)):
        direction = np.array([rng.normal(0, 0.7), -abs(rng.normal(0.3, 0.5)), -1.0])
        direction /= np.linalg.norm(direction)
        basis = sh_basis(torch.tensor(direction)).numpy()
        tint = 1 + 0.08 * rng.standard_normal(3)
        light += basis[:, None] * tint * rng.uniform(0.15, 0.7)
    return torch.tensor(light).float()


def render_scene(
    rng: np.random.Generator, model: HeadModel, scene: Scene, texture: Tensor
) -> np.ndarray:
    """A picture (SIZE, SIZE, 3) uint8 of a scene, with a blurred random background."""
    data = model.data
    mesh = model.mesh(scene.params, frame="world")
    fragments = rasterize(mesh, scene.camera)
    faces = torch.as_tensor(data.faces)
    assert data.uv is not None
    assert data.uv_faces is not None
    normals = vertex_normals(mesh.vertices, faces)
    seen = fragments.face_index >= 0
    normal = interpolate(fragments, normals, faces)[seen]
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    uv = interpolate(fragments, torch.tensor(data.uv).float(), torch.as_tensor(data.uv_faces))
    albedo = linear_from_srgb(sample_texture(texture, uv[seen]))
    lit = albedo * (sh_basis(normal) @ random_light(rng)).clamp(min=0.02)
    half = torch.nn.functional.normalize(torch.tensor(rng.normal([0, -0.4, -1.2], 0.3)), dim=0)
    gloss = (normal @ half.float()).clamp(min=0) ** 24
    lit = lit + 0.06 * float(rng.random()) * gloss[..., None]
    shades = rng.uniform(0, 1, 3)[:, None, None] + 0.25 * np.stack(
        [gaussian_filter(rng.standard_normal((64, 64)), 6) * 10 for _ in range(3)]
    )
    backdrop = torch.nn.functional.interpolate(
        torch.tensor(shades).float()[None], size=(SIZE, SIZE), mode="bilinear"
    )[0].permute(1, 2, 0)
    picture = backdrop.clamp(0, 1)
    picture[seen] = srgb_from_linear(lit * float(rng.uniform(0.8, 1.3)))
    blurred = gaussian_filter(picture.numpy(), (0.6, 0.6, 0))
    noisy = blurred + rng.uniform(0, 0.02) * rng.standard_normal(blurred.shape)
    return (np.clip(noisy, 0, 1) * 255 + 0.5).astype(np.uint8)
