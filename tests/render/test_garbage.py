"""Whatever the mesh, a picture of finite numbers or one sentence."""

import dataclasses

import numpy as np
import pytest
import torch

from face3d.core import Camera, HeadMesh, InputError, Topology
from face3d.render import (
    DirectionalLight,
    Maps,
    PointLight,
    SphericalHarmonics,
    mipmapped,
    rasterize,
    render,
)

SIZE = 16


def camera(width: int = SIZE, height: int = SIZE) -> Camera:
    half, focal = torch.tensor(SIZE / 2), torch.tensor(float(SIZE))
    return Camera(fx=focal, fy=focal, cx=half, cy=half, width=width, height=height,
                  camera_from_world=torch.eye(4))  # fmt: skip


def garbage(rng: np.random.Generator) -> HeadMesh:
    """Random corners of any size, faces that fold and repeat corners, texture anywhere."""
    vertices = rng.standard_normal((12, 3)) * 10.0 ** rng.integers(-9, 9)
    if rng.random() < 0.3:
        vertices[:, 2] = np.abs(vertices[:, 2])
    if rng.random() < 0.1:
        vertices[:] = vertices[0]
    uv = rng.standard_normal((12, 2)) * 10.0 ** rng.integers(-3, 5)
    faces = rng.integers(0, 12, (20, 3))
    topology = Topology(faces=faces, uv=np.clip(uv, -1e6, 1e6), uv_faces=faces[:, ::-1].copy())
    return HeadMesh(vertices=torch.tensor(vertices).float(), frame="world", topology=topology)


def lights() -> list:
    return [
        SphericalHarmonics(coefficients=torch.rand(9, 3)),
        DirectionalLight(towards=torch.tensor([0.0, 0.0, -1.0]), rgb=torch.ones(3)),
        PointLight(place_m=torch.zeros(3), rgb=torch.ones(3)),
    ]


@pytest.mark.slow
def test_ten_thousand_pictures_of_garbage():
    rng = np.random.default_rng(5)
    texture = mipmapped(torch.rand(3, 16, 16))
    for number in range(10_000):
        mesh = garbage(rng)
        picture = render(mesh, camera(), texture=texture, light=lights(), cull_back=number % 2 == 0)
        assert torch.isfinite(picture).all()


@pytest.mark.slow
def test_a_thousand_gradients_of_garbage():
    rng = np.random.default_rng(6)
    maps = Maps(
        color=torch.rand(3, 16, 16), normal=torch.rand(3, 16, 16),
        displacement=1e-3 * torch.rand(1, 16, 16),
    )  # fmt: skip
    for number in range(1000):
        mesh = garbage(rng)
        mesh.vertices.requires_grad_()
        picture = render(mesh, camera(), texture=maps, light=lights(), cull_back=number % 2 == 0)
        assert torch.isfinite(picture).all()
        picture.sum().backward()
        assert torch.isfinite(mesh.vertices.grad).all()


def test_what_is_behind_the_camera_or_empty_is_an_empty_picture():
    mesh = garbage(np.random.default_rng(0))
    behind = dataclasses.replace(mesh, vertices=-mesh.vertices.abs() - 1)
    nothing = dataclasses.replace(mesh, topology=Topology(faces=np.zeros((0, 3), dtype=np.int64)))
    no_vertices = dataclasses.replace(nothing, vertices=torch.zeros(0, 3))
    for empty in (behind, nothing, no_vertices):
        picture = render(empty, camera(), light=lights(), background=(1.0, 0.0, 0.0))
        assert (picture[3] == 0).all()
        assert (picture[0] == 1).all()


@pytest.mark.parametrize(
    ("values", "says"), [(float("nan"), "NaN"), (float("inf"), "NaN"), (1e12, "beyond")]
)
def test_bad_vertices(values, says):
    mesh = garbage(np.random.default_rng(0))
    vertices = mesh.vertices.clone()
    vertices[3, 1] = values
    with pytest.raises(InputError, match=says):
        render(dataclasses.replace(mesh, vertices=vertices), camera())


@pytest.mark.parametrize("uv", [np.nan, np.inf, 1e9])
def test_bad_texture_coordinates(uv):
    mesh = garbage(np.random.default_rng(0))
    bad = mesh.topology.uv.copy()
    bad[2, 0] = uv
    topology = dataclasses.replace(mesh.topology, uv=bad)
    with pytest.raises(InputError, match="Texture coordinates"):
        render(dataclasses.replace(mesh, topology=topology), camera(), texture=torch.rand(3, 4, 4))


@pytest.mark.parametrize("faces", [np.full((20, 3), 12), np.full((20, 3), -1)])
def test_bad_texture_faces(faces):
    mesh = garbage(np.random.default_rng(0))
    topology = dataclasses.replace(mesh.topology, uv_faces=faces.astype(np.int64))
    with pytest.raises(InputError, match="uv_faces"):
        render(dataclasses.replace(mesh, topology=topology), camera(), texture=torch.rand(3, 4, 4))


def test_sizes_at_the_limit():
    mesh = garbage(np.random.default_rng(0))
    assert rasterize(mesh, camera(width=16_384, height=8)).face_index.shape == (8, 16_384)
    for view in (camera(width=0), camera(height=16_385), camera(16_384, 16_384)):
        with pytest.raises(InputError, match=r"width|height|pixels"):
            rasterize(mesh, view)


def test_a_wrong_supersample_is_refused():
    with pytest.raises(InputError, match="supersample"):
        render(garbage(np.random.default_rng(0)), camera(), supersample=0)
