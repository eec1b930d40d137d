"""The landmark embedding, checked the way it was made: detect on renders of the head."""

import numpy as np
import pytest
import torch
from landmark_study.looks import make_skin, make_texel_map
from landmark_study.scenes import SIZE, random_scene, render_scene

from face3d.core import Frame, HeadParams, project
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import rigid_from_parts
from face3d.detect import load_detector
from face3d.pipeline import load_head


@pytest.mark.slow
def test_redetected_landmarks_lie_within_a_percent_of_the_faces_width():
    model, detector = load_head(), load_detector("mediapipe")
    data = model.data
    rng = np.random.default_rng(99)
    texels = make_texel_map(data, 512)
    embedding = data.embeddings["mediapipe478"]
    corners = torch.as_tensor(data.faces[embedding.face_index])
    weight = torch.as_tensor(embedding.barycentric).float()[..., None]
    errors = []
    for yaw in (-20, -10, 0, 0, 0, 10, 20) * 2:
        scene = random_scene(rng, model)
        turn = matrix_from_axis_angle(torch.tensor([0.0, float(np.radians(yaw)), 0.0]))
        pose = rigid_from_parts(
            torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn, torch.tensor([0.0, 0.0, 0.75])
        )
        params = HeadParams(
            shape=torch.zeros(model.identity_count), expression=torch.zeros(52),
            neck=torch.zeros(3), jaw=torch.zeros(3), eyes=torch.zeros(2, 3), world_from_head=pose,
        )  # fmt: skip
        focal = torch.tensor(1100.0)
        camera = type(scene.camera)(**{**vars(scene.camera), "fx": focal, "fy": focal})
        view = type(scene)(params=params, camera=camera, yaw_rad=0.0, pitch_rad=0.0)
        skin = torch.tensor(make_skin(rng, texels))
        picture = render_scene(rng, model, view, skin)
        assert picture.shape == (SIZE, SIZE, 3)
        found = detector.detect(Frame(rgb=picture), max_faces=1).landmarks[0]
        true = project(
            camera, (model.mesh(params, frame="world").vertices[corners] * weight).sum(1)
        )
        width = np.linalg.norm(found[234, :2] - found[454, :2])
        errors.append((found[:, :2] - true[:, :2].numpy()) / width)
    # One skin's brows or one light's shadow shift a detection; the embedding is right on average.
    mean_error = np.linalg.norm(np.mean(errors, axis=0), axis=1)
    assert np.median(mean_error) < 0.01
