import numpy as np
import torch

from face3d.pipeline import load_head
from face3d.render import fill_over_surface, fill_smoothly, sample_texture, texel_fragments


def half_seen(size: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """A texture whose colour runs across the head, seen in front only."""
    data = load_head().data
    fragments = texel_fragments(data.topology, size)
    covered = fragments.face_index >= 0
    corners = torch.as_tensor(data.faces)[fragments.face_index[covered]]
    places = torch.as_tensor(data.v_template).float()[corners]
    points = (places * fragments.barycentric[covered][..., None]).sum(1)
    rgb, weight = torch.zeros(3, size, size), torch.zeros(size, size)
    rgb[:, covered] = (0.5 + points.T * 4).clamp(0, 1)
    weight[covered] = (points[:, 2] > 0.03).float()
    return rgb, weight


def test_what_was_seen_is_kept_and_nothing_leaves_its_range():
    rgb, weight = half_seen()
    filled = fill_over_surface(rgb, weight, load_head().data.topology)
    torch.testing.assert_close(filled[:, weight == 1], rgb[:, weight == 1], atol=1e-4, rtol=0)
    seen = rgb[:, weight == 1]
    assert filled.amin() > seen.amin() - 0.1
    assert filled.amax() < seen.amax() + 0.1


def test_seams_do_not_show():
    data, (rgb, weight) = load_head().data, half_seen()
    filled = fill_over_surface(rgb, weight, data.topology)
    first = np.full(len(data.v_template), -1)
    first[data.faces.ravel()[::-1]] = data.uv_faces.ravel()[::-1]
    last = np.full(len(data.v_template), -1)
    last[data.faces.ravel()] = data.uv_faces.ravel()
    # Vertices on a seam have two places in the texture; at the back of the head none was seen.
    seam = (first != last) & data.regions["skin"] & (data.v_template[:, 2] < 0)
    assert seam.sum() > 20
    within_texture = fill_smoothly(rgb, weight)

    def step(texture: torch.Tensor) -> float:
        one, other = (
            sample_texture(texture, torch.as_tensor(data.uv[at[seam]]).float())
            for at in (first, last)
        )
        return float((one - other).abs().mean())

    assert step(filled) < 0.01
    assert step(filled) < 0.3 * step(within_texture)


def test_nothing_seen_is_one_colour():
    rgb, weight = half_seen(128)
    filled = fill_over_surface(rgb, torch.zeros_like(weight), load_head().data.topology)
    assert torch.isfinite(filled).all()
    assert filled.std() < 1e-3


def test_large_textures_are_filled_at_half_their_size(monkeypatch):
    topology = load_head("open").data.topology
    g = torch.Generator().manual_seed(2)
    rgb, weight = torch.rand(3, 128, 128, generator=g), torch.zeros(128, 128)
    weight[30:90, 40:100] = 1.0
    whole = fill_over_surface(rgb, weight, topology)
    monkeypatch.setattr("face3d.render.fill.LARGE", 128)
    half = fill_over_surface(rgb, weight, topology)
    assert torch.equal(half[:, 30:90, 40:100], rgb[:, 30:90, 40:100])
    filled = (weight == 0) & (texel_fragments(topology, 128).face_index >= 0)
    assert (half - whole)[:, filled].abs().mean() < 0.03
