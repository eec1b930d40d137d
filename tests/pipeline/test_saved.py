import dataclasses

import numpy as np
import pytest
import torch
from skimage import data

import face3d
from face3d.core import AssetError
from face3d.export import read_params, write_params


@pytest.fixture(scope="module")
def head():
    return face3d.reconstruct(data.astronaut(), texture=128, fast=True)


def test_a_parameter_file_reloads_to_the_same_head(head, tmp_path):
    loaded = face3d.load(head.save(tmp_path / "head.npz"))
    torch.testing.assert_close(loaded.mesh.vertices, head.mesh.vertices)
    torch.testing.assert_close(loaded.neutral.vertices, head.neutral.vertices)
    assert loaded.camera is not None
    assert loaded.camera.width == 512


def test_a_persons_own_form_is_saved_too(tmp_path):
    full = face3d.reconstruct(data.astronaut(), texture=128)
    assert full.offsets is not None
    assert 1e-4 < full.offsets.norm(dim=-1).max() < 5e-3
    path = full.save(tmp_path / "head.npz")
    torch.testing.assert_close(face3d.load(path).neutral.vertices, full.neutral.vertices)
    saved = read_params(path)
    arrays = {**saved.arrays, "vertex_offsets": np.zeros((7, 3))}
    write_params(path, dataclasses.replace(saved, arrays=arrays))
    with pytest.raises(AssetError, match="offsets"):
        face3d.load(path)


def test_a_file_of_another_version_of_the_head_is_refused(head, tmp_path):
    path = head.save(tmp_path / "head.npz")
    saved = read_params(path)
    arrays = {**saved.arrays, "head_fingerprint": np.array("0123456789abcdef")}
    write_params(path, dataclasses.replace(saved, arrays=arrays))
    with pytest.raises(AssetError, match="another version"):
        face3d.load(path)


def test_a_damaged_or_missing_file_is_said(tmp_path):
    with pytest.raises(AssetError, match="Cannot read"):
        face3d.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(AssetError, match="damaged"):
        face3d.load(tmp_path / "bad.npz")
