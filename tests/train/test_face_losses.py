"""Losses of training without labels: each moves what it should, and nothing else."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn.functional import avg_pool2d

from face3d.model.head import HeadModel
from face3d.train.face_losses import (
    LIDS,
    LIPS,
    distance_loss,
    identity_loss,
    landmark_loss,
    lip_reading_loss,
    metric_shape_loss,
    mouth_crops,
    patch_loss,
    photometric_loss,
    skull_loss,
    smoothness_loss,
    symmetry_loss,
    white_light_loss,
    whole_motions,
)


def _points(seed: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 478, 2, generator=torch.Generator().manual_seed(seed)) - 0.5


def test_landmarks_pull_alike_however_far_off_they_are() -> None:
    seen = _points(0)
    found = (seen + torch.tensor([0.2, 0.0])).requires_grad_()
    found.data[:, 0, 0] += 3
    landmark_loss(found, seen).backward()
    pull = found.grad[..., 0]
    assert float(pull[0, 0]) == pytest.approx(float(pull[0, 1]), rel=1e-3)
    near = (seen + torch.tensor([0.002, 0.0])).requires_grad_()
    landmark_loss(near, seen).backward()
    assert float(near.grad[0, 1, 0]) < 0.2 * float(pull[0, 1])


def test_landmarks_of_the_far_side_count_for_nothing() -> None:
    seen = _points(0)
    found = (seen + 0.1).requires_grad_()
    facing = torch.ones(2, 478)
    facing[:, 100:] = -0.3
    facing.requires_grad_()
    landmark_loss(found, seen, facing=facing).backward()
    assert float(found.grad[:, :100].abs().min()) > 0
    assert float(found.grad[:, 100:].abs().max()) < 1e-3 * float(found.grad[:, :100].abs().max())
    assert facing.grad is None, "a head must not turn away from what it cannot meet"


@pytest.mark.parametrize("pairs", [LIDS, LIPS])
def test_distances_do_not_care_where_an_eye_is(pairs: tuple[tuple[int, int], ...]) -> None:
    seen = _points(0)
    assert float(distance_loss(seen + 0.3, seen, pairs)) == pytest.approx(0, abs=1e-6)
    opened = seen.clone()
    opened[:, pairs[0][0], 1] -= 0.1
    opened.requires_grad_()
    loss = distance_loss(opened, seen, pairs)
    assert float(loss.detach()) > 0.01
    loss.backward()
    moved = opened.grad.abs().sum((0, 2)) > 0
    assert set(np.flatnonzero(moved.numpy())) == set(pairs[0])


def test_colours_count_where_the_mask_is() -> None:
    photo = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = photo.clone()
    drawn[:, :, :4] += 0.5
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[:, 4:] = True
    assert float(photometric_loss(drawn, photo, mask)) < 2e-3
    assert float(photometric_loss(drawn, photo, ~mask)) == pytest.approx(0.5 * 3**0.5, rel=1e-3)
    assert float(photometric_loss(drawn, photo, torch.zeros_like(mask))) == 0


def test_identity_is_what_the_users_network_says() -> None:
    embed = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    photo = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    assert float(identity_loss(embed, 2 * photo, photo)) == pytest.approx(0, abs=1e-6)
    other = photo.clone().requires_grad_()
    loss = identity_loss(embed, other * torch.tensor([1.0, 0.2, 0.2])[:, None, None], photo)
    loss.backward()
    assert float(loss.detach()) > 0.05
    assert float(other.grad.abs().max()) > 0


def test_symmetry_fills_what_is_not_seen() -> None:
    texture = torch.zeros(1, 1, 4, 8)
    texture[..., :4] = 1
    texture.requires_grad_()
    trust = torch.zeros(1, 4, 8)
    trust[..., :4] = 1
    symmetry_loss(texture, texture.flip(-1), trust).backward()
    assert float(texture.grad[..., :4].abs().max()) == 0
    assert float(texture.grad[..., 4:].max()) < 0, "the unseen half rises towards the seen one"


def test_smooth_maps_and_white_light_cost_nothing() -> None:
    assert float(smoothness_loss(torch.full((1, 1, 8, 8), 3.0))) == 0
    rough = torch.zeros(1, 1, 8, 8)
    rough[..., ::2] = 1
    assert float(smoothness_loss(rough)) > 0.9
    light = torch.rand(2, 9, 1).expand(2, 9, 3).clone()
    assert float(white_light_loss(light)) == pytest.approx(0, abs=1e-8)
    light[:, 0, 0] += 1
    assert float(white_light_loss(light)) > 0.01


def test_patches_may_lie_elsewhere_but_must_be_there() -> None:
    """A wrinkle a little off is better than none, which plain differences say the other way."""
    rng = np.random.default_rng(0)

    def grain() -> torch.Tensor:
        noise = gaussian_filter(rng.normal(0, 1, (40, 40)), 1)
        return 0.5 + 0.02 * torch.tensor(noise / noise.std()).float()[None, None]

    skin, other = grain(), grain()
    wrinkle = torch.zeros(1, 1, 40, 40)
    wrinkle[..., 12:15, 5:35] = -0.3
    photo, smooth = skin + wrinkle, other
    shifted = other + torch.roll(wrinkle, 4, dims=2)
    assert float((shifted - photo).abs().mean()) > float((smooth - photo).abs().mean())
    assert float(patch_loss(shifted, photo)) < 0.95 * float(patch_loss(smooth, photo))
    assert float(patch_loss(photo, photo)) <= float(patch_loss(shifted, photo))
    blurred = avg_pool2d(photo, 5, 1, 2).requires_grad_()
    before = float(patch_loss(blurred, photo).detach())
    for _ in range(30):
        (step,) = torch.autograd.grad(patch_loss(blurred, photo), blurred)
        with torch.no_grad():
            blurred -= 0.02 * step / step.abs().max()
    assert float(patch_loss(blurred, photo).detach()) < before
    with pytest.raises(ValueError, match="too few"):
        patch_loss(photo[..., :3, :3], photo[..., :3, :3])


def test_what_moves_the_whole_face_is_the_skulls(head: HeadModel) -> None:
    points = head.template[:200]
    motions = whole_motions(points)
    shift = torch.tensor([0.002, 0.0, 0.0]).expand(3, 200, 3)
    assert float(skull_loss(shift, motions)) == pytest.approx(2, rel=1e-3)
    turn = torch.linalg.cross(
        torch.tensor([0.0, 0.01, 0.0]).expand(200, 3), points - points.mean(0)
    )
    assert float(skull_loss(turn[None], motions)) == pytest.approx(
        1000 * float(turn.square().sum(1).mean().sqrt()), rel=1e-3
    )
    # What is left when all motions as a whole are taken away costs nothing.
    bump = torch.zeros(600)
    bump[30:60] = 0.01
    bump = bump - motions @ (motions.T @ bump)
    assert float(skull_loss(bump.unflatten(0, (200, 3))[None], motions)) < 2e-3


def test_metric_shapes_have_a_size_and_a_place() -> None:
    truth = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    weight = torch.ones(50)
    weight[25:] = 0
    assert float(metric_shape_loss(truth, truth, weight)) == 0
    moved = truth.clone()
    moved[:, :25, 0] += 0.001
    assert float(metric_shape_loss(moved, truth, weight)) == pytest.approx(1, rel=1e-3)
    assert float(metric_shape_loss(truth * 1.05, truth, weight)) > 1
    moved = truth.clone()
    moved[:, 25:] += 1
    assert float(metric_shape_loss(moved, truth, weight)) == 0


def test_a_lip_reader_sees_mouths_only() -> None:
    """A small one that knows how dark the middle of a mouth is."""
    landmarks = torch.zeros(3, 478, 2)
    landmarks[:, 61], landmarks[:, 291] = torch.tensor([-0.3, 0.4]), torch.tensor([0.3, 0.4])
    landmarks[:, 0], landmarks[:, 17] = torch.tensor([0.0, 0.3]), torch.tensor([0.0, 0.5])

    def reader(mouths: torch.Tensor) -> torch.Tensor:
        middle = mouths[:, :, 34:54, 34:54].mean((1, 2, 3))
        return torch.stack([middle, 1 - middle], dim=1)

    photo = torch.full((3, 3, 96, 96), 0.6)
    photo[:, :, 60:75, 40:56] = 0.1  # an open mouth
    crops = mouth_crops(photo, landmarks)
    assert crops.shape == (3, 3, 88, 88)
    assert float(crops[:, :, 44, 44].max()) == pytest.approx(0.1, abs=0.05)
    drawn = torch.full((3, 3, 96, 96), 0.6, requires_grad=True)
    before = lip_reading_loss(reader, drawn, photo, landmarks)
    before.backward()
    assert float(before.detach()) > 0.1
    assert float(drawn.grad[:, :, :40].abs().max()) == 0, "the eyes say nothing"
    assert float(drawn.grad[:, :, 63:72, 44:52].min()) > 0, "darker is more like the photo"
    assert float(lip_reading_loss(reader, photo.clone(), photo, landmarks)) == pytest.approx(
        0, abs=1e-6
    )
