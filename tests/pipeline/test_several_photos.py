"""One person in several photos."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import face3d
from face3d.core import DetectionError, InputError
from face3d.core.rotations import matrix_from_axis_angle
from face3d.fit.landmark_fit import LandmarkObservations
from face3d.fit.landmark_noise import view_angles
from face3d.pipeline import load_head
from face3d.pipeline.reconstruct import _fitter


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return data.astronaut()


def seen_from(
    shape: torch.Tensor, yaws: list[float], noise_px: float
) -> list[LandmarkObservations]:
    """Landmarks of one head in pictures of 512 px, detected with the calibrated bias."""
    model, fitter = load_head("open"), _fitter("open", id(load_head("open")))
    embedding = model.data.embeddings["mediapipe478"]
    corners = torch.as_tensor(model.data.faces[embedding.face_index])
    share = torch.as_tensor(embedding.barycentric)[..., None].float()
    rest = model(shape, torch.zeros(52)).detach()
    points = (rest[corners] * share).sum(1)
    generator = torch.Generator().manual_seed(0)
    each = []
    for yaw in yaws:
        pose = torch.eye(4)
        pose[:3, :3] = torch.diag(torch.tensor([1.0, -1, -1])) @ matrix_from_axis_angle(
            torch.tensor([0.0, yaw, 0.0])
        )
        pose[2, 3] = 0.7
        camera = points @ pose[:3, :3].T + pose[:3, 3]
        pixels = 900 * camera[:, :2] / camera[:, 2:] + 256
        noise = fitter.noise.at_pose(view_angles(pose), torch.tensor(900 / 0.7 * 0.1))
        full = torch.zeros(478, 2)
        full[embedding.indices] = pixels
        full = full + noise.bias_px + noise_px * torch.randn(478, 2, generator=generator)
        visible = torch.zeros(478)
        visible[embedding.indices] = 1.0
        each.append(
            LandmarkObservations(
                points_px=full, visibility=visible, width_px=torch.tensor(512.0),
                height_px=torch.tensor(512.0), focal_px=torch.tensor(900.0),
            )
        )  # fmt: skip
    return each


def test_one_identity_is_shared_and_nearer_than_single_ones():
    torch.manual_seed(1)
    fitter, model = _fitter("open", id(load_head("open"))), load_head("open")
    face, none = torch.as_tensor(model.data.regions["face"]), torch.zeros(52)
    together, alone = [], []
    for _ in range(4):
        truth = 0.6 * torch.randn(140)
        observed = seen_from(truth, [-0.6, 0.0, 0.6], noise_px=0.5)
        fits, misfits = fitter.fit_person(observed)
        assert all(torch.equal(fit.params.shape, fits[0].params.shape) for fit in fits)
        assert max(misfits) < 20

        def off(shape: torch.Tensor, truth: torch.Tensor = truth) -> float:
            return float((model(shape, none) - model(truth, none))[face].norm(dim=-1).mean())

        together.append(off(fits[0].params.shape))
        alone.append([off(fitter.fit(one).params.shape) for one in observed])
    # Better than any of the three views would be on average.
    assert np.mean(together) < np.mean(alone, axis=0).min()


def test_another_persons_photo_has_a_misfit():
    torch.manual_seed(2)
    fitter = _fitter("open", id(load_head("open")))
    first, second = (
        seen_from(0.8 * torch.randn(140), [yaw], noise_px=0.5)[0] for yaw in (0.1, -0.1)
    )
    same = seen_from(torch.zeros(140), [0.1, -0.1], noise_px=0.5)
    assert max(fitter.fit_person([first, second])[1]) > 5 * max(fitter.fit_person(same)[1])


def test_pictures_of_any_size_are_fused(astronaut):
    smaller = Image.fromarray(astronaut).resize((400, 400))
    head = face3d.reconstruct([astronaut, smaller], texture=128, fast=True)
    assert len(head.others) == 1
    assert head.others[0].fit.camera.width == 400
    torch.testing.assert_close(head.others[0].fit.params.shape, head.params.shape)
    assert head.strangers == ()
    single = face3d.reconstruct(astronaut, texture=128, fast=True)
    assert (head.texture - single.texture).abs().mean() < 0.03


def test_a_list_of_one_is_one_photo(astronaut):
    one, alone = (
        face3d.reconstruct([astronaut], fast=True),
        face3d.reconstruct(astronaut, fast=True),
    )
    torch.testing.assert_close(one.params.shape, alone.params.shape)


def test_exposure_is_brought_to_the_first_photos(astronaut):
    darker = (astronaut * 0.6).astype(np.uint8)
    bright = face3d.reconstruct([astronaut, darker], texture=128, fast=True).texture
    dark = face3d.reconstruct([darker, astronaut], texture=128, fast=True).texture
    # The second photo is the same picture: fused, it must not dim the first.
    single = face3d.reconstruct(astronaut, texture=128, fast=True).texture
    assert (bright - single).abs().mean() < 0.02
    assert dark.mean() < 0.8 * bright.mean()


def test_strangers_are_named(astronaut):
    head = face3d.reconstruct([astronaut, astronaut], texture=128, fast=True)
    marked = dataclasses.replace(head, misfit=500.0)
    assert marked.strangers == ("photo 1",) or "photo 1" not in marked.frame.source
    assert len(marked.strangers) == 1


def test_bad_lists(astronaut):
    with pytest.raises(InputError, match="photos"):
        face3d.reconstruct([], fast=True)
    with pytest.raises(InputError, match="largest"):
        face3d.reconstruct([astronaut, astronaut], face=0, fast=True)
    with pytest.raises(DetectionError):
        face3d.reconstruct([astronaut, np.zeros((64, 64, 3), np.uint8)], fast=True)
