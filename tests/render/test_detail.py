import dataclasses
import math

import numpy as np
import pytest
import torch
from squares import square

from face3d.core import Camera, HeadMesh, InputError, Topology
from face3d.render import DirectionalLight, Maps, displaced, matte, render
from face3d.render.detail import normals_of_map, normals_of_relief, slopes, texture_axes

SIDE = 0.2
"""Metres that the texture spans."""


def sheet(steps: int = 2) -> HeadMesh:
    """A square in the plane z = 1 m that faces a camera at the origin, texture upright."""
    uv, faces = square(steps)
    # OpenCV's y points down: v = 1 is the upper edge.
    corners = np.stack([(uv[:, 0] - 0.5) * SIDE, (0.5 - uv[:, 1]) * SIDE, np.ones(len(uv))], -1)
    return HeadMesh(
        vertices=torch.tensor(corners).float(),
        frame="world",
        topology=Topology(faces=faces, uv=uv, uv_faces=faces),
    )


def camera(size: int = 64) -> Camera:
    half, focal = torch.tensor(size / 2), torch.tensor(size / SIDE)
    return Camera(fx=focal, fy=focal, cx=half, cy=half, width=size, height=size,
                  camera_from_world=torch.eye(4))  # fmt: skip


def ramp(size: int, slope: float) -> torch.Tensor:
    """A displacement that rises by ``slope`` metres per metre along u."""
    u = (torch.arange(size) + 0.5) / size
    return (slope * SIDE * u).expand(1, size, size)


def lamp() -> DirectionalLight:
    return DirectionalLight(towards=torch.tensor([-0.6, 0.0, -0.8]), rgb=torch.ones(3))


def shown(**maps: torch.Tensor) -> torch.Tensor:
    mesh = sheet()
    return render(
        mesh, camera(), texture=Maps(**maps), light=lamp(), materials=matte(mesh.topology),
        linear=True,
    )[0, 16:48, 16:48]  # fmt: skip


def test_axes_are_how_far_the_texture_reaches():
    axes = texture_axes(sheet())
    expected = torch.tensor([SIDE, 0, 0, 0, -SIDE, 0]).expand(4, 6)
    torch.testing.assert_close(axes, expected, atol=1e-6, rtol=0)


def test_a_ramp_shades_as_the_tilted_plane_that_it_is():
    slope = 0.3
    flat, tilted = shown(), shown(displacement=ramp(64, slope))
    # Towards the camera is -z; rising along +x turns the normal to -x.
    normal = torch.tensor([-slope, 0.0, -1.0]) / math.hypot(1, slope)
    albedo = flat / flat.mean() * 0.8
    expected = albedo * (normal @ torch.tensor([-0.6, 0.0, -0.8])) / 0.8
    share = flat.mean() / 0.8
    # The rest is Fresnel's share, which is left out of the diffuse part.
    torch.testing.assert_close(tilted, expected * share, atol=2e-3, rtol=2e-3)


def test_a_normal_map_says_what_the_ramp_says():
    slope = 0.3
    tangent = torch.tensor([-slope, 0.0, 1.0]) / math.hypot(1, slope)
    encoded = ((tangent + 1) / 2)[:, None, None].expand(3, 64, 64)
    torch.testing.assert_close(
        shown(normal=encoded), shown(displacement=ramp(64, slope)), atol=1e-4, rtol=1e-3
    )


def test_green_in_a_normal_map_points_up():
    up = torch.tensor([0.0, 0.6, 0.8])
    encoded = ((up + 1) / 2)[:, None, None].expand(3, 64, 64)
    mesh = sheet()
    above = DirectionalLight(towards=torch.tensor([0.0, -0.6, -0.8]), rgb=torch.ones(3))
    below = DirectionalLight(towards=torch.tensor([0.0, 0.6, -0.8]), rgb=torch.ones(3))
    means = [
        render(mesh, camera(), texture=Maps(normal=encoded), light=light)[:3].mean()
        for light in (above, below)
    ]
    assert means[0] > 1.2 * means[1]


def test_a_mirrored_texture_keeps_its_relief_upright():
    axes = torch.tensor([[-0.2, 0, 0, 0, -0.2, 0]])
    normal = torch.tensor([[0.0, 0, -1]])
    for slope in ([0.06, 0.0], [0.0, 0.06]):
        relief = normals_of_relief(normal, axes, torch.tensor([slope]))
        tangent = torch.tensor([[-slope[0] / 0.2, -slope[1] / 0.2, 1.0]])
        tangent = tangent / tangent.norm()
        torch.testing.assert_close(normals_of_map(normal, axes, (tangent + 1) / 2), relief)


def test_gradients_reach_displacement_and_axes():
    torch.manual_seed(0)
    displacement = 0.01 * torch.rand(1, 8, 8, dtype=torch.float64)
    axes = torch.rand(64, 6, dtype=torch.float64)
    normal = torch.nn.functional.normalize(torch.rand(64, 3, dtype=torch.float64), dim=-1)

    def bent(heights: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
        return normals_of_relief(normal, along, slopes(heights).reshape(2, -1).T)

    assert torch.autograd.gradcheck(bent, (displacement.requires_grad_(), axes.requires_grad_()))


def test_the_picture_follows_the_displacement_as_its_gradient_says():
    mesh = sheet(5)
    heights = (1e-3 * torch.rand(1, 16, 16)).requires_grad_()

    def brightness(values: torch.Tensor) -> torch.Tensor:
        weights = torch.linspace(0, 1, 64)
        picture = render(mesh, camera(), texture=Maps(displacement=values), light=lamp())
        return (picture[0] * weights).mean()

    (gradient,) = torch.autograd.grad(brightness(heights), heights)
    way = torch.rand_like(heights)
    step = 2e-5
    with torch.no_grad():
        difference = brightness(heights + step * way) - brightness(heights - step * way)
    assert float(difference) / (2 * step) == pytest.approx(float((gradient * way).sum()), rel=0.02)


def test_displaced_vertices_move_along_their_normals():
    mesh = sheet(5)
    moved = displaced(mesh, torch.full((1, 16, 16), 0.01))
    torch.testing.assert_close(moved, mesh.vertices - torch.tensor([0, 0, 0.01]))


def test_a_mesh_without_texture_coordinates_takes_no_maps():
    bare = dataclasses.replace(sheet(), topology=Topology(faces=sheet().topology.faces))
    for maps in (
        Maps(color=torch.rand(3, 4, 4)),
        Maps(normal=torch.rand(3, 4, 4)),
        Maps(displacement=torch.rand(1, 4, 4)),
    ):
        with pytest.raises(InputError, match="texture coordinates"):
            render(bare, camera(), texture=maps, light=lamp())
    with pytest.raises(InputError, match="texture coordinates"):
        displaced(bare, torch.rand(1, 4, 4))
