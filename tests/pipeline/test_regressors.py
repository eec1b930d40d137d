"""Published regressors on photos, with made-up weights and a made-up FLAME."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import face3d
from face3d.core.camera import project
from face3d.core.errors import AssetError, InputError
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.types import Camera, Detection, Frame
from face3d.fit import LandmarkObservations
from face3d.model.head import HeadModel
from face3d.pipeline.reconstruct import _fitter
from face3d.pipeline.regressors import Regressor
from face3d.regress.flame_guess import heads_in_photo
from face3d.regress.smirk import SmirkEncoder, SmirkGenerator
from face3d.regress.system_crops import ARCFACE, CROP_RULES, OUTLINE, system_crop
from face3d.train.synthetic.scene import landmark_points


def landmarks(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform([200, 150], [420, 410], (478, 2))


@pytest.mark.parametrize("system", list(CROP_RULES))
def test_a_squares_corners_are_the_corner_pixels(system: str) -> None:
    points, rule = landmarks(), CROP_RULES[system]
    rgb = np.zeros((600, 700, 3), np.uint8)
    cut = system_crop(system, rgb, points)
    assert cut.pixels.shape == (224, 224, 3)
    chosen = points if rule.landmarks is None else points[list(rule.landmarks)]
    low, high = chosen.min(0), chosen.max(0)
    side = int((high - low).mean() * rule.factor)
    for corner, way in (((0, 0), -1), ((223, 223), 1)):
        at = cut.photo_from_crop @ [*corner, 1]
        assert np.allclose(at, (low + high) / 2 + way * side / 2, atol=1e-6)


def test_what_lies_outside_the_photo_is_black() -> None:
    rgb = np.full((300, 300, 3), 200, np.uint8)
    cut = system_crop("smirk", rgb, landmarks() - 300)
    assert (cut.pixels[0, 0] == 0).all()
    assert (cut.pixels == 200).any()


def test_arcfaces_five_points_come_to_their_places() -> None:
    points = landmarks()
    true = ARCFACE @ np.array([[0.9, -0.4], [0.4, 0.9]]) * 2.5 + [200, 150]
    for five, at in zip([(33, 133, 159, 145), (263, 362, 386, 374), (1,), (61,), (291,)], true,
                        strict=True):  # fmt: skip
        points[list(five)] = at
    cut = system_crop("mica", np.zeros((600, 700, 3), np.uint8), points)
    assert cut.pixels.shape == (112, 112, 3)
    back = np.column_stack([ARCFACE, np.ones(5)]) @ cut.photo_from_crop.T
    assert np.allclose(back, true, atol=1e-6)
    with pytest.raises(InputError, match="no regressor"):
        system_crop("vgg", np.zeros((9, 9, 3), np.uint8), points)
    assert len(set(OUTLINE)) == 27


def test_a_weak_perspective_head_projects_where_its_crop_says() -> None:
    """Points at the head's depth land where the system's own projection puts them."""
    model: HeadModel = face3d.load_head("open")
    generator = torch.Generator().manual_seed(0)
    codes = {
        "shape": torch.randn(2, 20, generator=generator) * 0.5, "expression": torch.zeros(2, 5),
        "jaw": torch.zeros(2, 3), "head": torch.randn(2, 3, generator=generator) * 0.3,
        "cam": torch.tensor([[6.0, 0.02, -0.03], [8.0, 0.0, 0.05]]),
    }  # fmt: skip
    back = torch.tensor([[[2.0, 0.0, 300.0], [0.0, 2.0, 200.0]]]).expand(2, 2, 3)
    # A far camera is a weak perspective.
    one = torch.ones(2)
    camera = Camera(
        fx=90_000 * one, fy=90_000 * one, cx=500 * one, cy=400 * one, width=1000, height=800,
        camera_from_world=torch.eye(4).expand(2, 4, 4),
    )  # fmt: skip
    params = heads_in_photo(model, codes, back, 224, camera)
    mesh = model.mesh(params, frame="world")
    turn = matrix_from_axis_angle(codes["head"])
    rest = model(params.shape, params.expression)
    root = model.joints(params.shape)[:, :1]
    turned = (rest - root) @ turn.mT + root
    s, shift = codes["cam"][:, :1, None], codes["cam"][:, None, 1:]
    plane = s * (turned[..., :2] + shift) * torch.tensor([1.0, -1.0])
    in_crop = (plane + 1) * 112 - 0.5
    expected = in_crop * 2 + torch.tensor([300.0, 200.0])
    found = torch.stack([project_one(camera, mesh.vertices, k) for k in range(2)])
    assert (found - expected).abs().max() < 1.0


def project_one(camera: Camera, vertices: torch.Tensor, k: int) -> torch.Tensor:
    one = dataclasses.replace(
        camera, fx=camera.fx[k], fy=camera.fy[k], cx=camera.cx[k], cy=camera.cy[k],
        camera_from_world=camera.camera_from_world[k],
    )  # fmt: skip
    return project(one, vertices[k])[:, :2]


@pytest.fixture
def smirk_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = SmirkEncoder()
    with torch.no_grad():
        last = net.pose_encoder.pose_cam_layers[0]
        assert isinstance(last, torch.nn.Linear)
        assert last.bias is not None
        last.bias[0] = 0.2
    state = {f"smirk_encoder.{k}": v for k, v in net.state_dict().items()}
    state |= {f"smirk_generator.{k}": v for k, v in SmirkGenerator().state_dict().items()}
    torch.save(state, tmp_path / "SMIRK.pt")
    return tmp_path / "SMIRK.pt"


def test_a_regressor_takes_crops(smirk_file: Path) -> None:
    smirk = face3d.load_regressor("smirk", checkpoint=smirk_file)
    params = smirk(torch.rand(2, 3, 224, 224))
    assert params["shape_params"].shape == (2, 300)
    assert torch.allclose(params["pose_params"][:, 0], torch.tensor(0.2), atol=0.05)


def test_what_does_not_go_together_is_refused(smirk_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--checkpoint"):
        face3d.load_regressor("deca")
    with pytest.raises(AssetError, match="no checkpoint of deca"):
        face3d.load_regressor("deca", checkpoint=smirk_file)
    smirk = face3d.load_regressor("smirk", checkpoint=smirk_file)
    photo = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(InputError, match="FLAME 2020"):
        face3d.reconstruct(photo, regressor=smirk)
    with pytest.raises(InputError, match="one photo"):
        face3d.reconstruct([photo, photo], regressor=smirk)


def test_a_published_head_is_taken_as_it_is_and_micas_identity_kept(smirk_file: Path) -> None:
    """With the open head in FLAME's place."""
    model = face3d.load_head("open")
    fitter = _fitter("open", id(model))
    points = np.concatenate([landmarks(), np.zeros((478, 1))], axis=1)
    # Where a frontal mean head would have them.
    mean = landmark_points(model, model.template).numpy()
    points[:, :2] = mean[:, :2] * [1000, -1000] + [320, 240]
    face = Detection(
        box_xyxy=np.array([200.0, 150, 420, 410]), landmarks=points, layout="mediapipe478",
        score=np.array(1.0), visibility=np.ones(478),
    )  # fmt: skip
    frame = Frame(rgb=np.full((480, 640, 3), 128, np.uint8))
    seen = LandmarkObservations(
        points_px=torch.as_tensor(points[:, :2]).float(), visibility=torch.ones(478),
        width_px=torch.tensor(640.0), height_px=torch.tensor(480.0),
        focal_px=torch.tensor(torch.nan),
    )  # fmt: skip
    smirk = face3d.load_regressor("smirk", checkpoint=smirk_file)
    fit = smirk.fit(fitter, model, frame, face, seen)
    crop, _ = smirk.crop(frame, face)
    said = smirk(crop[None])
    assert torch.allclose(fit.params.shape, said["shape_params"][0, :140], atol=1e-5)
    assert torch.isfinite(fit.landmark_error_px)
    assert 0.3 < float(fit.params.world_from_head[2, 3]) < 5

    class Always(torch.nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return torch.linspace(-1, 1, 300)[None]

    mica = Regressor("mica", Always())
    fit = mica.fit(fitter, model, frame, face, seen)
    assert torch.allclose(fit.params.shape, torch.linspace(-1, 1, 300)[:140], atol=0.05)
    assert float(fit.landmark_error_px) < 12
