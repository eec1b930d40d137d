import dataclasses
import io
import os
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from face3d.core import AssetError, HeadParams, InputError, Topology
from face3d.export import (
    GlbAnimation,
    GlbCharacter,
    Material,
    SavedParams,
    write_glb,
    write_obj,
    write_params,
    write_ply,
)
from face3d.pipeline import Shot, film, load_head
from face3d.pipeline.surfaces import Puppet, open_surface

SMALL = Shot(width=64, height=64, seconds=0.4, fps=Fraction(10), supersample=1)


def plain_red() -> Image.Image:
    return Image.fromarray(np.full((8, 8, 3), (200, 40, 40), np.uint8))


@pytest.fixture(scope="module")
def character() -> GlbCharacter:
    model = load_head()
    data = model.data
    stream = io.BytesIO()
    plain_red().save(stream, "PNG")
    eyes = data.regions["eyes"][data.faces].all(1)
    with torch.no_grad():
        places = model.joints(torch.zeros(140)).numpy().astype(np.float64)
    texture = stream.getvalue()
    return GlbCharacter(
        name="head",
        vertices=data.v_template.astype(np.float64),
        topology=data.topology,
        materials=(
            Material(name="skin", faces=~eyes, texture=texture, roughness=0.6),
            Material(name="eyes", faces=eyes, texture=texture, roughness=0.15),
        ),
        joint_names=data.joint_names,
        joint_parents=data.parents,
        joint_places=places,
        skinning_weights=data.skinning_weights,
        morph_names=data.expression_names,
        morph_deltas=np.moveaxis(data.expression_basis, -1, 0),
        morph_weights=np.zeros(52),
    )


@pytest.fixture(scope="module")
def head_glb(character, tmp_path_factory):
    path = tmp_path_factory.mktemp("glb") / "head.glb"
    write_glb(path, character)
    return path


@pytest.fixture(scope="module")
def take_glb(character, tmp_path_factory):
    weights = np.zeros((5, 52))
    weights[:, character.morph_names.index("jawOpen")] = np.linspace(0, 1, 5)
    path = tmp_path_factory.mktemp("glb") / "take.glb"
    take = GlbAnimation(times_s=np.arange(5) / 10, morph_weights=weights)
    write_glb(path, character, animation=take)
    return path


def rgba(path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_a_picture_is_transparent_around_the_head(head_glb, tmp_path):
    picture = rgba(film(head_glb, tmp_path / "a.png", SMALL))
    assert picture.shape == (64, 64, 4)
    assert picture[0, 0, 3] == 0
    assert picture[32, 32, 3] == 255
    solid = picture[picture[..., 3] == 255][:, :3]
    red, green, _ = np.median(solid, axis=0)
    assert red > 2 * green


def test_a_background_makes_it_opaque(head_glb, tmp_path):
    shot = dataclasses.replace(SMALL, background=(0.0, 0.0, 1.0))
    picture = rgba(film(head_glb, tmp_path / "a.png", shot))
    assert picture.shape == (64, 64, 3)
    assert picture[0, 0].tolist() == [0, 0, 255]


def test_clay_and_yaw_change_the_picture(head_glb, tmp_path):
    plain = rgba(film(head_glb, tmp_path / "a.png", SMALL))
    clay = rgba(film(head_glb, tmp_path / "b.png", dataclasses.replace(SMALL, clay=True)))
    side = rgba(film(head_glb, tmp_path / "c.png", dataclasses.replace(SMALL, yaw_deg=90.0)))
    middle = clay[32, 32, :3]
    assert middle.max() - middle.min() < 12
    # Seen from the subject's left, the nose points to the left of the picture.
    rows = side[28:36, :, 3] > 128
    assert (plain[..., 3] > 128).sum() != (side[..., 3] > 128).sum()
    assert rows.any(0).argmax() < 64 - rows.any(0)[::-1].argmax()


def test_a_turntable_goes_once_around(head_glb, tmp_path):
    folder = film(head_glb, tmp_path / "frames", SMALL)
    names = sorted(p.name for p in folder.glob("*.png"))
    assert names == [f"{k:05d}.png" for k in range(4)]
    front, left, back, right = (rgba(folder / name)[..., 3] for name in names)
    # Half a turn mirrors the outline: of the sides exactly, as the head is symmetric, and of front
    # and back but for perspective.
    assert np.abs(left - right[:, ::-1]).mean() < 1
    assert np.abs(front - back[:, ::-1]).mean() < 0.5 * np.abs(front - left).mean()


def test_a_film_has_as_many_pictures_as_it_lasts(head_glb, tmp_path):
    path = film(head_glb, tmp_path / "a.mp4", SMALL)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_a_take_is_played(take_glb, tmp_path):
    folder = film(take_glb, tmp_path / "frames", SMALL)
    pictures = [rgba(p)[..., :3].sum(-1) for p in sorted(folder.glob("*.png"))]
    assert len(pictures) == 5
    moved = [np.abs(p - pictures[0]).sum() for p in pictures]
    assert moved[0] == 0
    assert moved[1] < moved[2] < moved[4]


def test_still_and_turntable_of_a_take(take_glb, tmp_path):
    still = film(take_glb, tmp_path / "s", dataclasses.replace(SMALL, motion="still"))
    assert len(list(still.glob("*.png"))) == 1
    turned = film(take_glb, tmp_path / "t", dataclasses.replace(SMALL, motion="turntable"))
    assert len(list(turned.glob("*.png"))) == 4


def test_a_folder_is_gone_on_with_and_redrawn_when_settings_change(head_glb, tmp_path):
    folder = film(head_glb, tmp_path / "frames", SMALL)
    (folder / "00002.png").unlink()
    old = time.time() - 1000
    for path in folder.glob("*.png"):
        os.utime(path, (old, old))
    film(head_glb, folder, SMALL)
    redrawn = [p.name for p in sorted(folder.glob("*.png")) if p.stat().st_mtime > old + 1]
    assert redrawn == ["00002.png"]
    film(head_glb, folder, dataclasses.replace(SMALL, clay=True))
    assert all(p.stat().st_mtime > old + 1 for p in folder.glob("*.png"))


def test_a_puppet_moves_as_the_model_does(character):
    model = load_head()
    torch.manual_seed(0)
    expression = 0.5 * torch.rand(52)
    neck, eyes = torch.tensor([0.1, 0.3, 0.0]), torch.tensor([[0.1, 0.2, 0.0], [0.0, -0.1, 0.0]])
    with torch.no_grad():
        expected = model(torch.zeros(140), expression, neck, torch.zeros(3), eyes, frame="root")
    turns = model.pose_axis_angles(neck, torch.zeros(3), eyes).numpy()
    found = Puppet(character).vertices(expression.numpy(), turns)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_files_of_other_kinds_are_drawn(character, tmp_path):
    topology, vertices = character.topology, character.vertices
    write_obj(tmp_path / "a.obj", vertices, topology, materials=character.materials, licence="")
    write_ply(tmp_path / "a.ply", vertices, topology)
    trimesh.creation.icosphere().export(tmp_path / "ball.glb")
    trimesh.creation.icosphere().export(tmp_path / "ball.stl")
    params = HeadParams(
        shape=torch.zeros(140), expression=torch.zeros(52), neck=torch.zeros(3),
        jaw=torch.zeros(3), eyes=torch.zeros(2, 3), world_from_head=torch.eye(4),
    )  # fmt: skip
    write_params(tmp_path / "a.npz", SavedParams(head="open", params=params))
    for name in ("a.obj", "a.ply", "ball.glb", "ball.stl", "a.npz"):
        picture = rgba(film(tmp_path / name, tmp_path / "out.png", SMALL))
        assert 0.1 < (picture[..., 3] > 128).mean() < 0.95, name
    red = rgba(film(tmp_path / "a.obj", tmp_path / "out.png", SMALL))
    assert red[32, 32, 0] > 2 * red[32, 32, 1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.glb", None, "no file"),
        ("a.glb", b"glTF nonsense", "cannot be read"),
        ("a.obj", b"v 0 0 0\n", "no triangles|cannot be read"),
        ("a.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "finite|cannot be read"),
        ("a.txt", b"hello", "cannot be drawn"),
        ("a.npz", b"PK nonsense", "npz"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AssetError, match=says):
        film(tmp_path / name, tmp_path / "out.png", SMALL)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 4}, "width"),
        ({"height": 100_000}, "height"),
        ({"fps": Fraction(0)}, "rate"),
        ({"seconds": -1.0}, "last"),
        ({"supersample": 9}, "supersample"),
        ({"yaw_deg": float("nan")}, "yaw"),
        ({"shading": 1.5}, "shading"),
    ],
)
def test_bad_shots(options, says):
    with pytest.raises(InputError, match=says):
        dataclasses.replace(SMALL, **options)


def test_bad_outputs(head_glb, tmp_path):
    with pytest.raises(InputError, match="mp4"):
        film(head_glb, tmp_path / "a.avi", SMALL)
    with pytest.raises(InputError, match="even"):
        film(head_glb, tmp_path / "a.mp4", dataclasses.replace(SMALL, width=65))
    with pytest.raises(InputError, match="animation"):
        film(head_glb, tmp_path / "a.mp4", dataclasses.replace(SMALL, motion="take"))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="is a file"):
        film(head_glb, tmp_path / "taken", SMALL)


def test_textures_of_any_size_are_brought_to_squares(tmp_path):
    square = trimesh.Trimesh(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    picture = Image.fromarray(np.full((30, 50, 3), (40, 200, 40), np.uint8))
    square.visual = trimesh.visual.TextureVisuals(
        uv=[[0, 0], [1, 0], [1, 1], [0, 1]], image=picture
    )
    square.export(tmp_path / "square.glb")
    surface = open_surface(tmp_path / "square.glb")
    assert isinstance(surface.mesh.topology, Topology)
    assert surface.texture is not None
    assert surface.texture.shape == (3, 64, 64)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:OpenGL")  # PyOpenGL 3.1.0's own
def test_pyrender_draws_the_same_head(head_glb, tmp_path):
    pytest.importorskip("pyrender", reason="pyrender (the extra 'pyrender') is not installed")
    shot = dataclasses.replace(SMALL, background=(0.9, 0.9, 0.9), width=128, height=128)
    ours = rgba(film(head_glb, tmp_path / "a.png", shot))
    try:
        theirs = film(head_glb, tmp_path / "b.png", dataclasses.replace(shot, renderer="pyrender"))
    except (ImportError, OSError, AttributeError) as error:
        pytest.skip(f"there is no EGL here: {error}")
    same = (np.abs(ours - 229.5).max(-1) < 8) == (np.abs(rgba(theirs) - 229.5).max(-1) < 8)
    assert same.mean() > 0.98
