"""Relief from shading, with the network that ships."""

import math

import pytest
import torch
from relief_study.patches import draw, texel_slopes

from face3d.assets import find_asset
from face3d.core import AssetError
from face3d.detail import (
    ReliefNet,
    heights_of_slopes,
    read_relief_net,
    relief_features,
    save_relief_net,
)


@pytest.fixture(scope="module")
def net() -> ReliefNet:
    return read_relief_net(find_asset("relief_net"))


def test_lines_of_skin_it_has_not_seen_are_found_and_smooth_skin_is_left_alone(net):
    # Patches of seeds that training does not reach.
    size, wrong, still = 0.0, 0.0, []
    for seed in range(6):
        p = draw(77_000_000 + seed, 12)
        with torch.no_grad():
            found = net(
                relief_features(p.log_rgb, p.lean, p.shade, p.seen, p.pixel_texels, p.texel_mm)
            )
        true = texel_slopes(p.height)
        steep = true.norm(dim=1)
        seen = p.seen[:, 0] > 0.5
        rough, smooth = seen & (steep > 0.05), seen & (steep < 0.005)
        size += float(steep[rough].sum())
        wrong += float((found - true).norm(dim=1)[rough].sum())
        still.append(float(found.norm(dim=1)[smooth].mean()))
    assert wrong < 0.88 * size
    assert sum(still) / len(still) < math.tan(math.radians(0.5))


def test_heights_of_slopes_undo_slopes():
    g = torch.Generator().manual_seed(1)
    rough = torch.randn(1, 1, 12, 12, generator=g)
    height = torch.nn.functional.interpolate(rough, size=(96, 96), mode="bicubic")[0, 0]
    fade = torch.hann_window(96, periodic=False)
    height = height * fade[:, None] * fade
    found = heights_of_slopes(texel_slopes(height[None, None])[0], longest=200.0)
    off = found - height
    assert (off - off.mean()).abs().mean() < 0.12 * height.abs().mean()


def test_waves_that_are_form_are_left_out():
    along = torch.arange(256) * (2 * math.pi / 128)
    wave = torch.sin(along).expand(256, 256)[None, None]
    found = heights_of_slopes(texel_slopes(wave)[0], longest=20.0)
    assert found.abs().max() < 0.1


def test_weights_come_back(net, tmp_path):
    save_relief_net(tmp_path / "net.npz", net)
    again = read_relief_net(tmp_path / "net.npz")
    for a, b in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_damaged_file_is_said(tmp_path):
    with pytest.raises(AssetError, match="missing"):
        read_relief_net(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4")
    with pytest.raises(AssetError, match="not a readable"):
        read_relief_net(tmp_path / "bad.npz")
