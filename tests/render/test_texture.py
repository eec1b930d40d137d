import pytest
import torch

from face3d.core import HeadMesh, InputError
from face3d.core.camera import homogeneous_pixels
from face3d.pipeline import load_head
from face3d.render import (
    mipmapped,
    portrait_camera,
    rasterize,
    sample_mipmapped,
    texture_footprint,
)
from face3d.render.texture import footprint_plain, pyramid_plain, sample_mipmapped_plain


def places(count: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """Places on and beside a texture, extents from less than a texel to all of it, pictures."""
    torch.manual_seed(3)
    uv = torch.rand(count, 2, dtype=dtype) * 1.1 - 0.05
    extent = 2 ** (-8 * torch.rand(count, dtype=dtype))
    return uv, extent, torch.randint(2, (count,))


def test_compiled_pyramids_are_the_plain_ones():
    texture = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(mipmapped(texture).pyramid, pyramid_plain(texture))
    assert [level.shape[-1] for level in mipmapped(texture).levels] == [64, 32, 16, 8, 4, 2, 1]


def test_compiled_lookups_are_the_plain_ones():
    uv, extent, image = places(500)
    texture = mipmapped(torch.rand(2, 3, 64, 64, dtype=torch.float64))
    torch.testing.assert_close(
        sample_mipmapped(texture, uv, extent, image),
        sample_mipmapped_plain(texture, uv, extent, image),
        atol=1e-6,
        rtol=1e-6,
    )


def test_compiled_footprints_are_the_plain_ones():
    model = load_head()
    rest = model(torch.zeros(140), torch.zeros(52)).detach()
    head = HeadMesh(vertices=rest, frame="world", topology=model.data.topology)
    view = portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.6, size=64)
    fragments = rasterize(head, view)
    plain = footprint_plain(
        homogeneous_pixels(view, rest)[None], head.topology, fragments.face_index[None]
    )
    torch.testing.assert_close(texture_footprint(fragments, head, view), plain[0])


def test_gradients_of_a_pyramid():
    texture = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: mipmapped(t).pyramid, texture)


def test_gradients_of_lookups():
    uv, extent, image = places(40)
    texture = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)

    def picture(texels: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return sample_mipmapped(mipmapped(texels), where, extent, image)

    assert torch.autograd.gradcheck(picture, (texture, uv.requires_grad_()), eps=1e-7)


def test_gradients_do_not_depend_on_the_threads():
    import numba

    uv, extent, image = places(5000, torch.float32)
    texture = torch.rand(2, 3, 64, 64)

    def gradient(threads: int) -> torch.Tensor:
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        try:
            texels = texture.clone().requires_grad_()
            sample_mipmapped(mipmapped(texels), uv, extent, image).square().sum().backward()
        finally:
            numba.set_num_threads(before)
        return texels.grad

    assert torch.equal(gradient(1), gradient(numba.config.NUMBA_NUM_THREADS))


def test_an_empty_lookup_and_bad_sizes():
    texture = mipmapped(torch.rand(3, 4, 4))
    assert sample_mipmapped(texture, torch.zeros(0, 2), torch.zeros(0)).shape == (0, 3)
    for bad in (torch.rand(3, 6, 6), torch.rand(3, 4, 8), torch.rand(3, 0, 0)):
        with pytest.raises(InputError, match="power of two"):
            mipmapped(bad)
