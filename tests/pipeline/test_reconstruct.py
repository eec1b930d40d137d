import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures

import face3d
from face3d.core import AssetError, DetectionError, InputError, project
from face3d.export import read_glb, read_params


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return pictures.astronaut()


@pytest.fixture(scope="module")
def head(photo) -> face3d.Head:
    return face3d.reconstruct(photo, texture=256, fast=True)


def test_the_head_lies_on_the_photo(head):
    assert head.landmark_error_percent < 1.0
    assert bool(head.fit.converged)
    points = project(head.camera, head.mesh.vertices)
    eyes = head.mesh.topology.regions["iris"]
    found = head.detection.landmarks[[468, 473], :2].mean(0)
    np.testing.assert_allclose(points[eyes][:, :2].mean(0).numpy(), found, atol=4)
    assert 0.4 < head.params.world_from_head[2, 3] < 4


def test_a_smile_is_expression_and_not_identity(head):
    data = head.model.data
    names = data.expression_names
    weights = dict(zip(names, head.params.expression.tolist()))
    assert weights["mouthSmileLeft"] + weights["mouthSmileRight"] > 0.35
    assert weights["eyeBlinkLeft"] < 0.4
    embedding = data.embeddings["mediapipe478"]
    corners = data.faces[embedding.face_index[[61, 291]]]
    weight = embedding.barycentric[[61, 291]][..., None]

    def mouth_width(vertices):
        right, left = (vertices.numpy()[corners] * weight).sum(1)
        return np.linalg.norm(left - right)

    # Teeth show in the photo: the mouth at rest must be narrower than the smiling one.
    assert mouth_width(head.mesh.vertices) > 1.1 * mouth_width(head.neutral.vertices)


def test_every_kind_of_input_gives_the_same_head(head, photo, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    for source in (path, str(path), path.read_bytes(), Image.fromarray(photo)):
        again = face3d.reconstruct(source, texture=256, fast=True)
        torch.testing.assert_close(again.params.shape, head.params.shape)


def test_the_texture_shows_the_person(head):
    texture = head.texture
    assert texture.shape == (3, 256, 256)
    assert torch.isfinite(texture).all()
    data = head.model.data
    cheek = data.regions["cheeks"]
    corner = np.zeros(len(data.v_template), dtype=int)
    corner[data.faces.ravel()] = data.uv_faces.ravel()
    uv = data.uv[corner[cheek]]
    colours = texture[:, ((1 - uv[:, 1]) * 256).astype(int), (uv[:, 0] * 256).astype(int)]
    red, green, blue = colours.mean(1)
    assert red > green > blue  # skin
    assert red > 0.5


def test_glb(head, tmp_path):
    path = head.save(tmp_path / "head.glb")
    character, animation = read_glb(path)
    assert animation is None
    assert character.morph_names == head.model.data.expression_names
    assert len(character.joint_names) == 5
    assert {m.name for m in character.materials} == {"skin", "eyes"}
    photo = read_glb(head.save(tmp_path / "photo.glb", pose="photo"))[0]
    np.testing.assert_allclose(photo.morph_weights, head.params.expression.numpy(), atol=1e-6)


def test_npz_gives_the_same_head_back(head, tmp_path):
    saved = read_params(head.save(tmp_path / "head.npz"))
    again = head.model(saved.params.shape, saved.params.expression, None, saved.params.jaw)
    mine = head.model(head.params.shape, head.params.expression, None, head.params.jaw)
    torch.testing.assert_close(again, mine)
    assert saved.camera is not None
    torch.testing.assert_close(saved.camera.fx, head.camera.fx)
    assert {"sd_shape", "landmarks_px", "energy_landmark"} <= set(saved.arrays)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".png"])
def test_other_files(head, tmp_path, suffix):
    path = head.save(tmp_path / f"head{suffix}")
    assert path.stat().st_size > 10000


def test_several_faces_are_found_one_by_one(photo):
    pair = np.concatenate([photo[:300, 100:400], photo[:300, 100:400]], axis=1)
    heads = face3d.reconstruct_all(pair, texture=128, fast=True)
    assert len(heads) == 2
    second = face3d.reconstruct(pair, face=1, texture=128, fast=True)
    # Fitted in a batch and alone, a face may stop a step earlier or later.
    moved = (second.neutral.vertices - heads[1].neutral.vertices).norm(dim=-1)
    assert moved.max() < 0.001


def test_what_cannot_be_done_is_said(photo, tmp_path):
    blank = np.full((200, 200, 3), 127, dtype=np.uint8)
    with pytest.raises(DetectionError, match="No face"):
        face3d.reconstruct(blank, fast=True)
    with pytest.raises(DetectionError):
        face3d.reconstruct(photo, face=5, fast=True)
    with pytest.raises(AssetError, match="no head 'nobody'"):
        face3d.reconstruct(photo, head="nobody", fast=True)
    with pytest.raises(InputError):
        face3d.reconstruct(np.full((50, 50, 3), np.nan))


def test_an_unknown_ending_is_refused_before_work(head, tmp_path):
    with pytest.raises(InputError, match="ends in"):
        head.save(tmp_path / "head.fbx")
    assert list(tmp_path.iterdir()) == []
