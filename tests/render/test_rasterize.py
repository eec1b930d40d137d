import dataclasses

import numpy as np
import pytest
import torch

from face3d.core import Camera, HeadMesh, InputError, Topology
from face3d.core.camera import homogeneous_pixels
from face3d.render import (
    fill_smoothly,
    interpolate,
    linear_from_srgb,
    rasterize,
    sample_texture,
    srgb_from_linear,
    texel_fragments,
    vertex_normals,
)
from face3d.render.numba_raster import rasterize_batch


def camera(size: int = 64) -> Camera:
    half = torch.tensor(size / 2)
    return Camera(
        fx=torch.tensor(float(size)), fy=torch.tensor(float(size)), cx=half, cy=half, width=size,
        height=size, camera_from_world=torch.eye(4),
    )  # fmt: skip


def mesh(vertices, faces) -> HeadMesh:
    return HeadMesh(
        vertices=torch.as_tensor(vertices).float(),
        frame="world",
        topology=Topology(faces=np.asarray(faces, dtype=np.int64)),
    )


def soup(seed: int, count: int = 40) -> HeadMesh:
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-1, 1, (3 * count, 3)) + np.array([0, 0, 2.5])
    return mesh(vertices, np.arange(3 * count).reshape(-1, 3))


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_agrees_with_its_plain_twin(seed, cull):
    fast = rasterize(soup(seed), camera(), backend="numba", cull_back=cull)
    plain = rasterize(soup(seed), camera(), backend="torch", cull_back=cull)
    assert (fast.face_index >= 0).any()
    torch.testing.assert_close(fast.face_index, plain.face_index)
    torch.testing.assert_close(fast.barycentric, plain.barycentric, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(fast.depth_m, plain.depth_m)


def test_two_triangles_share_every_pixel_of_their_square_once():
    # Corners on pixel centres: the fill rule alone decides who gets the diagonal and the border.
    a, b = (8.5 - 32) / 64, (40.5 - 32) / 64
    corners = [[a, a, 1], [b, a, 1], [b, b, 1], [a, b, 1]]
    whole = rasterize(mesh(corners, [[0, 2, 1], [0, 3, 2]]), camera(), cull_back=False)
    assert int((whole.face_index >= 0).sum()) == 32 * 32
    each = [
        rasterize(mesh(corners, [face]), camera(), cull_back=False).face_index >= 0
        for face in ([0, 2, 1], [0, 3, 2])
    ]
    assert not (each[0] & each[1]).any()


def test_barycentrics_are_perspective_correct():
    slanted = mesh([[-1, -1, 1.0], [1, -1, 3.0], [0, 1, 2.0]], [[0, 1, 2]])
    fragments = rasterize(slanted, camera(), cull_back=False)
    seen = fragments.face_index >= 0
    points = interpolate(fragments, slanted.vertices, torch.as_tensor(slanted.topology.faces))[seen]
    rows, columns = torch.nonzero(seen, as_tuple=True)
    torch.testing.assert_close(points[:, 2], fragments.depth_m[seen])
    # Corners are snapped to 1/256 px.
    pixel = points[:, :2] / points[:, 2:] * 64 + 32
    expected = torch.stack([columns + 0.5, rows + 0.5], dim=-1)
    torch.testing.assert_close(pixel, expected, atol=0.01, rtol=0)


def test_the_nearer_face_wins_whatever_the_order():
    near = [[-1, -1, 1.0], [1, -1, 1.0], [0, 1, 1.0]]
    far = [[-2, -2, 2.0], [2, -2, 2.0], [0, 2, 2.0]]
    fragments = rasterize(mesh(far + near, [[0, 1, 2], [3, 4, 5]]), camera(), cull_back=False)
    assert fragments.face_index[32, 32] == 1
    assert fragments.depth_m[32, 32] == 1.0


def floor_plane(reach_m: float) -> HeadMesh:
    """A floor half a metre below the camera that passes under it."""
    r = reach_m
    corners = [[-r, 0.5, -r], [r, 0.5, -r], [r, 0.5, r], [-r, 0.5, r]]
    return mesh(corners, [[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("reach_m", [5.0, 3e4])
def test_a_floor_that_passes_under_the_camera_fills_the_lower_half(backend, reach_m):
    plane = floor_plane(reach_m)
    fragments = rasterize(plane, camera(), backend=backend, cull_back=False)
    seen = fragments.face_index >= 0
    # Depth at row v is 0.5 f / (v - cy); it must be nearer than the plane's far edge.
    rows = torch.arange(64)[:, None].expand(64, 64) + 0.5 - 32
    expected = (rows > 0) & (0.5 * 64 / rows < reach_m)
    assert (seen == expected).float().mean() > 0.995
    depth = 0.5 * 64 / rows[seen]
    torch.testing.assert_close(fragments.depth_m[seen], depth, rtol=1e-3, atol=0)


def test_clipped_neighbours_leave_no_crack():
    rng = np.random.default_rng(3)
    for _ in range(50):
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)] * 2), -1).reshape(-1, 2)
        points = np.concatenate([grid, np.zeros((81, 1))], 1) @ turn.T * 2 + [0, 0, 0.3]
        cell = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
        faces = np.concatenate([np.stack([cell, cell + 1, cell + 10], 1),
                                np.stack([cell, cell + 10, cell + 9], 1)])  # fmt: skip
        whole = rasterize(mesh(points[[0, 8, 80, 72]], [[0, 1, 2], [0, 2, 3]]), camera(),
                          cull_back=False).face_index >= 0  # fmt: skip
        parts = rasterize(mesh(points, faces), camera(), cull_back=False).face_index >= 0
        # Only the outer border may differ, where snapped corners bend it by 1/256 px.
        differ = torch.nonzero(whole != parts)
        eroded = torch.nn.functional.max_pool2d((~whole).float()[None], 3, 1, 1)[0] == 0
        assert not (eroded & ~parts).any(), differ


def test_several_topologies_become_a_batch():
    one, other = soup(1, 10), soup(2, 30)
    together = rasterize([one, other], camera(), cull_back=False)
    for k, each in enumerate((one, other)):
        alone = rasterize(each, camera(), cull_back=False)
        assert (together.face_index[k] == alone.face_index).all()


@pytest.mark.parametrize("cull", [False, True])
def test_derivatives_are_the_plain_twins(cull):
    rng = torch.Generator().manual_seed(0)
    pull = torch.randn(64, 64, 3, generator=rng), torch.randn(64, 64, generator=rng)
    found = []
    for backend in ("numba", "torch"):
        surface = soup(5, 12)
        surface.vertices.requires_grad_()
        view = camera()
        view = Camera(**{**vars(view), "fx": torch.tensor(64.0, requires_grad=True)})
        fragments = rasterize(surface, view, backend=backend, cull_back=cull)
        seen = fragments.face_index >= 0
        total = (fragments.barycentric * pull[0]).sum() + (fragments.depth_m * pull[1])[seen].sum()
        found.append(torch.autograd.grad(total, [surface.vertices, view.fx]))
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-3)


def test_derivatives_pass_gradcheck():
    surface = soup(6, 3)

    def values(vertices):
        moved = HeadMesh(vertices=vertices, frame="world", topology=surface.topology)
        view = Camera(
            **{
                k: v.double() if isinstance(v, torch.Tensor) else v
                for k, v in vars(camera(8)).items()
            }
        )
        fragments = rasterize(moved, view, cull_back=False)
        seen = fragments.face_index >= 0
        return fragments.barycentric, fragments.depth_m[seen]

    assert torch.autograd.gradcheck(values, surface.vertices.double().requires_grad_(), eps=1e-7)


def test_faces_behind_the_camera_are_left_out():
    behind = mesh([[-1, -1, -1.0], [1, -1, -1.0], [0, 1, -1.0]], [[0, 1, 2]])
    assert (rasterize(behind, camera(), cull_back=False).face_index == -1).all()


def test_an_empty_mesh_gives_an_empty_picture():
    empty = rasterize(mesh(np.zeros((3, 3)), np.zeros((0, 3))), camera())
    assert (empty.face_index == -1).all()


@pytest.mark.parametrize("bands", [1, 3, 64])
def test_the_number_of_bands_changes_nothing(bands):
    corners = homogeneous_pixels(camera(), soup(3).vertices)[None].double().numpy()
    faces = soup(3).topology.faces
    seen, weights = np.full((1, 64, 64), -1), np.zeros((1, 64, 64, 3))
    depth = np.full((1, 64, 64), np.inf)
    rasterize_batch(corners, faces, 0.01, False, bands, seen, weights, depth)
    expected = rasterize(soup(3), camera(), backend="torch", cull_back=False)
    np.testing.assert_array_equal(seen[0], expected.face_index.numpy())
    np.testing.assert_allclose(weights[0], expected.barycentric.numpy(), atol=1e-6)


@pytest.mark.slow
def test_random_garbage_never_crashes():
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        scale = 10.0 ** rng.integers(-9, 9)
        vertices = rng.standard_normal((12, 3)) * scale
        faces = rng.integers(0, 12, (20, 3))
        fragments = rasterize(mesh(vertices, faces), camera(16), cull_back=False)
        assert fragments.face_index.max() < 20
        assert torch.isfinite(fragments.barycentric).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vertices_that_are_not_finite_are_refused(bad):
    with pytest.raises(InputError, match="NaN or infinite"):
        rasterize(mesh([[bad, 0, 1], [0, 1, 1], [1, 0, 1]], [[0, 1, 2]]), camera())


def test_an_index_out_of_range_is_refused():
    with pytest.raises(InputError, match="names vertex 3"):
        rasterize(mesh(np.ones((3, 3)), [[0, 1, 3]]), camera())


@pytest.mark.parametrize("size", [0, 20000])
def test_a_picture_without_or_with_too_many_pixels_is_refused(size):
    with pytest.raises(InputError, match="between 1 and 16384"):
        rasterize(mesh(np.ones((3, 3)), [[0, 1, 2]]), camera(size))


@pytest.mark.parametrize("batch", [(1,), (2, 3)])
def test_batches_are_what_single_meshes_are(batch):
    one = soup(7)
    many = HeadMesh(
        vertices=one.vertices.expand(*batch, -1, 3).clone(), frame="world", topology=one.topology
    )
    single, several = rasterize(one, camera()), rasterize(many, camera())
    assert several.face_index.shape == (*batch, 64, 64)
    assert (several.face_index == single.face_index).all()


def test_normals_of_a_flat_square_point_one_way():
    square = mesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    normals = vertex_normals(square.vertices, torch.as_tensor(square.topology.faces))
    torch.testing.assert_close(normals, torch.tensor([0.0, 0, 1]).expand(4, 3))


def test_srgb_and_linear_are_inverse():
    values = torch.linspace(0, 1, 101)
    torch.testing.assert_close(linear_from_srgb(srgb_from_linear(values)), values)


def test_a_texel_is_looked_up_where_it_was_drawn():
    uv = np.array([[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]])
    topology = Topology(faces=np.array([[0, 1, 2]]), uv=uv, uv_faces=np.array([[0, 1, 2]]))
    fragments = texel_fragments(topology, 32)
    covered = fragments.face_index >= 0
    where = (torch.tensor(uv).float()[None] * fragments.barycentric[covered][..., None]).sum(1)
    texture = torch.arange(32 * 32).float().reshape(1, 32, 32)
    torch.testing.assert_close(
        sample_texture(texture, where)[:, 0], texture[0][covered], atol=0.5, rtol=0
    )


def test_filling_keeps_what_was_seen_and_stays_within_its_range():
    rgb = torch.rand(3, 64, 64)
    weight = (torch.rand(64, 64) < 0.05).float()
    filled = fill_smoothly(rgb, weight)
    seen = weight == 1
    torch.testing.assert_close(filled[:, seen], rgb[:, seen])
    assert filled.min() >= rgb[:, seen].min() - 1e-4
    assert filled.max() <= rgb[:, seen].max() + 1e-4


def test_slivers_give_weights_between_zero_and_one():
    # Thinner than the grid of snapped corners: the ray may miss the face that its pixel sees.
    rng = np.random.default_rng(0)
    ends = np.concatenate([rng.uniform(-1, 1, (300, 2, 2)), np.full((300, 2, 1), 1.0)], axis=2)
    third = ends[:, :1] + [0, 1e-4, 0]
    corners = np.concatenate([ends, third], axis=1).reshape(-1, 3)
    for backend in ("numba", "torch"):
        surface = mesh(corners, np.arange(900).reshape(-1, 3))
        surface.vertices.requires_grad_()
        fragments = rasterize(surface, camera(128), backend=backend, cull_back=False)
        seen = fragments.barycentric[fragments.face_index >= 0]
        assert len(seen) > 30
        assert seen.min() >= -0.05
        torch.testing.assert_close(seen.sum(-1), torch.ones(len(seen)))
        gradient = torch.autograd.grad(seen[:, 0].sum(), surface.vertices)[0]
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("backend", ["numba", "torch", "warp"])
def test_of_equal_faces_the_first_is_seen(backend):
    if backend == "warp":
        pytest.importorskip("warp")
    corners = [[-1.0, -0.9, 1.7], [1.1, -0.8, 2.9], [0.1, 1.2, 2.2]]
    twice = rasterize(mesh(corners * 2, [[0, 1, 2], [3, 4, 5]]), camera(), cull_back=False,
                      backend=backend)  # fmt: skip
    assert (twice.face_index == 0).any()
    assert not (twice.face_index == 1).any()


def test_texels_follow_the_texture_faces():
    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    first = Topology(faces=faces, uv=uv, uv_faces=faces)
    second = Topology(faces=faces, uv=uv, uv_faces=faces[::-1].copy())
    seen = [texel_fragments(topology, 16).face_index for topology in (first, second)]
    assert torch.equal(seen[0], 1 - seen[1])


def test_a_list_of_meshes_takes_a_camera_for_each():
    view = camera()
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = 0.3
    lens = {name: getattr(view, name).expand(2) for name in ("fx", "fy", "cx", "cy")}
    several = dataclasses.replace(view, camera_from_world=poses, **lens)
    found = rasterize([soup(1), soup(2, 20)], several, cull_back=False)
    assert found.face_index.shape == (2, 64, 64)
    alone = rasterize(
        soup(2, 20), dataclasses.replace(view, camera_from_world=poses[1]), cull_back=False
    )
    assert torch.equal(found.face_index[1], alone.face_index)
    with pytest.raises(InputError, match="at least one"):
        rasterize([], view)
