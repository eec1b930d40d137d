"""Normal maps say what displacement maps say."""

import torch
from torch.nn.functional import normalize

import face3d
from face3d.core import HeadMesh
from face3d.detail import normal_map
from face3d.render import DirectionalLight, Maps, matte, portrait_camera, render, texel_fragments

SIZE = 256


def bumps() -> torch.Tensor:
    g = torch.Generator().manual_seed(5)
    rough = torch.randn(1, 1, 40, 40, generator=g) * 4e-4
    return torch.nn.functional.interpolate(rough, size=(SIZE, SIZE), mode="bicubic")[0]


def test_flat_is_the_neutral_colour(sheets):
    mesh = sheets.make()
    flat = normal_map(mesh, torch.zeros(1, 32, 32), texel_fragments(mesh.topology, 32))
    assert torch.allclose(flat, torch.tensor([0.5, 0.5, 1.0])[:, None, None].expand(3, 32, 32))


def test_a_slope_towards_u_and_v(sheets):
    mesh, at = sheets.make(), torch.arange(32) / 32 * sheets.side
    fragments = texel_fragments(mesh.topology, 32)
    rising = normal_map(mesh, (0.5 * at).expand(1, 32, 32), fragments)
    # Rises towards +u, so it leans to -x; row 0 is v = 1.
    lean = normalize(torch.tensor([-0.5, 0.0, 1.0]), dim=0) * 0.5 + 0.5
    assert torch.allclose(rising[:, 16, 16], lean, atol=1e-4)
    up = normal_map(mesh, (0.5 * at.flip(0))[:, None].expand(32, 32)[None], fragments)
    lean = normalize(torch.tensor([0.0, -0.5, 1.0]), dim=0) * 0.5 + 0.5
    assert torch.allclose(up[:, 16, 16], lean, atol=1e-4)


def test_rendered_as_the_displacement_is():
    model = face3d.load_head("open")
    mesh = HeadMesh(
        vertices=torch.tensor(model.data.v_template).float(),
        frame="world",
        topology=model.data.topology,
    )
    camera = portrait_camera(mesh.vertices.mean(0), 0.3, yaw_rad=0.3, size=200)
    height = bumps()
    normals = normal_map(mesh, height, texel_fragments(mesh.topology, SIZE))
    towards = normalize(torch.tensor([0.5, 0.4, 1.0]), dim=0)
    light = [DirectionalLight(towards=towards, rgb=torch.ones(3))]

    def shot(maps: Maps | None) -> torch.Tensor:
        return render(
            mesh, camera, texture=maps, light=light, materials=matte(mesh.topology), linear=True
        )[0]

    plain, by_height = shot(None), shot(Maps(displacement=height))
    by_normal = shot(Maps(normal=normals))
    effect = (by_height - plain).abs().mean()
    assert effect > 0.003
    assert (by_normal - by_height).abs().mean() < 0.12 * effect
