import math

import numpy as np
import pytest
import torch
import trimesh

from face3d.core import Camera, HeadMesh, Topology
from face3d.pipeline import load_head
from face3d.render import antialias, portrait_camera, rasterize
from face3d.render.antialias import corner_pixels, faces_across, find_edges
from face3d.render.rasterize import NEAR_M
from face3d.render.silhouette_twin import find_silhouettes_plain


def camera(size: int, dtype=torch.float32) -> Camera:
    half, focal = torch.tensor(size / 2, dtype=dtype), torch.tensor(float(size), dtype=dtype)
    return Camera(
        fx=focal, fy=focal, cx=half, cy=half, width=size, height=size,
        camera_from_world=torch.eye(4, dtype=dtype),
    )  # fmt: skip


def surface(vertices, faces) -> HeadMesh:
    topology = Topology(faces=np.asarray(faces, dtype=np.int64))
    return HeadMesh(vertices=vertices, frame="world", topology=topology)


def coverage(mesh: HeadMesh, view: Camera, *, cull_back: bool = False) -> torch.Tensor:
    fragments = rasterize(mesh, view, cull_back=cull_back)
    solid = (fragments.face_index >= 0).to(mesh.vertices.dtype)[..., None]
    return antialias(solid, fragments, mesh, view)[..., 0]


def polygon(corners: int, radius_px: float, turn_rad: float, size: int) -> HeadMesh:
    """A flat regular polygon at a depth of one metre, as a fan."""
    angle = turn_rad + 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    rim = torch.stack([angle.cos(), angle.sin(), 0 * angle], -1) * radius_px / size
    points = torch.cat([torch.zeros(1, 3), rim]) + torch.tensor([0.003, -0.002, 1.0])
    fan = [[0, 1 + k, 1 + (k + 1) % corners] for k in range(corners)]
    return surface(points, fan)


def area(corners: int, radius_px: float) -> float:
    return 0.5 * corners * radius_px**2 * math.sin(2 * math.pi / corners)


@pytest.mark.parametrize("turn_rad", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("corners", [3, 4, 64])
def test_coverage_is_the_polygons_area_and_its_gradient_the_circumferences(corners, turn_rad):
    size, radius = 64, 20.3
    mesh = polygon(corners, radius, turn_rad, size)
    middle = mesh.vertices.mean(0) if corners > 3 else mesh.vertices[0]
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    grown = surface(middle + (mesh.vertices - middle) * scale, mesh.topology.faces)
    total = coverage(grown, camera(size, torch.float64)).sum()
    assert total.item() == pytest.approx(area(corners, radius), rel=0.01)
    (by_scale,) = torch.autograd.grad(total, scale)
    # dA/ds = 2 A for a shape grown about its middle.
    assert by_scale.item() == pytest.approx(2 * area(corners, radius), rel=0.04)


def test_a_moving_edge_moves_the_image_as_its_gradient_says():
    size = 32
    mesh = polygon(4, 9.0, 0.3, size)
    pull = torch.linspace(-1, 1, size, dtype=torch.float64)[None, :].expand(size, size)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def value(x: torch.Tensor) -> torch.Tensor:
        offset = torch.stack([x, 0.5 * x, 0 * x])
        moved = surface(mesh.vertices + offset, mesh.topology.faces)
        return (coverage(moved, camera(size, torch.float64)) * pull).sum()

    (slope,) = torch.autograd.grad(value(shift), shift)
    step = 0.15 / size  # a fraction of a pixel
    with torch.no_grad():
        difference = (value(shift + step) - value(shift - step)) / (2 * step)
    assert slope.item() == pytest.approx(difference.item(), rel=0.1)


@pytest.mark.parametrize("subdivisions", [3, 4, 5])
def test_faces_too_thin_for_a_pixel_are_not_missed_at_the_rim(subdivisions):
    # Up to 20,480 faces on 1,260 pixels.
    size, distance, radius = 48, 3.0, 1.25
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    points = torch.tensor(np.asarray(ball.vertices) * radius) + torch.tensor([0.0, 0.0, distance])
    found = coverage(
        surface(points, ball.faces[:, ::-1]), camera(size, torch.float64), cull_back=False
    )
    rim_px = size * radius / math.sqrt(distance**2 - radius**2)
    assert found.sum().item() == pytest.approx(math.pi * rim_px**2, rel=0.02)
    partly = ((found > 0.02) & (found < 0.98)).sum().item()
    # About one pixel in two of the circle's steps is split.
    assert partly > 0.6 * 2 * math.pi * rim_px


def test_interiors_and_lone_colours_are_left_alone():
    mesh = polygon(64, 20.0, 0.0, 64)
    view = camera(64, torch.float64)
    fragments = rasterize(mesh, view, cull_back=False)
    noise = torch.rand(64, 64, 3, dtype=torch.float64)
    out = antialias(noise, fragments, mesh, view)
    rows, columns = torch.meshgrid(*[torch.arange(64) + 0.5 - 32] * 2, indexing="ij")
    inner = (rows**2 + columns**2).sqrt() < 17
    assert torch.equal(out[inner], noise[inner])
    flat = torch.full((64, 64, 3), 0.3, dtype=torch.float64)
    torch.testing.assert_close(antialias(flat, fragments, mesh, view), flat)


def test_gradcheck():
    mesh = polygon(5, 3.0, 0.3, 8)
    fragments = rasterize(mesh, camera(8, torch.float64), cull_back=False)
    image = torch.rand(8, 8, 2, dtype=torch.float64, requires_grad=True)

    def smooth(colours, points):
        return antialias(
            colours, fragments, surface(points, mesh.topology.faces), camera(8, torch.float64)
        )

    points = mesh.vertices.clone().requires_grad_()
    assert torch.autograd.gradcheck(smooth, (image, points), eps=1e-8, atol=1e-4)


def test_a_batch_is_what_its_images_are():
    mesh = polygon(6, 12.0, 0.2, 32)
    view = camera(32, torch.float64)
    several = torch.stack([mesh.vertices, mesh.vertices + torch.tensor([0.05, 0, 0])])
    batch = coverage(surface(several, mesh.topology.faces), view)
    for k in range(2):
        alone = coverage(surface(several[k], mesh.topology.faces), view)
        torch.testing.assert_close(batch[k], alone)


def test_neighbours_across_edges():
    faces = np.array([[0, 1, 2], [2, 1, 3], [3, 1, 4], [1, 3, 5]])
    across = faces_across(faces)
    assert across[0].tolist() == [1, -1, -1]
    # Three faces share the edge 1-3, so it has no other side.
    assert across[1].tolist() == [-1, -1, 0]
    assert across[2].tolist() == [-1, -1, -1]


def test_what_passes_the_camera_does_no_harm():
    points = torch.tensor([[-1.0, 0.5, -1], [1, 0.5, -1], [1, 0.5, 3], [-1, 0.5, 3]])
    points.requires_grad_()
    fragments = rasterize(surface(points, [[0, 1, 2], [0, 2, 3]]), camera(32), cull_back=False)
    solid = (fragments.face_index >= 0).float()[..., None] + 0 * fragments.barycentric[..., :1]
    found = antialias(solid, fragments, surface(points, [[0, 1, 2], [0, 2, 3]]), camera(32))
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(points.grad).all()


@pytest.mark.parametrize("cull", [False, True])
def test_compiled_silhouettes_are_the_plain_ones(cull):
    model = load_head()
    rest = model(torch.zeros(140), torch.zeros(52)).detach()
    shifted = torch.stack([rest, rest + torch.tensor([0.02, 0.01, 0.0])])
    head = HeadMesh(vertices=shifted, frame="world", topology=model.data.topology)
    view = portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.6, size=80)
    fragments = rasterize(head, view, cull_back=cull)
    points, depth = corner_pixels(head, view, (2,))
    edges, towards = find_edges(points, depth, head, fragments)
    faces = torch.as_tensor(head.topology.faces)
    plain_edges, plain_towards = find_silhouettes_plain(
        points, depth, faces, torch.as_tensor(faces_across(head.topology.faces)), NEAR_M,
        fragments.face_index, fragments.depth_m,
    )  # fmt: skip
    assert (edges[..., 0] >= 0).sum() > 400
    assert torch.equal(edges, plain_edges)
    assert torch.equal(towards, plain_towards)
