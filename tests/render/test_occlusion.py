import numpy as np
import pytest
import torch

from face3d.core import HeadMesh, Topology
from face3d.pipeline import load_head
from face3d.render import cast_shadows
from face3d.render.occlusion import cone_directions, open_sky, sphere_directions, visibility


def plates() -> HeadMesh:
    """Two parallel squares that face up, the smaller one 5 cm above the middle of the other."""
    square = np.array([[-1, 0, 1], [1, 0, 1], [1, 0, -1], [-1, 0, -1]], dtype=np.float32)
    line = np.linspace(-0.1, 0.1, 9)
    x, z = np.meshgrid(line, -line)
    floor = np.stack([x, 0 * x, z], -1).reshape(-1, 3)
    at = np.arange(81).reshape(9, 9)
    quads = np.stack([at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]], -1).reshape(-1, 4)
    lid = 0.03 * square + [0, 0.05, 0]
    both = np.concatenate([floor, lid])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], [[81, 82, 83], [81, 83, 84]]])
    return HeadMesh(
        vertices=torch.tensor(both).float(), frame="world", topology=Topology(faces=faces)
    )


def test_a_lid_throws_its_shadow_straight_down():
    seen = visibility(plates(), torch.tensor([[0.0, 1.0, 0.0]]))[0]
    floor = plates().vertices[:81]
    under = floor[:, [0, 2]].abs().amax(-1)
    assert (seen[:81][under < 0.027] == 0).all()
    assert (seen[:81][under > 0.035] > 0.999).all()
    assert (seen[81:] > 0.999).all()


def test_nothing_is_seen_from_behind():
    assert (visibility(plates(), torch.tensor([[0.0, -1.0, 0.0]])) == 0).all()


def test_the_share_of_open_sky_is_that_of_the_hemisphere_less_the_lid():
    sky = open_sky(plates(), directions=2000)
    middle = float(sky[40])
    # Of the square 3 cm to each side, 5 cm above: the cosine-weighted share of the hemisphere.
    x = torch.linspace(-0.03, 0.03, 200)
    a, b = torch.meshgrid(x, x, indexing="ij")
    far = a**2 + b**2 + 0.05**2
    hidden = float((0.05**2 / far**2 / torch.pi).mean() * 0.06**2)
    assert middle == pytest.approx(1 - hidden, abs=0.03)
    assert float(sky[0]) > 0.97


def test_directions_are_unit_and_where_they_should_be():
    sphere = sphere_directions(500)
    torch.testing.assert_close(sphere.norm(dim=-1), torch.ones(500))
    assert sphere.mean(0).abs().max() < 1e-2
    cone = cone_directions(torch.tensor([0.0, 3.0, 0.0]), 0.2, 50)
    assert cone[:, 1].min() >= np.cos(0.2) - 1e-6
    torch.testing.assert_close(cone.norm(dim=-1), torch.ones(50))


def test_the_mouth_is_dark_and_the_forehead_is_not():
    model = load_head()
    rest = model(torch.zeros(140), torch.zeros(52)).detach()
    mesh = HeadMesh(vertices=rest, frame="world", topology=model.data.topology)
    shadows = cast_shadows(mesh, torch.tensor([[-0.4, 0.5, 0.8]]))
    regions = model.data.topology.regions
    assert shadows.ambient[regions["mouth_interior"]].mean() < 0.05
    assert shadows.ambient[regions["forehead"]].mean() > 0.95
    assert shadows.single[0, regions["forehead"]].mean() > 0.9
