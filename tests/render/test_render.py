import dataclasses

import numpy as np
import pytest
import torch

from face3d.core import Camera, HeadMesh, InputError, Topology
from face3d.pipeline import load_head
from face3d.render import (
    DirectionalLight,
    PointLight,
    SphericalHarmonics,
    mipmapped,
    portrait_camera,
    render,
    sample_mipmapped,
    sample_texture,
    srgb_from_linear,
)
from face3d.render.light import Surface, shade

SIZE = 48


@pytest.fixture(scope="module")
def head() -> HeadMesh:
    model = load_head()
    rest = model(torch.zeros(140), torch.zeros(52)).detach()
    return HeadMesh(vertices=rest, frame="world", topology=model.data.topology)


@pytest.fixture(scope="module")
def view() -> Camera:
    return portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.4, size=SIZE)


def ambient(level: float = 2.0) -> SphericalHarmonics:
    coefficients = torch.zeros(9, 3)
    coefficients[0] = level
    return SphericalHarmonics(coefficients=coefficients)


def lamp() -> DirectionalLight:
    return DirectionalLight(towards=torch.tensor([0.3, 0.5, 1.0]), rgb=torch.ones(3))


def test_background_shows_where_the_head_does_not(head, view):
    picture = render(head, view, background=(0.2, 0.4, 0.6))
    away = picture[3] == 0
    assert 0.2 < away.float().mean() < 0.8
    expected = torch.tensor([0.2, 0.4, 0.6])[:, None].expand(3, int(away.sum()))
    torch.testing.assert_close(picture[:3, away], expected)
    photo = torch.rand(3, SIZE, SIZE)
    behind = render(head, view, background=photo)
    torch.testing.assert_close(behind[:3, away], photo[:, away], atol=1e-3, rtol=1e-3)


def test_a_batch_is_what_its_pictures_are(head, view):
    several = torch.stack([head.vertices, head.vertices + torch.tensor([0.02, 0, 0])])
    lights = [ambient(), lamp()]
    together = render(dataclasses.replace(head, vertices=several), view, light=lights)
    assert together.shape == (2, 4, SIZE, SIZE)
    for k in range(2):
        alone = render(dataclasses.replace(head, vertices=several[k]), view, light=lights)
        torch.testing.assert_close(together[k], alone, atol=1e-5, rtol=1e-4)


def test_each_picture_of_a_batch_has_its_own_light(head, view):
    several = head.vertices.expand(2, -1, 3)
    two = torch.stack([ambient(1.0).coefficients, ambient(3.0).coefficients])
    lit = render(
        dataclasses.replace(head, vertices=several), view,
        light=SphericalHarmonics(coefficients=two), linear=True,
    )  # fmt: skip
    solid = lit[0, 3] > 0.99
    torch.testing.assert_close(lit[1, :3, solid], 3 * lit[0, :3, solid])


def test_linear_and_srgb_pictures_agree(head, view):
    linear = render(head, view, light=ambient(), linear=True)
    torch.testing.assert_close(
        srgb_from_linear(linear[:3]), render(head, view, light=ambient())[:3]
    )


def test_supersampling_comes_near_to_the_smoothed_edges(head, view):
    plain = render(head, view, light=ambient())
    fine = render(head, view, light=ambient(), supersample=4)
    assert (plain[3] - fine[3]).abs().mean() < 0.004
    assert fine[3].sum() == pytest.approx(plain[3].sum().item(), rel=0.004)


@pytest.mark.parametrize("lights", ["none", "sh", "directional", "point"])
def test_gradients_reach_everything(head, view, lights):
    vertices = head.vertices.clone().requires_grad_()
    texture = torch.full((3, 64, 64), 0.5, requires_grad=True)
    focal = view.fx.clone().requires_grad_()
    pose = view.camera_from_world.clone().requires_grad_()
    colour = torch.full((3,), 0.8, requires_grad=True)
    chosen = {
        "none": (),
        "sh": SphericalHarmonics(coefficients=colour.expand(9, 3) * 0.3),
        "directional": DirectionalLight(towards=torch.tensor([0.0, 0.3, 1.0]), rgb=colour),
        "point": PointLight(place_m=torch.tensor([0.2, 0.3, 0.9]), rgb=colour),
    }[lights]
    camera = dataclasses.replace(view, fx=focal, camera_from_world=pose)
    picture = render(
        dataclasses.replace(head, vertices=vertices), camera, texture=texture, light=chosen,
        background=(0.1, 0.1, 0.1),
    )  # fmt: skip
    pull = torch.rand(picture.shape, generator=torch.Generator().manual_seed(0))
    (picture * pull).sum().backward()
    wanted = [vertices, texture, focal, pose] + ([] if lights == "none" else [colour])
    for tensor in wanted:
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0


def test_the_picture_moves_as_its_gradient_says(head, view):
    weight = torch.linspace(-1, 1, SIZE)

    def value(shift: torch.Tensor) -> torch.Tensor:
        moved = head.vertices + shift * torch.tensor([1.0, 0, 0])
        picture = render(
            dataclasses.replace(head, vertices=moved), view, linear=True, background=(0.9, 0.2, 0.1)
        )
        return (picture[:3] * weight).sum()

    pixel = 0.3 / SIZE
    slopes = []
    for part in torch.linspace(0, 1, 17)[:-1]:
        shift = (part * pixel).requires_grad_()
        slopes.append(torch.autograd.grad(value(shift), shift)[0].item())
    with torch.no_grad():
        difference = (value(torch.tensor(pixel)) - value(torch.tensor(0.0))) / pixel
    assert np.mean(slopes) == pytest.approx(difference.item(), rel=0.03)


def test_shading_passes_gradcheck():
    rng = torch.Generator().manual_seed(0)

    def rand(*size: int) -> torch.Tensor:
        return torch.rand(*size, generator=rng, dtype=torch.float64)

    normal = torch.nn.functional.normalize(rand(5, 3) + 0.2, dim=-1)
    towards = torch.nn.functional.normalize(rand(5, 3) + 0.2, dim=-1)

    def lit(albedo, normal, point, sh, place, rgb):
        surface = Surface(
            albedo=albedo, normal=normal, point=point, towards_eye=towards,
            roughness=torch.full((5,), 0.4, dtype=torch.float64),
        )  # fmt: skip
        lights = [
            SphericalHarmonics(coefficients=sh),
            PointLight(place_m=place, rgb=rgb),
            DirectionalLight(towards=place, rgb=rgb),
        ]
        return shade(surface, lights)

    inputs = [rand(5, 3), normal, 0.1 * rand(5, 3), rand(9, 3), rand(3) + 1, rand(3)]
    assert torch.autograd.gradcheck(lit, [x.requires_grad_() for x in inputs])


def test_white_paper_under_a_lamp_has_the_lamps_colour():
    one = torch.tensor([[0.0, 0, 1]])
    surface = Surface(
        albedo=torch.ones(1, 3), normal=one, point=0 * one, towards_eye=one, roughness=torch.ones(1)
    )
    rgb = torch.tensor([0.2, 0.5, 0.9])
    light = DirectionalLight(towards=one[0] * 7, rgb=rgb)
    # But for what its shine would take away.
    torch.testing.assert_close(shade(surface, [light])[0], rgb, atol=0.03, rtol=0)
    point = PointLight(place_m=2 * one[0], rgb=rgb)
    torch.testing.assert_close(shade(surface, [point]), shade(surface, [light]) / 4)


def test_a_checkerboard_far_away_is_grey():
    board = (torch.arange(256)[:, None] + torch.arange(256)[None]).remainder(2).float()
    texture = mipmapped(board[None].repeat(3, 1, 1))
    uv = torch.rand(100, 2)
    near = sample_mipmapped(texture, uv, torch.full((100,), 1 / 256))
    torch.testing.assert_close(near, sample_texture(texture.levels[0], uv))
    far = sample_mipmapped(texture, uv, torch.full((100,), 8 / 256))
    torch.testing.assert_close(far, torch.full((100, 3), 0.5))
    # Between two levels the result lies between theirs.
    between = sample_mipmapped(texture, uv, torch.full((100,), 2**0.5 / 256))
    torch.testing.assert_close(between, 0.5 * near + 0.25, atol=1e-5, rtol=1e-4)


def test_the_footprint_of_a_facing_square_is_its_texels_per_pixel():
    from face3d.render import rasterize, texture_footprint

    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    corners = torch.tensor([[-0.5, 0.5, 1], [0.5, 0.5, 1], [0.5, -0.5, 1], [-0.5, -0.5, 1]])
    square = HeadMesh(
        vertices=corners, frame="world", topology=Topology(faces=faces, uv=uv, uv_faces=faces)
    )
    half = torch.tensor(32.0)
    camera = Camera(fx=half, fy=half, cx=half, cy=half, width=64, height=64,
                    camera_from_world=torch.eye(4))  # fmt: skip
    fragments = rasterize(square, camera, cull_back=False)
    seen = fragments.face_index >= 0
    assert seen.sum() == 32 * 32
    found = texture_footprint(fragments, square, camera)
    torch.testing.assert_close(found[seen], torch.full((32 * 32,), 1 / 32))
    assert (found[~seen] == 0).all()


def test_bad_textures_and_sizes_are_refused(head, view):
    with pytest.raises(InputError, match="power"):
        render(head, view, texture=torch.zeros(3, 100, 100))
    bare = dataclasses.replace(head, topology=Topology(faces=head.topology.faces))
    with pytest.raises(InputError, match="texture coordinates"):
        render(bare, view, texture=torch.zeros(3, 64, 64))
    with pytest.raises(InputError, match="supersample"):
        render(head, view, supersample=0)


def test_nothing_in_view_is_background(head, view):
    away = dataclasses.replace(head, vertices=head.vertices + torch.tensor([0.0, 0.0, 50.0]))
    picture = render(away, view, light=[ambient(), lamp()], background=(0.5, 0.5, 0.5))
    assert (picture[3] == 0).all()
    torch.testing.assert_close(picture[:3], torch.full((3, SIZE, SIZE), 0.5))


@pytest.mark.slow
def test_pose_is_recovered_from_the_image_alone(head):
    """A small version of benchmarks/render.py's inverse rendering."""
    from face3d.core.rotations import matrix_from_axis_angle

    view = portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.0, size=96)
    lights = [ambient(1.0), lamp()]
    with torch.no_grad():
        target = render(head, view, light=lights)

    def posed(turn, shift):
        middle = torch.tensor([0.0, 0.0, 0.05])
        moved = (head.vertices - middle) @ matrix_from_axis_angle(turn).mT + middle + shift
        return dataclasses.replace(head, vertices=moved)

    turn = torch.tensor([0.1, -0.15, 0.08], requires_grad=True)
    shift = torch.tensor([0.006, -0.006, 0.0], requires_grad=True)
    optimizer = torch.optim.Adam([{"params": turn, "lr": 0.02}, {"params": shift, "lr": 1e-3}])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97)
    for _ in range(100):
        optimizer.zero_grad()
        loss = (render(posed(turn, shift), view, light=lights) - target).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert torch.rad2deg(turn.norm()) < 0.3
    assert shift[:2].norm() < 0.0005
