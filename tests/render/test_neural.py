import dataclasses

import pytest
import torch

from face3d.core import Camera, HeadMesh, InputError
from face3d.pipeline import load_head
from face3d.render import masked_photo, portrait_camera, rasterize, render_neural
from face3d.render.neural import geometry_picture

SIZE = 48


@pytest.fixture(scope="module")
def heads() -> HeadMesh:
    model = load_head()
    rest = model(torch.zeros(140), torch.zeros(52)).detach()
    both = torch.stack([rest, rest * 1.05])
    return HeadMesh(vertices=both, frame="world", topology=model.data.topology)


@pytest.fixture(scope="module")
def view() -> Camera:
    return portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.2, size=SIZE)


def test_the_network_sees_geometry_and_what_is_left_of_the_photo(heads, view):
    photo = torch.rand(2, 3, SIZE, SIZE)
    seen = []

    def network(given: torch.Tensor) -> torch.Tensor:
        seen.append(given)
        return given[:, 3:]

    picture = render_neural(network, heads, view, photo, kept_share=0.0)
    face = rasterize(heads, view).face_index >= 0
    torch.testing.assert_close(seen[0][:, :3], geometry_picture(heads, view))
    assert (picture.movedim(1, -1)[face] == 0).all()
    torch.testing.assert_close(picture.movedim(1, -1)[~face], photo.movedim(1, -1)[~face])


def test_about_the_share_asked_for_is_kept():
    photo = torch.ones(3, 3, 100, 100)
    hidden = masked_photo(
        photo, torch.ones(1, 100, 100, dtype=torch.bool), kept_share=0.1,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert float(hidden.mean()) == pytest.approx(0.1, abs=0.01)
    # Channels of a pixel go together.
    assert torch.equal(hidden[:, 0], hidden[:, 1])


def test_the_error_of_the_picture_reaches_the_geometry(heads, view):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(6, 3, 3, padding=1)
    wanting = dataclasses.replace(heads, vertices=heads.vertices.clone().requires_grad_())
    picture = render_neural(network, wanting, view, torch.rand(2, 3, SIZE, SIZE))
    picture.square().mean().backward()
    moved = wanting.vertices.grad.norm(dim=-1) > 0
    assert 0.1 < moved.float().mean() < 0.9


def test_geometry_is_lit_from_where_the_camera_is(heads, view):
    front = geometry_picture(heads, view)
    behind = portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=3.3, size=SIZE)
    back = geometry_picture(heads, behind)
    assert 0.8 < float(front.mean() / back.mean()) < 1.25


def test_what_does_not_fit_is_refused(heads, view):
    def network(given: torch.Tensor) -> torch.Tensor:
        return given[:, :3, :-2]

    with pytest.raises(InputError, match="network gives"):
        render_neural(network, heads, view, torch.rand(2, 3, SIZE, SIZE))
    with pytest.raises(InputError, match="photos have shape"):
        render_neural(network, heads, view, torch.rand(2, 3, SIZE, 40))
    with pytest.raises(InputError, match="photos have shape"):
        render_neural(network, heads, view, torch.rand(3, 3, SIZE, SIZE))
    with pytest.raises(InputError, match="kept_share"):
        masked_photo(torch.rand(3, 4, 4), torch.ones(4, 4, dtype=torch.bool), kept_share=2.0)
