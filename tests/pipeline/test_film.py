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

from face3d.core import AssetError, HeadMesh, HeadParams, InputError, Topology
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
from face3d.pipeline.film import _Stage
from face3d.pipeline.surfaces import Puppet, Visible, open_surface
from face3d.render import Materials

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


def test_a_folder_of_somebody_elses_files_is_left_alone(head_glb, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("00000.png", "00042.png", "settings.json", "keep.txt"):
        (folder / name).write_bytes(b"\xff mine")
    with pytest.raises(InputError, match="not this film's"):
        film(head_glb, folder, SMALL)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == dict.fromkeys(
        ("00000.png", "00042.png", "settings.json", "keep.txt"), b"\xff mine"
    )
    with pytest.raises(InputError, match="no name"):
        film(head_glb, "", SMALL)


def test_a_shorter_film_removes_only_its_own_pictures(head_glb, tmp_path):
    folder = film(head_glb, tmp_path / "frames", SMALL)
    (folder / "notes.txt").write_text("mine")
    film(head_glb, folder, dataclasses.replace(SMALL, seconds=0.2))
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    assert names == ["00000.png", "00001.png", "notes.txt"]


def test_a_folder_is_not_gone_on_with_for_another_take(character, take_glb, tmp_path):
    folder = film(take_glb, tmp_path / "frames", SMALL)
    weights = np.zeros((5, 52))
    weights[:, character.morph_names.index("browInnerUp")] = np.linspace(0, 1, 5)
    other = tmp_path / "other.glb"
    take = GlbAnimation(times_s=np.arange(5) / 10, morph_weights=weights)
    write_glb(other, character, animation=take)
    film(other, folder, SMALL)
    fresh = film(other, tmp_path / "fresh", SMALL)
    for path in fresh.glob("*.png"):
        assert path.read_bytes() == (folder / path.name).read_bytes()


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30), Fraction(30000, 1001)])
def test_no_take_loses_its_last_picture(fps):
    for keys in range(2, 200):
        times = (np.arange(keys) / float(fps)).astype(np.float32)
        visible = Visible(
            mesh=HeadMesh(
                vertices=torch.rand(3, 3), frame="world",
                topology=Topology(faces=np.array([[0, 1, 2]])),
            ),
            texture=None, materials=Materials(roughness=torch.ones(1)), times_s=times,
            pose=lambda _: torch.rand(3, 3),
        )  # fmt: skip
        assert _Stage(visible, dataclasses.replace(SMALL, fps=fps)).count == keys


def test_a_take_that_walks_stays_in_the_picture(character, tmp_path):
    world = np.tile(np.eye(4), (5, 1, 1))
    world[:, 0, 3] = np.linspace(0, 0.4, 5)
    take = GlbAnimation(times_s=np.arange(5) / 10, world_from_head=world)
    write_glb(tmp_path / "walk.glb", character, animation=take)
    folder = film(tmp_path / "walk.glb", tmp_path / "frames", SMALL)
    seen = [(rgba(p)[..., 3] > 128) for p in sorted(folder.glob("*.png"))]
    areas = [s.sum() for s in seen]
    assert min(areas) > 0.9 * max(areas)
    assert seen[0].any(0).argmax() < seen[-1].any(0).argmax()


@pytest.mark.parametrize("scale", [1e-3, 1000.0])
def test_the_unit_of_length_does_not_matter(character, tmp_path, scale):
    for name, factor in (("a.ply", 1.0), ("b.ply", scale)):
        write_ply(tmp_path / name, character.vertices * factor, character.topology)
    shot = dataclasses.replace(SMALL, yaw_deg=40.0)
    first, second = (rgba(film(tmp_path / n, tmp_path / "o.png", shot)) for n in ("a.ply", "b.ply"))
    assert np.abs(first - second).mean() < 0.2


@pytest.mark.parametrize("yaw", [0.0, 45.0, 90.0])
def test_whatever_its_form_the_whole_is_in_the_picture(tmp_path, yaw):
    trimesh.creation.box((0.5, 0.6, 0.3)).export(tmp_path / "box.stl")
    picture = rgba(film(tmp_path / "box.stl", tmp_path / "o.png",
                        dataclasses.replace(SMALL, yaw_deg=yaw)))  # fmt: skip
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (border[:, 3] == 0).all()


def test_textures_repeat(tmp_path):
    half = np.zeros((16, 16, 3), np.uint8)
    half[:, :8], half[:, 8:] = (220, 30, 30), (30, 30, 220)
    means = []
    for shift in (0.0, 1.0, -1.0):
        square = trimesh.Trimesh(
            [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False
        )
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * 0.9 + 0.05 + shift
        square.visual = trimesh.visual.TextureVisuals(uv=corners, image=Image.fromarray(half))
        square.export(tmp_path / "square.glb")
        picture = rgba(film(tmp_path / "square.glb", tmp_path / "o.png",
                            dataclasses.replace(SMALL, shading=0.0)))  # fmt: skip
        means.append(picture[picture[..., 3] == 255][:, :3].mean(0))
    assert np.abs(means[0][0] - means[0][2]) < 12
    assert np.abs(np.diff(means, axis=0)).max() < 3


@pytest.mark.parametrize("suffix", [".ply", ".glb", ".obj"])
def test_vertex_colours_are_shown(tmp_path, suffix):
    ball = trimesh.creation.icosphere()
    ball.visual.vertex_colors = np.tile([200, 40, 40, 255], (len(ball.vertices), 1))
    ball.export(tmp_path / f"ball{suffix}")
    picture = rgba(film(tmp_path / f"ball{suffix}", tmp_path / "o.png",
                        dataclasses.replace(SMALL, shading=0.0)))  # fmt: skip
    assert np.abs(picture[32, 32, :3] - [200, 40, 40]).max() < 25


def test_a_textured_and_a_bare_part_both_keep_their_colours(tmp_path):
    square = trimesh.Trimesh(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    picture = Image.fromarray(np.full((32, 32, 3), (40, 200, 40), np.uint8))
    corners = [[0, 0], [1, 0], [1, 1], [0, 1]]
    square.visual = trimesh.visual.TextureVisuals(uv=corners, image=picture)
    other = trimesh.creation.box(
        (1, 1, 0.1), trimesh.transformations.translation_matrix([2, 0.5, 0])
    )
    other.visual.vertex_colors = np.tile([200, 40, 40, 255], (len(other.vertices), 1))
    trimesh.Scene([square, other]).export(tmp_path / "two.glb")
    shown = rgba(film(tmp_path / "two.glb", tmp_path / "o.png",
                      dataclasses.replace(SMALL, shading=0.0)))  # fmt: skip
    solid = shown[shown[..., 3] == 255][:, :3]
    greens, reds = (solid[:, 1] > 2 * solid[:, 0]).sum(), (solid[:, 0] > 2 * solid[:, 1]).sum()
    assert min(greens, reds) > 100


def test_bad_corners_and_bombs_are_one_sentence(tmp_path):
    for bad in ("9", "-1"):
        (tmp_path / "bad.ply").write_text(
            "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
            "property float z\nelement face 1\nproperty list uchar int vertex_indices\n"
            f"end_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 {bad}\n"
        )
        with pytest.raises(AssetError):
            film(tmp_path / "bad.ply", tmp_path / "o.png", SMALL)
    with pytest.raises(InputError, match="too many"):
        dataclasses.replace(SMALL, width=8192, height=8192, supersample=2)


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
