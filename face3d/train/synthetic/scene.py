"""Random people before random cameras: what there is to know about a picture."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import rigid_from_parts
from face3d.core.types import Camera, HeadParams
from face3d.model.head import HeadModel
from face3d.render import DirectionalLight, SphericalHarmonics, sh_basis
from face3d.render.shade import SH_SCALE
from face3d.train.synthetic.expressions import add_gaze, random_expression

FACING = np.diag([1.0, -1.0, -1.0])
"""Head axes to camera axes for a face that looks into the camera."""

# Irradiance is A(l) Y(lamp) Y(normal), and the renderer's basis is Y times SH_SCALE over Y's own
# constant.
_COSINE = torch.tensor([math.pi, 2 * math.pi / 3, math.pi / 4])
_OWN = torch.tensor([1 / 4, 3 / 4, 15 / 4, 15 / 16, 5 / 16]) / math.pi
_KINDS = [0, 1, 1, 1, 2, 2, 2, 3, 4]
_ORDERS = [0, 1, 1, 1, 2, 2, 2, 2, 2]
OF_A_LAMP = _COSINE[_ORDERS] * _OWN[_KINDS] / torch.tensor(SH_SCALE)[_KINDS] ** 2
"""A lamp's coefficients over the basis in its direction."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One head before one camera, whose frame is the world."""

    params: HeadParams
    vertices: Float[Tensor, "vertex 3"]  # in the head's frame
    camera: Camera
    ambient: SphericalHarmonics
    singles: tuple[DirectionalLight, ...]
    shaded: bool  # whether the single lights cast shadows
    irradiance: Float[Tensor, "9 3"]  # of all lights together, without shadows


def landmark_points(
    model: HeadModel, vertices: Float[Tensor, "*batch vertex 3"], layout: str = "mediapipe478"
) -> Float[Tensor, "*batch landmark 3"]:
    """Places of landmarks on a surface."""
    embedding = model.data.embeddings[layout]
    corners = vertices[..., torch.as_tensor(model.data.faces[embedding.face_index]), :]
    weights = torch.as_tensor(embedding.barycentric).to(vertices.dtype)
    return (corners * weights[..., None]).sum(-2)


def random_params(rng: np.random.Generator, model: HeadModel) -> HeadParams:
    """A person with an expression, looking somewhere; placed at the world's origin."""
    names = model.data.expression_names
    # Wider than the population: a network that saw few unusual faces makes all faces usual.
    shape = rng.uniform(0.8, 1.8) * rng.standard_normal(model.identity_count)
    gaze = rng.normal(0, [0.10, 0.20])
    expression = add_gaze(random_expression(rng, names), names, gaze[0], gaze[1])
    vergence = rng.normal(0, 0.02)
    eyes = np.array([[-gaze[0], gaze[1] - vergence, 0], [-gaze[0], gaze[1] + vergence, 0]])
    jaw = rng.normal(0, [0.02, 0.008, 0.004]) * (rng.random() < 0.3)
    neck = np.radians(rng.normal(0, [12, 15, 8])) * (rng.random() < 0.7)

    def tensor(value: Float[np.ndarray, "..."]) -> Tensor:
        return torch.as_tensor(value).float()

    return HeadParams(
        shape=tensor(shape), expression=tensor(expression), neck=tensor(neck), jaw=tensor(jaw),
        eyes=tensor(eyes), world_from_head=torch.eye(4),
    )  # fmt: skip


def random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """Camera axes from head axes: mostly half profiles at most, some full ones."""
    yaw = rng.normal(0, 24) if rng.random() < 0.7 else rng.uniform(-90, 90)
    pitch = rng.normal(0, 12)
    roll = rng.normal(0, 6 if rng.random() < 0.85 else 25)
    angles = torch.tensor(np.radians([[0, 0, roll], [pitch, 0, 0], [0, yaw, 0]]))
    turn, nod, spin = matrix_from_axis_angle(angles).numpy()
    return FACING @ turn @ nod @ spin


def crop_camera(
    rng: np.random.Generator, points: Float[np.ndarray, "landmark 3"], size: int
) -> Camera:
    """A camera that sees a square around a face, as crops of photos are: off its axis and all.

    Args:
        rng: Random numbers.
        points: Landmarks in the camera's axes, in front of it.
        size: Side of its picture, px.
    """
    seen = points[:, :2] / points[:, 2:]
    low, high = seen.min(0), seen.max(0)
    side = (high - low).max() * np.clip(rng.normal(1.5, 0.1), 1.2, 1.9)
    focal = size / side
    middle = (low + high) / 2 + rng.normal(0, 0.035, 2) * side
    at = size / 2 - focal * middle
    return Camera(
        fx=torch.tensor(focal).float(), fy=torch.tensor(focal).float(),
        cx=torch.tensor(at[0]).float(), cy=torch.tensor(at[1]).float(),
        width=size, height=size, camera_from_world=torch.eye(4),
    )  # fmt: skip


def random_lights(
    rng: np.random.Generator,
) -> tuple[SphericalHarmonics, tuple[DirectionalLight, ...], Float[Tensor, "9 3"]]:
    """Light from everywhere, up to three lamps or suns, and the irradiance of all."""
    tint = np.exp(rng.normal(0, 0.06, 3))
    ambient = np.zeros((9, 3))
    ambient[0] = rng.uniform(0.3, 1.2) * tint
    sky = rng.standard_normal(3) * [1, 0.6, 1] - [0, 0.7, 0]
    basis = sh_basis(torch.tensor(sky / np.linalg.norm(sky))).numpy()
    ambient += basis[:, None] * tint * np.exp(rng.normal(0, 0.08, 3)) * rng.uniform(0, 0.6)
    ambient[3:] += rng.normal(0, 0.03, (6, 3))
    total = torch.tensor(ambient).float()
    singles: list[DirectionalLight] = []
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.2, 0.45, 0.25, 0.1])):
        towards = np.array([rng.normal(0, 0.9), rng.normal(-0.4, 0.6), -abs(rng.normal(0.9, 0.6))])
        towards /= np.linalg.norm(towards)
        rgb = np.exp(rng.normal(0, 0.07, 3)) * rng.uniform(0.1, 1.1)
        way = torch.tensor(towards).float()
        colour = torch.tensor(rgb).float()
        singles.append(DirectionalLight(towards=way, rgb=colour))
        total = total + _irradiance_of(way)[:, None] * colour
    return SphericalHarmonics(coefficients=torch.tensor(ambient).float()), tuple(singles), total


def _irradiance_of(towards: Float[Tensor, "3"]) -> Float[Tensor, "9"]:
    """Coefficients nearest to Lambert's cosine (Ramamoorthi & Hanrahan, 2001)."""
    return sh_basis(towards) * OF_A_LAMP


def random_scene(rng: np.random.Generator, model: HeadModel, *, size: int = 224) -> Scene:
    """Draw identity, expression, gaze, pose, camera and light."""
    params = random_params(rng, model)
    vertices = model(params.shape, params.expression, params.neck, params.jaw, params.eyes)
    points = landmark_points(model, vertices).double().numpy()
    rotation = random_rotation(rng)
    distance = float(np.exp(rng.uniform(np.log(0.3), np.log(3.0))))
    turned = points @ rotation.T
    middle = turned.mean(0)
    off = np.append(rng.normal(0, 0.12, 2), 0.0) * distance
    place = np.array([0.0, 0.0, distance]) - middle + off
    camera = crop_camera(rng, turned + place, size)
    ambient, singles, irradiance = random_lights(rng)
    pose = rigid_from_parts(torch.tensor(rotation), torch.tensor(place)).float()
    return Scene(
        params=HeadParams(
            shape=params.shape, expression=params.expression, neck=params.neck, jaw=params.jaw,
            eyes=params.eyes, world_from_head=pose,
        ),
        vertices=vertices, camera=camera, ambient=ambient, singles=singles,
        shaded=bool(rng.random() < 0.4),
        irradiance=irradiance,
    )  # fmt: skip
