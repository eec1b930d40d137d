"""Fine relief of a reconstructed head."""

import json
import struct

import numpy as np
import OpenEXR
import pytest
import torch
from PIL import Image
from skimage import data
from torch.nn.functional import normalize

import face3d
from face3d.core import InputError
from face3d.pipeline import Head


@pytest.fixture(scope="module")
def head() -> Head:
    return face3d.reconstruct(data.astronaut(), texture=512, detail=True)


def test_maps_belong_together(head):
    assert head.detail_refused is None
    assert head.displacement.shape == (1, 512, 512)
    assert head.normal_map.shape == (3, 512, 512)
    # Wrinkles and pores, not form.
    assert 2e-5 < head.displacement.abs().max() < 2e-3
    bent = normalize(head.normal_map * 2 - 1, dim=0)
    assert bent[2].min() > 0.2
    none = head.displacement[0].abs() < 1e-9
    assert none.float().mean() > 0.3


def test_relief_is_where_skin_is_seen(head):
    unseen = head.relief.trust == 0
    assert 0.2 < unseen.float().mean() < 0.95
    # Heights come from slopes that are zero there, but waves reach a little beyond.
    height = head.displacement[0].abs()
    assert height[unseen].mean() < 0.2 * height[~unseen].mean()


def test_a_face_at_rest_has_no_more_relief_than_the_photo(head):
    rest = head.relief.displacement(head.neutral)
    photo = head.displacement
    assert rest.abs().sum() <= 1.02 * photo.abs().sum()


def test_files(head, tmp_path):
    names = [p.name for p in head.save_maps(tmp_path / "maps", pose="photo")]
    assert names == [
        "texture.png",
        "albedo.png",
        "confidence.png",
        "normal.png",
        "displacement.exr",
    ]
    with Image.open(tmp_path / "maps/normal.png") as normals:
        assert np.asarray(normals).reshape(-1, 3)[0].tolist() == [128, 128, 255]
    (part,) = OpenEXR.File(str(tmp_path / "maps/displacement.exr")).parts
    wanted = head.displacement[0].numpy() * head.scale.metres_per_unit
    np.testing.assert_allclose(part.channels["Y"].pixels, wanted, atol=1e-6)
    glb = head.save(tmp_path / "head.glb", pose="photo").read_bytes()
    (length,) = struct.unpack_from("<I", glb, 12)
    skin, eyes = json.loads(glb[20 : 20 + length])["materials"]
    assert "normalTexture" in skin
    assert "normalTexture" not in eyes


def test_a_fine_mesh_follows_the_relief(head, tmp_path):
    plain = face3d.reconstruct(data.astronaut(), texture=512)
    flat = np.loadtxt(_points(plain.save(tmp_path / "flat.obj", pose="photo", subdivide=1)))
    fine = np.loadtxt(_points(head.save(tmp_path / "fine.obj", pose="photo", subdivide=1)))
    assert len(flat) == len(fine) > 4 * 5000
    moved = np.linalg.norm(fine - flat, axis=1)
    most = float(head.displacement.abs().max()) * head.scale.metres_per_unit
    assert 0 < moved.max() <= 1.01 * most
    with pytest.raises(InputError, match="subdivided"):
        head.save(tmp_path / "head.glb", subdivide=1)
    with pytest.raises(InputError, match="from 0 to"):
        head.save(tmp_path / "head.obj", subdivide=9)


def _points(path) -> list[str]:
    return [line[2:] for line in path.read_text().splitlines() if line.startswith("v ")]


def test_a_tiny_face_is_told_why_it_has_none(tmp_path):
    tiny = Image.fromarray(data.astronaut()).resize((110, 110))
    head = face3d.reconstruct(tiny, texture=256, detail=True)
    assert head.detail_refused is not None
    assert "mm of the face" in head.detail_refused
    with pytest.raises(InputError, match="mm of the face"):
        _ = head.normal_map
    with pytest.raises(InputError, match="no displacement"):
        head.save(tmp_path / "head.exr")
    assert not list(tmp_path.iterdir())
    names = [p.name for p in head.save_maps(tmp_path)]
    assert names == ["texture.png", "albedo.png", "confidence.png"]


def test_a_fast_fit_is_told_why_it_has_none():
    head = face3d.reconstruct(data.astronaut(), texture=128, fast=True, detail=True)
    assert head.detail_refused is not None
    assert "light" in head.detail_refused
    assert not torch.isnan(head.texture).any()
