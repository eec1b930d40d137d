import pytest
import torch

from face3d.core import Fragments, InputError
from face3d.render import interpolate
from face3d.render.interpolate import interpolate_plain


def random_fragments(batch: int, size: int, faces: int, seed: int, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    seen = torch.randint(-1, faces, (batch, size, size), generator=rng)
    weights = torch.rand(batch, size, size, 3, generator=rng).to(dtype)
    weights = weights / weights.sum(-1, keepdim=True) * (seen >= 0)[..., None]
    return seen, weights


def test_values_and_derivatives_are_the_plain_twins():
    rng = torch.Generator().manual_seed(1)
    faces = torch.randint(0, 20, (30, 3), generator=rng)
    seen, weights = random_fragments(3, 16, 30, 0)
    for shared in (True, False):
        values = torch.randn(1 if shared else 3, 20, 5, generator=rng)
        pull = torch.randn(3, 16, 16, 5, generator=rng)
        results = []
        for compiled in (True, False):
            w, v = weights.clone().requires_grad_(), values.clone().requires_grad_()
            fragments = Fragments(face_index=seen, barycentric=w, depth_m=seen.float())
            given = v[0] if shared else v
            out = (
                interpolate(fragments, given, faces)
                if compiled
                else interpolate_plain(w, v, seen, faces)
            )
            results.append((out, *torch.autograd.grad((out * pull).sum(), [w, v])))
        for fast, plain in zip(*results, strict=True):
            torch.testing.assert_close(fast, plain)


def test_gradcheck():
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]])
    seen, weights = random_fragments(1, 4, 2, 2, torch.float64)
    values = torch.randn(1, 4, 2, dtype=torch.float64)

    def mixed(w, v):
        fragments = Fragments(face_index=seen, barycentric=w, depth_m=seen.double())
        return interpolate(fragments, v, faces)

    assert torch.autograd.gradcheck(mixed, (weights.requires_grad_(), values.requires_grad_()))


def test_pixels_without_a_face_are_zero():
    seen, weights = random_fragments(1, 8, 4, 3)
    fragments = Fragments(face_index=seen, barycentric=weights, depth_m=seen.float())
    out = interpolate(fragments, torch.ones(6, 2), torch.randint(0, 6, (4, 3)))
    assert (out[seen < 0] == 0).all()
    torch.testing.assert_close(out[seen >= 0], torch.ones_like(out[seen >= 0]))


def test_faces_of_something_else_are_refused():
    seen, weights = random_fragments(1, 8, 30, 0)
    fragments = Fragments(face_index=seen, barycentric=weights, depth_m=seen.float())
    faces = torch.randint(0, 20, (30, 3))
    for values, corners in ((torch.rand(10, 3), faces), (torch.rand(20, 3), faces[:4])):
        with pytest.raises(InputError, match="faces"):
            interpolate(fragments, values, corners)


def test_second_derivatives_are_refused_not_wrong():
    seen, weights = random_fragments(1, 8, 30, 0)
    weights.requires_grad_()
    values = torch.rand(20, 3, requires_grad=True)
    fragments = Fragments(face_index=seen, barycentric=weights, depth_m=seen.float())
    out = interpolate(fragments, values, torch.randint(0, 20, (30, 3)))
    (first,) = torch.autograd.grad(out.square().sum(), weights, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


def test_values_that_were_changed_since_are_noticed():
    seen, weights = random_fragments(1, 8, 30, 0)
    values = torch.rand(20, 3, requires_grad=True)
    given = values * 1.0
    fragments = Fragments(face_index=seen, barycentric=weights, depth_m=seen.float())
    out = interpolate(fragments, given, torch.randint(0, 20, (30, 3)))
    given.mul_(0)
    with pytest.raises(RuntimeError, match="inplace"):
        out.sum().backward()
