"""Offsets for what the identity basis cannot say."""

import dataclasses

import numpy as np
import pytest
import torch

from face3d.fit.corrective import correctable, corrected, corrective_modes
from face3d.model import HeadModel
from face3d.pipeline import load_head


@pytest.fixture(scope="module")
def modes() -> np.ndarray:
    return corrective_modes(load_head("open").data)


def test_smooth_on_the_face_and_nowhere_else(modes):
    data = load_head("open").data
    spread = np.sqrt((modes**2).sum((1, 2)))
    assert spread[~data.regions["face"]].max() == 0
    assert spread[data.regions["eyes"]].max() == 0
    middle = spread[data.regions["nose"]]
    # The first eigenfunctions hold most of the millimetre.
    assert 0.7e-3 < np.median(middle) < 1.01e-3
    edges = np.concatenate([data.faces[:, [0, 1]], data.faces[:, [1, 2]]])
    skin = data.regions["face"] & data.regions["skin"] & ~data.regions["mouth_interior"]
    edges = edges[skin[edges].all(1)]
    length = np.linalg.norm(np.diff(data.v_template[edges], axis=1)[:, 0], axis=1)
    height = np.sqrt((modes**2).sum(1))[..., 0]
    steep = np.abs(np.diff(height[edges], axis=1))[:, 0] / length
    assert np.quantile(steep, 0.99) < 0.1


def test_the_same_every_time(modes):
    np.testing.assert_array_equal(modes, corrective_modes(load_head("open").data))


def test_a_head_without_regions_has_none():
    data = dataclasses.replace(load_head("open").data, regions={})
    assert corrective_modes(data).shape == (len(data.v_template), 3, 0)
    assert correctable(data).identity_basis.shape == data.identity_basis.shape


def test_a_persons_head_has_the_offsets_in_its_template(modes):
    model = load_head("open")
    offsets = modes @ np.random.default_rng(0).standard_normal(modes.shape[-1])
    own = HeadModel(corrected(model.data, offsets))
    shape, expression = torch.randn(2, 140), torch.rand(2, 52) * 0.3
    moved = (own(shape, expression) - model(shape, expression)).numpy()
    np.testing.assert_allclose(moved, np.broadcast_to(offsets, moved.shape), atol=2e-6)
    assert own.data.faces is model.data.faces
