"""Light taken out of photos."""

import numpy as np
import pytest
import torch
from landmark_study.looks import make_skin, make_texel_map
from skimage import data

import face3d
from face3d.core import Camera, HeadMesh
from face3d.core.errors import InputError
from face3d.pipeline import Head, load_head
from face3d.render import (
    SphericalHarmonics,
    linear_from_srgb,
    matte,
    render,
    sh_basis,
    srgb_from_linear,
)


@pytest.fixture(scope="module")
def full() -> Head:
    return face3d.reconstruct(data.astronaut(), texture=256)


def test_a_full_fit_tells_light_and_albedo_apart(full):
    assert full.light is not None
    assert full.light.shape == (9, 3)
    assert full.albedo.shape == full.texture.shape == (3, 256, 256)
    assert 0 <= full.albedo.min() <= full.albedo.max() <= 1
    seen = full.confidence > 0.9
    assert seen.float().mean() > 0.05
    # What is lit most counts as lit by one, so the rest can only be lighter than in the photo.
    assert (full.albedo[:, seen] - full.texture[:, seen]).mean() > 0


def test_landmarks_fit_as_well_as_after_a_fast_fit(full):
    fast = face3d.reconstruct(data.astronaut(), texture=256, fast=True)
    assert full.landmark_error_percent < 1.3 * fast.landmark_error_percent
    assert not torch.equal(full.params.shape, fast.params.shape)


def test_a_fast_fit_has_no_albedo_but_a_confidence():
    head = face3d.reconstruct(data.astronaut(), texture=128, fast=True)
    assert head.light is None
    with pytest.raises(InputError, match="fast"):
        _ = head.albedo
    assert 0 <= head.confidence.min() <= head.confidence.max() <= 1


def portrait(side: float) -> np.ndarray:
    """A painted head in soft light, stronger on one side."""
    model, rng = load_head("open"), np.random.default_rng(5)
    skin = torch.tensor(make_skin(rng, make_texel_map(model.data, 512)))
    rest = model(
        0.5 * torch.randn(140, generator=torch.Generator().manual_seed(4)), torch.zeros(52)
    )
    world = rest * torch.tensor([1.0, -1, -1]) + torch.tensor([0.0, 0.02, 0.7])
    half, focal = torch.tensor(192.0), torch.tensor(800.0)
    camera = Camera(fx=focal, fy=focal, cx=half, cy=half, width=384, height=384,
                    camera_from_world=torch.eye(4))  # fmt: skip
    mesh = HeadMesh(vertices=world, frame="world", topology=model.data.topology)
    light = torch.zeros(9, 3)
    key = sh_basis(torch.tensor([side, -0.3, -1.0]) / (side**2 + 1.09) ** 0.5)
    light[:, :] = 0.6 * key[:, None]
    light[0] += 0.9
    rgba = render(
        mesh, camera, texture=linear_from_srgb(skin), light=SphericalHarmonics(coefficients=light),
        linear=True, materials=matte(mesh.topology), background=(0.3, 0.3, 0.3), supersample=2,
    )  # fmt: skip
    return (srgb_from_linear(rgba[:3].clamp(0, 1)).permute(1, 2, 0) * 255 + 0.5).byte().numpy()


def test_the_same_skin_in_two_lights_gives_like_albedos():
    left, right = (face3d.reconstruct(portrait(side), texture=256) for side in (-1.2, 1.2))
    seen = (left.confidence > 0.6) & (right.confidence > 0.6)

    def apart(a: torch.Tensor, b: torch.Tensor) -> float:
        """Root mean square of logarithms, whatever the exposure."""
        ratio = (linear_from_srgb(a[:, seen]) + 0.01).log() - (
            linear_from_srgb(b[:, seen]) + 0.01
        ).log()
        return float((ratio - ratio.median(dim=1, keepdim=True).values).square().mean().sqrt())

    albedo, lit = apart(left.albedo, right.albedo), apart(left.texture, right.texture)
    assert albedo < 0.6 * lit, (albedo, lit)
