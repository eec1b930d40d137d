"""Form from colours, on renders whose form is known."""

import numpy as np
import pytest
import torch

from face3d.core import Camera, HeadMesh
from face3d.core.rotations import matrix_from_axis_angle
from face3d.fit import PhotometricFitter
from face3d.fit.albedo_basis import SMOOTH_MODES, albedo_basis
from face3d.fit.landmark_fit import LandmarkObservations
from face3d.fit.landmark_noise import view_angles
from face3d.fit.photometric_fit import _minimise
from face3d.pipeline import load_head
from face3d.pipeline.reconstruct import _fitter
from face3d.render import SphericalHarmonics, matte, render, srgb_from_linear

SIZE, FOCAL = 256, 550.0


@pytest.fixture(scope="module")
def refiner() -> PhotometricFitter:
    return PhotometricFitter(_fitter("open", id(load_head("open"))))


def picture(shape: torch.Tensor, yaw: float) -> tuple[np.ndarray, LandmarkObservations]:
    """A grey head in light from one side, and its landmarks 1.5 px off, alike for neighbours."""
    model, fitter = load_head("open"), _fitter("open", id(load_head("open")))
    rest = model(shape, torch.zeros(52)).detach()
    pose = torch.eye(4)
    turn = matrix_from_axis_angle(torch.tensor([0.0, yaw, 0.0]))
    pose[:3, :3] = torch.diag(torch.tensor([1.0, -1, -1])) @ turn
    pose[2, 3] = 0.7
    world = rest @ pose[:3, :3].T + pose[:3, 3]
    half, focal = torch.tensor(SIZE / 2), torch.tensor(FOCAL)
    camera = Camera(fx=focal, fy=focal, cx=half, cy=half, width=SIZE, height=SIZE,
                    camera_from_world=torch.eye(4))  # fmt: skip
    mesh = HeadMesh(vertices=world, frame="world", topology=model.data.topology)
    light = torch.zeros(9, 3)
    light[:4] = torch.tensor([0.9, 0.35, -0.3, -0.5])[:, None]
    rgba = render(
        mesh, camera, light=SphericalHarmonics(coefficients=light), linear=True,
        materials=matte(mesh.topology), background=(0.5, 0.5, 0.5), supersample=2,
    )  # fmt: skip
    rgb = (srgb_from_linear(rgba[:3]).permute(1, 2, 0) * 255 + 0.5).to(torch.uint8).numpy()
    embedding = model.data.embeddings["mediapipe478"]
    corners = world[torch.as_tensor(model.data.faces[embedding.face_index])]
    points = (corners * torch.as_tensor(embedding.barycentric)[..., None].float()).sum(1)
    pixels = FOCAL * points[:, :2] / points[:, 2:] + SIZE / 2
    noise = fitter.noise.at_pose(view_angles(pose), torch.tensor(FOCAL / 0.7 * 0.1))
    full, visible = torch.zeros(478, 2), torch.zeros(478)
    full[embedding.indices], visible[embedding.indices] = pixels, 1.0
    # Waves over the face: what a detector gets wrong by the person, no averaging takes away.
    waves = torch.stack([torch.sin(full[:, 1] / 14), torch.cos(full[:, 0] / 11)], dim=-1)
    observed = LandmarkObservations(
        points_px=full + noise.bias_px + 1.5 * waves, visibility=visible,
        width_px=torch.tensor(float(SIZE)), height_px=torch.tensor(float(SIZE)),
        focal_px=torch.tensor(FOCAL),
    )  # fmt: skip
    return rgb, observed


def off_mm(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean distance of a face at rest to that of an identity."""
    model, none = load_head("open"), torch.zeros(52)
    face = torch.as_tensor(model.data.regions["face"])
    moved = (found - model(truth, none))[face]
    return 1e3 * float((moved - moved.mean(0)).norm(dim=-1).mean())


@pytest.mark.slow
def test_shading_corrects_what_landmarks_get_wrong(refiner):
    better = []
    for seed in range(4):
        torch.manual_seed(seed)
        truth = 0.6 * torch.randn(140)
        rgb, observed = picture(truth, yaw=0.35 * (-1) ** seed)
        start = refiner.fitter.fit(observed)
        refined = refiner.refine([rgb], [observed])
        assert refined.spread_after[0] <= refined.spread_before[0]
        none = torch.zeros(52)
        after = load_head("open")(refined.fits[0].params.shape, none) + refined.offsets
        before = refiner.model(start.params.shape, none)
        better.append(off_mm(after, truth) / off_mm(before, truth))
    assert np.mean(better) < 0.9


def test_several_photos_keep_one_identity_and_weights_their_bounds(refiner):
    torch.manual_seed(9)
    truth = 0.5 * torch.randn(140)
    given = [picture(truth, yaw) for yaw in (-0.4, 0.4)]
    observed = [o for _, o in given]
    start, _ = refiner.fitter.fit_person(observed)
    refined = refiner.refine([rgb for rgb, _ in given], observed, start, evaluations=12)
    first, second = refined.fits
    assert torch.equal(first.params.shape, second.params.shape)
    assert not torch.equal(first.params.shape, start[0].params.shape[:140])
    for fit in refined.fits:
        assert 0 <= fit.params.expression.min() <= fit.params.expression.max() <= 1
    assert refined.light.shape == (2, 9, 3)


def test_the_result_does_not_change_from_run_to_run(refiner):
    rgb, observed = picture(torch.zeros(140), 0.2)
    start = refiner.fitter.fit(observed)
    shapes = [
        refiner.refine([rgb], [observed], [start], evaluations=9).fits[0].params.shape
        for _ in range(2)
    ]
    assert torch.equal(*shapes)


def test_faces_at_the_border_of_the_photo_are_cut_out_all_the_same(refiner):
    rgb, observed = picture(torch.zeros(140), 0.0)
    cut = rgb[:, 90:].copy()
    moved = LandmarkObservations(
        points_px=observed.points_px - torch.tensor([90.0, 0.0]), visibility=observed.visibility,
        width_px=torch.tensor(float(SIZE - 90)), height_px=observed.height_px,
        focal_px=observed.focal_px,
    )  # fmt: skip
    start = refiner.fitter.fit(moved)
    fit = refiner.refine([cut], [moved], [start], evaluations=9).fits[0]
    assert torch.isfinite(fit.params.shape).all()


def test_albedo_varies_smoothly_on_skin_and_not_elsewhere():
    data = load_head("open").data
    basis = albedo_basis(data)
    assert basis.modes.shape == (len(data.v_template), SMOOTH_MODES + 2)
    assert (basis.modes[torch.as_tensor(data.regions["eyes"])] == 0).all()
    edges = torch.as_tensor(data.faces[data.regions["cheeks"][data.faces].all(1)][:, :2])
    smooth = basis.modes[:, :SMOOTH_MODES]
    assert (smooth[edges[:, 0]] - smooth[edges[:, 1]]).abs().mean() < 0.05


def test_a_search_that_leaves_the_numbers_ends_at_its_best():
    x = torch.tensor([3.0], requires_grad=True)
    calls = 0

    def energy() -> torch.Tensor:
        nonlocal calls
        calls += 1
        return (x**2).sum() if calls < 4 else (x * torch.nan).sum()

    _minimise([x], energy, 20)
    assert torch.isfinite(x).all()
    assert abs(float(x.detach())) < 3.0
