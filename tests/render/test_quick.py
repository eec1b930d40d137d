"""The quick way must give the picture of the differentiable one."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from face3d.core import Camera, HeadMesh, InputError
from face3d.pipeline import load_head
from face3d.render import (
    DirectionalLight,
    Light,
    Materials,
    PointLight,
    Shadows,
    SphericalHarmonics,
    cast_shadows,
    lifelike,
    memory,
    mipmapped,
    portrait_camera,
    render,
)
from face3d.render.memory import scratch

render_module = sys.modules["face3d.render.render"]  # the name is the function's, too
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


@pytest.fixture(autouse=True)
def drawn(monkeypatch) -> list[int]:
    """Counts the pictures that the quick way has drawn."""
    calls: list[int] = []
    quick = render_module.draw

    def counted(*arguments, **options) -> torch.Tensor:
        calls.append(1)
        return quick(*arguments, **options)

    monkeypatch.setattr(render_module, "draw", counted)
    return calls


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
def test_pictures_agree(head, view, options, lit, drawn):
    texture = torch.rand(3, 64, 64)
    quick, slow = both(head, view, texture=texture, light=lights() if lit else (), **options)
    assert len(drawn) == 1
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


def test_several_lights_from_everywhere_add_up_before_darkness_ends_them(head, view):
    torch.manual_seed(4)
    light = [SphericalHarmonics(coefficients=torch.randn(9, 3)) for _ in range(2)]
    quick, slow = both(head, view, light=light)
    torch.testing.assert_close(quick, slow, **TOLERANCE)
    together = SphericalHarmonics(coefficients=light[0].coefficients + light[1].coefficients)
    torch.testing.assert_close(slow, both(head, view, light=together)[1], **TOLERANCE)


def test_batches_of_two_axes_agree(head, view):
    several = head.vertices + torch.linspace(0, 0.03, 6).reshape(2, 3, 1, 1)
    quick, slow = both(
        dataclasses.replace(head, vertices=several), view,
        light=[
            SphericalHarmonics(coefficients=torch.rand(1, 9, 3)),
            DirectionalLight(towards=torch.rand(2, 3, 3), rgb=torch.rand(3, dtype=torch.float64)),
        ],
        background=torch.rand(2, 1, 3, SIZE, SIZE),
    )  # fmt: skip
    assert quick.shape == (2, 3, 4, SIZE, SIZE)
    torch.testing.assert_close(quick, slow, **TOLERANCE)


BAD = {
    "a small background": {"background": torch.rand(3, 8, 8)},
    "channels last": {"background": torch.rand(SIZE, SIZE, 3)},
    "a background of bytes": {"background": torch.ones(3, SIZE, SIZE, dtype=torch.uint8)},
    "a batch of backgrounds": {"background": torch.rand(3, 3, SIZE, SIZE)},
    "a grey texture": {"texture": torch.rand(1, 8, 8)},
    "a texture with alpha": {"texture": torch.rand(4, 8, 8)},
    "too many textures": {"texture": torch.rand(3, 3, 8, 8)},
    "a halved texture with alpha": {"texture": mipmapped(torch.rand(4, 8, 8))},
    "five lights": {"light": SphericalHarmonics(coefficients=torch.rand(5, 9, 3))},
    "others' materials": {"materials": Materials(roughness=torch.ones(7)), "light": lights()},
    "others' shadows": {
        "shadows": Shadows(ambient=torch.ones(5), single=torch.ones(2, 5)), "light": lights(),
    },
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BAD))
def test_what_does_not_fit_is_refused_on_both_ways(head, view, case):
    several = dataclasses.replace(head, vertices=head.vertices.expand(2, -1, 3).contiguous())
    wanting = dataclasses.replace(several, vertices=several.vertices.clone().requires_grad_())
    for mesh in (several, wanting):
        with pytest.raises((InputError, TypeError)):
            render(mesh, view, **BAD[case])


def test_faces_of_any_kind_of_integer_are_drawn(head, view):
    flipped = head.topology.faces[:, ::-1][:, ::-1]
    for faces in (flipped, head.topology.faces.astype(np.int32)):
        topology = dataclasses.replace(head.topology, faces=faces)
        quick, slow = both(dataclasses.replace(head, topology=topology), view, light=lights())
        torch.testing.assert_close(quick, slow, **TOLERANCE)


def test_memory_is_used_again_only_when_nothing_holds_it(monkeypatch):
    monkeypatch.setattr(memory, "_kept", [])
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
