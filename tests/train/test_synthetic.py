"""Pictures of people who do not exist."""

import numpy as np
import pytest
import torch

from face3d.core.camera import project
from face3d.core.types import HeadMesh
from face3d.model.head import HeadModel
from face3d.render import rasterize, sh_basis
from face3d.train.synthetic import SyntheticFace, SyntheticFaces
from face3d.train.synthetic.faces import BACKGROUND, EYES, SKIN
from face3d.train.synthetic.hair import make_scalp, random_hair
from face3d.train.synthetic.noise import NoiseBank
from face3d.train.synthetic.pieces import CLOTH, HAIR, OBJECT, ellipsoid, joined, tube
from face3d.train.synthetic.scene import landmark_points, random_lights
from face3d.train.synthetic.skin import make_texel_map, random_look


def test_a_number_always_gives_the_same_picture(
    faces: SyntheticFaces, some: list[SyntheticFace]
) -> None:
    again = faces[7]
    assert np.array_equal(again.rgb, some[7].rgb)
    assert np.array_equal(again.landmarks, some[7].landmarks)
    assert not np.array_equal(some[7].rgb, some[8].rgb)


def test_pictures_show_faces_of_all_kinds(some: list[SyntheticFace]) -> None:
    shares = np.array([[np.mean(face.kinds == k) for k in range(8)] for face in some])
    assert (shares[:, SKIN] > 0.02).mean() > 0.9
    for kind in (BACKGROUND, SKIN, EYES, HAIR, CLOTH, OBJECT):
        assert (shares[:, kind] > 0).any(), kind
    level = np.array([face.rgb[face.kinds == SKIN].mean() for face in some])
    assert level.std() > 15
    assert ((level > 15) & (level < 250)).all()


def test_labels_say_where_the_picture_shows_the_head(
    head: HeadModel, some: list[SyntheticFace]
) -> None:
    for face in some[:6]:
        p, camera = face.scene.params, face.scene.camera
        mesh = head.mesh(p, frame="world")
        seen = project(camera, landmark_points(head, mesh.vertices))[:, :2].numpy()
        assert np.allclose(seen, face.landmarks, atol=1e-3)
        covered = rasterize(mesh, camera).face_index.numpy() >= 0
        # What is skin or eye is where the head is; pieces may hide any of it.
        assert covered[np.isin(face.kinds, [SKIN, EYES])].all()
        low, high = face.landmarks.min(0), face.landmarks.max(0)
        assert ((low + high) / 2 > 0.3 * 128).all()
        assert ((low + high) / 2 < 0.7 * 128).all()
        assert 0.5 < (high - low).max() / 128 < 0.85


def test_hidden_landmarks_are_told(some: list[SyntheticFace]) -> None:
    share = np.array([face.visible.mean() for face in some])
    assert share.max() > 0.6
    profiles = 0
    for face in some:
        forward = face.scene.params.world_from_head[:3, 2]
        if float(forward[0].abs()) > 0.8:
            profiles += 1
            # A head that looks to the picture's right shows its right side.
            assert face.visible[263 if forward[0] > 0 else 33] == 0
            assert face.visible.mean() < 0.75
    assert profiles


def test_light_is_that_of_all_lamps() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        ambient, singles, total = random_lights(rng)
        way = torch.nn.functional.normalize(torch.randn(400, 3), dim=-1)
        exact = sh_basis(way) @ ambient.coefficients
        for light in singles:
            exact = exact + (way @ light.towards).clamp(min=0)[:, None] * light.rgb
        approximate = sh_basis(way) @ total
        size = sum(float(light.rgb.max()) for light in singles)
        # Nine coefficients are off by a few per cent of a lamp's light at most points.
        assert float((exact - approximate).abs().mean()) < 0.05 * size + 1e-5


def test_noise_wraps_and_has_unit_variance() -> None:
    bank = NoiseBank(64, seed=1)
    rng = np.random.default_rng(0)
    field = bank.field(rng, 3.0)
    assert abs(field.std() - 1) < 0.2
    steps = np.abs(np.diff(field, axis=0)).mean()
    assert np.abs(field[0] - field[-1]).mean() < 2 * steps
    threads = bank.strands(rng)
    assert np.abs(np.diff(threads, axis=0)).mean() < 0.3 * np.abs(np.diff(threads, axis=1)).mean()


def test_skins_are_many_and_their_parts_where_they_belong(head: HeadModel) -> None:
    texels, bank = make_texel_map(head.data, 128), NoiseBank(128)
    rng = np.random.default_rng(2)
    looks = [random_look(rng, texels, bank) for _ in range(20)]
    skins = np.array([look.skin for look in looks])
    assert skins.max(0)[0] > 0.5
    assert skins.min(0)[0] < 0.3
    # Blood and melanin take more blue and green than red.
    assert (skins[:, 0] > skins[:, 1]).all()
    pupil = texels.from_pupil_mm < 0.8
    assert all(look.texture[:, pupil].mean() < 0.02 for look in looks)
    assert all(look.texture.min() > 0 and look.texture.max() <= 1 for look in looks)


def test_hair_grows_on_the_scalp(head: HeadModel) -> None:
    scalp = make_scalp(head.data)
    mean = 1000 * head.data.v_template
    points = scalp.points(mean)
    assert np.allclose(scalp.weights.sum(-1), 1)
    assert (scalp.weights > -1e-5).all()
    skin = mean[head.data.regions["skin"]]
    assert (points.reshape(-1, 3) >= skin.min(0) - 1e-6).all()
    assert (points.reshape(-1, 3) <= skin.max(0) + 1e-6).all()
    # The face's hairline is above the eyes, and higher than the nape's.
    eyes = mean[head.data.regions["eyes"]].mean(0)[1]
    front = points[0, np.abs(scalp.elevation_rad - scalp.hairline_rad[0]).argmin()]
    back = points[24, np.abs(scalp.elevation_rad - scalp.hairline_rad[24]).argmin()]
    assert front[1] > eyes + 30
    assert back[1] < front[1]
    hair = random_hair(np.random.default_rng(0), scalp, mean, np.array([0.1, 0.1, 0.1]))
    crown = points[:, 0].mean(0)
    assert np.linalg.norm(hair.vertices - crown, axis=1).min() < 40
    assert hair.faces.max() < len(hair.vertices)


def test_pieces_are_closed_and_joined() -> None:
    grey = np.full(3, 0.5)
    ball = ellipsoid(np.zeros(3), np.diag([10.0, 20.0, 5.0]), grey)
    assert np.allclose(np.abs(ball.vertices).max(0), [10, 20, 5], rtol=0.1)
    pipe = tube(np.array([[0, 0, 0], [0, 10, 0], [0, 20, 0.0]]), 2.0, grey)
    assert np.allclose(np.hypot(pipe.vertices[:, 0], pipe.vertices[:, 2]), 2)
    one, strands, kind = joined([ball, pipe])
    assert len(one.vertices) == len(ball.vertices) + len(pipe.vertices) == len(strands) == len(kind)
    assert one.faces.max() == len(one.vertices) - 1


@pytest.mark.slow
def test_an_open_headed_model_is_drawn_as_the_bare_head(head: HeadModel) -> None:
    """A picture without pieces has the head's silhouette."""
    faces = SyntheticFaces(head, size=96, texture=64, seed=0)
    face = faces[0]
    mesh = head.mesh(face.scene.params, frame="world")
    assert isinstance(mesh, HeadMesh)
    covered = rasterize(mesh, face.scene.camera).face_index.numpy() >= 0
    assert not np.isin(face.kinds[~covered], [SKIN, EYES]).any()
