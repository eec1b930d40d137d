"""The quick way must give the picture of the differentiable one."""

import dataclasses

import pytest
import torch

from face3d.core import Camera, HeadMesh
from face3d.pipeline import load_head
from face3d.render import (
    DirectionalLight,
    Light,
    PointLight,
    SphericalHarmonics,
    cast_shadows,
    lifelike,
    portrait_camera,
    render,
)
from face3d.render.memory import scratch

SIZE = 96
# The curve that encodes sRGB is a table in the quick way.
TOLERANCE = {"atol": 2e-5, "rtol": 2e-4}


@pytest.fixture(scope="module")
def head() -> HeadMesh:
    model = load_head()
    expression = torch.zeros(52)
    expression[list(model.data.expression_names).index("jawOpen")] = 0.6
    rest = model(torch.zeros(140), expression).detach()
    return HeadMesh(vertices=rest, frame="world", topology=model.data.topology)


@pytest.fixture(scope="module")
def view() -> Camera:
    return portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.4, size=SIZE)


def lights() -> list[Light]:
    torch.manual_seed(1)
    return [
        SphericalHarmonics(coefficients=torch.rand(9, 3)),
        DirectionalLight(towards=torch.tensor([0.4, 0.5, 1.0]), rgb=torch.rand(3)),
        PointLight(place_m=torch.tensor([-0.3, 0.2, 0.5]), rgb=0.2 * torch.rand(3)),
    ]


def both(head: HeadMesh, view: Camera, **options) -> tuple[torch.Tensor, torch.Tensor]:
    wanting = dataclasses.replace(head, vertices=head.vertices.clone().requires_grad_())
    return render(head, view, **options), render(wanting, view, **options).detach()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"linear": True},
        {"supersample": 2},
        {"background": (0.2, 0.5, 0.9)},
        {"background": torch.rand(3, SIZE, SIZE)},
        {"cull_back": False},
    ],
    ids=["clay", "linear", "supersampled", "colour", "photo", "back faces"],
)
@pytest.mark.parametrize("lit", [False, True])
def test_pictures_agree(head, view, options, lit):
    texture = torch.rand(3, 64, 64)
    quick, slow = both(head, view, texture=texture, light=lights() if lit else (), **options)
    torch.testing.assert_close(quick, slow, **TOLERANCE)


def test_shadows_and_materials_agree(head, view):
    towards = torch.tensor([[0.4, 0.5, 1.0], [-0.3, 0.2, 0.5]])
    options = {
        "light": lights(),
        "shadows": cast_shadows(head, towards),
        "materials": lifelike(head.topology),
    }
    quick, slow = both(head, view, **options)
    torch.testing.assert_close(quick, slow, **TOLERANCE)
    assert (quick - render(head, view, light=lights())).abs().max() > 0.05


def test_batches_agree(head, view):
    several = head.vertices + torch.tensor([0.0, 0.02])[:, None, None]
    light = SphericalHarmonics(coefficients=torch.rand(2, 9, 3))
    quick, slow = both(
        dataclasses.replace(head, vertices=several), view,
        light=light, texture=torch.rand(2, 3, 64, 64), background=torch.rand(2, 3, SIZE, SIZE),
    )  # fmt: skip
    assert quick.shape == (2, 4, SIZE, SIZE)
    torch.testing.assert_close(quick, slow, **TOLERANCE)


def test_memory_is_used_again_only_when_nothing_holds_it():
    first = scratch((3, 1024, 1024), torch.float32).fill_(1.0)
    address = first.data_ptr()
    view = first[1]
    del first
    second = scratch((3, 1024, 1024), torch.float32).fill_(2.0)
    assert second.data_ptr() != address
    assert (view == 1).all()
    del view
    third = scratch((3, 1024, 1024), torch.float32)
    assert third.data_ptr() == address
