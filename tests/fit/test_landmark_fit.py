import dataclasses

import numpy as np
import pytest
import torch

from face3d.core import AssetError, InputError, project
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import procrustes, rigid_from_parts, transform_points
from face3d.core.types import Camera
from face3d.fit import LandmarkFitter, LandmarkNoise, LandmarkObservations
from face3d.fit.corrective import correctable, corrected, corrective_modes
from face3d.fit.landmark_head import LandmarkHead
from face3d.model import HeadModel
from face3d.pipeline import load_head
from face3d.render import vertex_normals

SIZE = 512


@pytest.fixture(scope="module")
def model():
    return load_head()


def plain_noise(spread_m: float) -> LandmarkNoise:
    """No bias, the same spread everywhere."""
    return LandmarkNoise(
        yaw_rad=torch.tensor([0.0, 1.0]),
        bias=torch.zeros(2, 3, 478, 2),
        spread=torch.full((2, 478, 2), spread_m / 0.1),
        mirror=torch.arange(478),
        floor_px=0.1,
    )


def random_views(model, count: int, seed: int, noise_px: float, most_yaw_deg: float = 45.0):
    """Random heads before a camera, and their landmarks with noise."""
    rng = torch.Generator().manual_seed(seed)

    def rand(*size: int) -> torch.Tensor:
        return torch.rand(*size, generator=rng)

    shape = torch.randn(count, model.identity_count, generator=rng)
    expression = rand(count, model.expression_count) * (rand(count, model.expression_count) < 0.1)
    names = model.data.expression_names
    for k, name in enumerate(names):
        if name.startswith(("eyeLook", "tongue")):
            expression[:, k] = 0
    yaw = (rand(count) * 2 - 1) * np.radians(most_yaw_deg)
    turn = matrix_from_axis_angle(torch.stack([rand(count) * 0.3 - 0.15, yaw, yaw * 0], dim=-1))
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    place = torch.tensor([0.0, 0.0, 0.7]) + (rand(count, 3) - 0.5) * 0.05
    pose = rigid_from_parts(facing @ turn, place)
    vertices = transform_points(pose, model(shape, expression))
    half = torch.full((count,), SIZE / 2)
    focal = torch.full((count,), 1000.0)
    camera = Camera(
        fx=focal, fy=focal, cx=half, cy=half, width=SIZE, height=SIZE,
        camera_from_world=torch.eye(4).expand(count, 4, 4),
    )  # fmt: skip
    embedding = model.data.embeddings["mediapipe478"]
    corners = torch.as_tensor(model.data.faces[embedding.face_index])
    weight = torch.as_tensor(embedding.barycentric).float()[..., None]
    points = project(camera, (vertices[:, corners] * weight).sum(-2))[..., :2]
    points = points + noise_px * torch.randn(points.shape, generator=rng)
    observed = LandmarkObservations(
        points_px=points,
        visibility=torch.ones(count, 478),
        width_px=torch.full((count,), float(SIZE)),
        height_px=torch.full((count,), float(SIZE)),
        focal_px=focal,
    )
    return shape, expression, pose, observed


def given(observed: LandmarkObservations) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(observed).items() if value is not None}


def degrees_between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    cosine = ((a @ b.mT).diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


def surface_error_mm(model, fitted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Median distance to the true face's tangent planes after rigid alignment, per head."""
    face = torch.as_tensor(model.data.regions["face"])
    moved = transform_points(procrustes(fitted[:, face], true[:, face]), fitted)
    normals = vertex_normals(true, torch.as_tensor(model.data.faces))
    return ((moved - true) * normals).sum(-1)[:, face].abs().median(-1).values * 1000


@pytest.mark.slow
def test_fifty_heads_are_recovered_from_their_own_noisy_landmarks(model):
    shape, _, pose, observed = random_views(model, 50, seed=3, noise_px=1.0)
    fit = LandmarkFitter(model.data, plain_noise(0.001)).fit(observed)
    rest = torch.zeros(50, model.expression_count)
    error = surface_error_mm(model, model(fit.params.shape, rest), model(shape, rest))
    mean = surface_error_mm(model, model(0 * shape, rest), model(shape, rest))
    turned = degrees_between(fit.params.world_from_head[:, :3, :3], pose[:, :3, :3])
    assert error.median() < 1.5
    assert error.median() < 0.8 * mean.median()
    assert turned.median() < 1.0
    assert (turned < 2.5).all()
    assert (fit.landmark_error_px < 2.0).all()
    assert fit.converged.float().mean() > 0.9


def test_weights_stay_within_their_bounds_and_gaze_is_found(model):
    _, expression, _, observed = random_views(model, 8, seed=4, noise_px=0.2)
    fit = LandmarkFitter(model.data, plain_noise(0.0005)).fit(observed)
    assert fit.params.expression.min() >= 0
    assert fit.params.expression.max() <= 1
    opened = model.data.expression_names.index("jawOpen")
    assert (fit.params.expression - expression)[:, opened].abs().max() < 0.25
    assert fit.params.eyes.abs().max() < 0.12  # all look straight ahead


def test_a_batch_gives_what_single_faces_give(model):
    *_, observed = random_views(model, 3, seed=5, noise_px=0.5)
    fitter = LandmarkFitter(model.data, plain_noise(0.001))
    together = fitter.fit(observed, iterations=6)
    for k in range(3):
        alone = fitter.fit(
            LandmarkObservations(**{n: v[k] for n, v in given(observed).items()}), iterations=6
        )
        assert alone.landmark_error_px.shape == ()
        torch.testing.assert_close(
            alone.params.world_from_head, together.params.world_from_head[k], atol=2e-4, rtol=1e-3
        )


def test_double_precision_observations_are_taken(model):
    *_, observed = random_views(model, 1, seed=6, noise_px=0.3)
    fitter = LandmarkFitter(model.data, plain_noise(0.001))
    double = LandmarkObservations(**{n: v.double() for n, v in given(observed).items()})
    torch.testing.assert_close(
        fitter.fit(double).params.shape, fitter.fit(observed).params.shape, atol=1e-3, rtol=1e-2
    )


def test_hidden_landmarks_do_not_pull(model):
    *_, observed = random_views(model, 1, seed=6, noise_px=0.3)
    fitter = LandmarkFitter(model.data, plain_noise(0.001))
    clean = fitter.fit(observed)
    points, visible = observed.points_px.clone(), observed.visibility.clone()
    points[0, :40] += 300.0
    visible[0, :40] = 0.0
    points[0, 0] = torch.nan
    hidden = fitter.fit(dataclasses.replace(observed, points_px=points, visibility=visible))
    moved = degrees_between(
        clean.params.world_from_head[:, :3, :3], hidden.params.world_from_head[:, :3, :3]
    )
    assert moved < 1.5


def test_a_visible_landmark_that_is_not_finite_is_refused(model):
    *_, observed = random_views(model, 1, seed=6, noise_px=0.3)
    observed.points_px[0, 5] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        LandmarkFitter(model.data, plain_noise(0.001)).fit(observed)


def test_landmarks_that_say_nothing_are_refused(model):
    *_, observed = random_views(model, 2, seed=6, noise_px=0.3)
    fitter = LandmarkFitter(model.data, plain_noise(0.001))
    hidden = torch.zeros_like(observed.visibility)
    with pytest.raises(InputError, match="fewer than"):
        fitter.fit(dataclasses.replace(observed, visibility=hidden))
    one_place = torch.full_like(observed.points_px, 100.0)
    with pytest.raises(InputError, match="one place"):
        fitter.fit(dataclasses.replace(observed, points_px=one_place))
    few = {"points_px": observed.points_px[:, :468], "visibility": hidden[:, :468] + 1}
    with pytest.raises(InputError, match="478"):
        fitter.fit(dataclasses.replace(observed, **few))
    with pytest.raises(InputError, match="width_px"):
        fitter.fit(dataclasses.replace(observed, width_px=torch.tensor([512.0, 1024.0])))
    with pytest.raises(AssetError, match="ibug68"):
        LandmarkFitter(model.data, plain_noise(0.001), layout="ibug68")


def test_the_bare_reprojection_error_leaves_the_bias_out(model):
    *_, observed = random_views(model, 8, seed=6, noise_px=0.3)
    noise = plain_noise(0.001)
    biased = dataclasses.replace(noise, bias=noise.bias + 0.01)  # 1 mm
    fit = LandmarkFitter(model.data, biased).fit(observed)
    plain = LandmarkFitter(model.data, noise).fit(observed)
    torch.testing.assert_close(plain.landmark_error_px, plain.reprojection_error_px)
    assert fit.reprojection_error_px.mean() > fit.landmark_error_px.mean()


def test_stated_deviations_hold_for_what_the_landmarks_fix(model):
    _, _, pose, observed = random_views(model, 40, seed=8, noise_px=1.0, most_yaw_deg=20)
    # The spread that the landmarks really have: 1 px at 1000 px focal length and 0.7 m.
    fit = LandmarkFitter(model.data, plain_noise(0.0007)).fit(observed)
    turned = degrees_between(fit.params.world_from_head[:, :3, :3], pose[:, :3, :3])
    stated = torch.rad2deg(fit.standard_deviation["rotation"].norm(dim=-1))
    ratio = (turned / stated).square().mean().sqrt()
    assert 0.4 < ratio < 2.0
    assert set(fit.energies) >= {"landmark", "identity", "focal", "distance"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_landmark_derivatives_are_the_functions(model, dtype):
    head = LandmarkHead(model.data, "mediapipe478", dtype=dtype)
    rng = torch.Generator().manual_seed(0)
    shape = torch.randn(model.identity_count, generator=rng).to(dtype)
    expression = torch.rand(model.expression_count, generator=rng).to(dtype)
    joints = 0.1 * torch.randn(3, 3, generator=rng).to(dtype)
    pose = head.pose(shape, expression, joints)
    torch.testing.assert_close(pose.points, head.points(shape, expression, joints))
    by_shape, by_expression, by_joint = torch.autograd.functional.jacobian(
        head.points, (shape, expression, joints)
    )
    code = head.by_code(pose, torch.eye(3, dtype=dtype).expand(478, 3, 3))
    torch.testing.assert_close(code[..., : len(shape)], by_shape)
    torch.testing.assert_close(code[..., len(shape) :], by_expression)
    turned = head.by_joints(pose, torch.eye(3, dtype=dtype).expand(478, 3, 3))
    torch.testing.assert_close(turned, by_joint.flatten(-2), atol=1e-7, rtol=1e-4)


def test_landmarks_are_the_models(model):
    head = LandmarkHead(model.data, "mediapipe478")
    rng = torch.Generator().manual_seed(1)
    shape = torch.randn(2, model.identity_count, generator=rng)
    expression = torch.rand(2, model.expression_count, generator=rng) * 0.3
    joints = 0.08 * torch.randn(2, 3, 3, generator=rng)
    vertices = model(shape, expression, None, joints[:, 0], joints[:, 1:])
    embedding = model.data.embeddings["mediapipe478"]
    corners = torch.as_tensor(model.data.faces[embedding.face_index])
    weight = torch.as_tensor(embedding.barycentric).float()[..., None]
    exact = (vertices[:, corners] * weight).sum(-2)
    # Corners of one landmark with different skinning weights are averaged: under 0.1 mm.
    assert (head.points(shape, expression, joints) - exact).norm(dim=-1).max() < 1e-4


def test_corrective_modes_meet_what_the_basis_cannot_say(model):
    modes = corrective_modes(model.data)
    bump = modes @ (2 * np.random.default_rng(3).standard_normal(modes.shape[-1]))
    other = HeadModel(corrected(model.data, bump))
    *_, observed = random_views(other, 6, seed=21, noise_px=0.2, most_yaw_deg=25)
    noise = plain_noise(0.0003)
    errors = []
    for data in (model.data, correctable(model.data)):
        fitter = LandmarkFitter(data, noise)
        fits = fitter.fit(observed)
        errors.append(float(fits.landmark_error_px.mean()))
    assert errors[1] < 0.8 * errors[0]


def guessed(observed, mean: torch.Tensor, precision: float):
    """What is observed, and a network that says of the identity what ``mean`` is."""
    count, size = mean.shape
    trust = precision * torch.eye(size).expand(count, size, size)
    return dataclasses.replace(observed, shape_trust=trust, shape_pull=precision * mean)


def test_a_sure_guess_of_identity_is_taken_and_an_unsure_one_left(model):
    shape, *_, observed = random_views(model, 2, seed=9, noise_px=1.0)
    fitter = LandmarkFitter(model.data, plain_noise(0.001))
    plain = fitter.fit(observed)
    sure = fitter.fit(guessed(observed, shape, 1e6))
    unsure = fitter.fit(guessed(observed, 5 * shape, 1e-9))
    assert (sure.params.shape - shape).abs().max() < 0.01
    torch.testing.assert_close(unsure.params.shape, plain.params.shape, atol=1e-4, rtol=1e-4)
    assert (plain.energies["guess"] == 0).all()


def test_a_guess_helps_as_far_as_it_is_right(model):
    """A guess with errors of half a deviation, trusted as such, brings the identity nearer."""
    shape, *_, observed = random_views(model, 6, seed=10, noise_px=1.5)
    fitter = LandmarkFitter(model.data, plain_noise(0.002))
    off = 0.5 * torch.randn(shape.shape, generator=torch.Generator().manual_seed(1))
    plain, helped = fitter.fit(observed), fitter.fit(guessed(observed, shape + off, 4.0))
    before = (plain.params.shape - shape).norm(dim=1)
    assert ((helped.params.shape - shape).norm(dim=1) < 0.75 * before).all()


def test_the_guess_is_in_gradient_and_hessian(model):
    shape, *_, observed = random_views(model, 1, seed=11, noise_px=1.0)
    fitter = LandmarkFitter(model.data, plain_noise(0.001))
    one = LandmarkObservations(**{n: v[0] for n, v in given(observed).items()})
    other = guessed(observed, shape, 30.0)
    two = LandmarkObservations(**{n: v[0] for n, v in given(other).items()})
    a, b = fitter.problem([one]), fitter.problem([two])
    state = a.start()
    for problem in (a, b):
        problem.set_noise(state)
    (hessian_a, gradient_a), (hessian_b, gradient_b) = (p.normal_equations(state) for p in (a, b))
    part = fitter.full.layout.identity
    torch.testing.assert_close(
        (gradient_b - gradient_a)[0, part], -30.0 * shape[0].double(), atol=1e-3, rtol=1e-4
    )
    grown = (hessian_b - hessian_a)[0]
    assert torch.allclose(grown[part, part], 30.0 * torch.eye(140).double(), atol=1e-6)
    step = 1e-3 * torch.eye(a.at.count)[None, part.start]
    moved = dataclasses.replace(state, vector=state.vector + step)
    slope = ((b.cost(moved) - a.cost(moved)) - (b.cost(state) - a.cost(state))) / 1e-3
    assert float(slope) == pytest.approx(float((gradient_b - gradient_a)[0, part.start]), rel=0.02)


def test_a_fit_that_begins_at_the_truth_stays_and_needs_fewer_steps(model):
    *_, observed = random_views(model, 4, seed=12, noise_px=0.5)
    fitter = LandmarkFitter(model.data, plain_noise(0.001))
    assert torch.allclose(fitter.usual_focal_px(observed), observed.focal_px)
    plain = fitter.fit(observed, tolerance=1e-4)
    again = fitter.fit(observed, start=plain.params)
    assert (again.iterations < plain.iterations).all()
    assert (again.iterations <= 3).all()
    turned = degrees_between(
        again.params.world_from_head[:, :3, :3], plain.params.world_from_head[:, :3, :3]
    )
    assert (turned < 0.3).all()
    torch.testing.assert_close(again.params.shape, plain.params.shape, atol=0.15, rtol=0)


def test_a_points_own_spread_decides_how_much_it_counts(model):
    """Landmarks that are said to be bad do not pull, whatever the calibration says."""
    *_, observed = random_views(model, 4, seed=23, noise_px=0.3)
    wrong = torch.arange(478) % 3 == 0
    points = observed.points_px + 12.0 * wrong[:, None]
    spread = torch.where(wrong, 200.0, 1.0).expand(4, 478)
    fitter = LandmarkFitter(model.data, plain_noise(0.001))
    fooled = fitter.fit(dataclasses.replace(observed, points_px=points))
    told = fitter.fit(dataclasses.replace(observed, points_px=points, spread_px=spread))
    right = fitter.fit(dataclasses.replace(observed, spread_px=torch.ones(4, 478)))
    rest = torch.zeros(4, model.expression_count)

    def apart(fit) -> torch.Tensor:
        return surface_error_mm(
            model, model(fit.params.shape, rest), model(right.params.shape, rest)
        )

    assert apart(told).median() < 0.3 * apart(fooled).median()


def test_what_follows_closely_does_so_with_the_identity_as_it_was(model):
    *_, observed = random_views(model, 3, seed=24, noise_px=1.0)
    fitter = LandmarkFitter(model.data, plain_noise(0.001))
    loose = dataclasses.replace(observed, spread_px=torch.full((3, 478), 6.0))
    close = dataclasses.replace(loose, close_px=torch.full((3, 478), 0.7))
    a, b = fitter.fit(loose), fitter.fit(close)
    assert torch.equal(a.params.shape, b.params.shape)
    assert (b.landmark_error_px < a.landmark_error_px - 0.02).all()
    one, two = (
        LandmarkObservations(**{name: value[0] for name, value in given(o).items()})
        for o in (loose, close)
    )
    (together, *_), _ = fitter.fit_person([one, one])
    (closer, *_), _ = fitter.fit_person([two, two])
    assert torch.equal(together.params.shape, closer.params.shape)
    assert closer.landmark_error_px < together.landmark_error_px
