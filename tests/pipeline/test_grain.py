"""Grain for skin that no photo shows."""

import pytest
import torch

from face3d.pipeline.grain import grain_like

SIZE = 256


def skin(spread: float) -> torch.Tensor:
    g = torch.Generator().manual_seed(3)
    tone = torch.tensor([0.7, 0.5, 0.4])[:, None, None]
    return tone * (1 + spread * torch.randn(1, SIZE, SIZE, generator=g))


def test_as_strong_as_the_skins_own():
    grain = grain_like(skin(0.03), torch.ones(SIZE, SIZE))
    assert grain is not None
    # The smooth part, which is left out, holds a ninth of white noise.
    assert float(grain.std()) == pytest.approx(0.03 * (8 / 9) ** 0.5, rel=0.2)
    assert grain.mean().abs() < 1e-3
    # Brightness varied, so all colours vary alike.
    assert float((grain[0] - grain[2]).std()) < 0.1 * float(grain.std())


def test_smooth_skin_gets_none():
    grain = grain_like(skin(0.0), torch.ones(SIZE, SIZE))
    assert grain is not None
    assert grain.abs().max() < 1e-5


def test_taken_from_where_skin_is_seen():
    rgb, trust = skin(0.0), torch.zeros(SIZE, SIZE)
    rgb[:, 100:180, 60:140] = skin(0.04)[:, 100:180, 60:140]
    trust[104:176, 64:136] = 1
    grain = grain_like(rgb, trust)
    assert grain is not None
    assert grain.std() > 0.025


def test_stubble_is_not_taken_for_skin():
    rgb = skin(0.01)
    rgb[:, 128:] = skin(0.08)[:, 128:]
    grain = grain_like(rgb, torch.ones(SIZE, SIZE))
    assert grain is not None
    assert grain.std() < 0.015


def test_without_skin_there_is_none():
    assert grain_like(skin(0.03), torch.full((SIZE, SIZE), 0.3)) is None
