import numpy as np
import pytest
import torch

from face3d.core import InputError
from face3d.model import HeadModel
from face3d.pipeline import load_head


@pytest.fixture(scope="module")
def double():
    return HeadModel(load_head().data, dtype=torch.float64)


def random_codes(model, batch, seed=0):
    rng = torch.Generator().manual_seed(seed)
    dtype = model.template.dtype
    shape = torch.randn(*batch, model.identity_count, generator=rng).to(dtype)
    expression = torch.rand(*batch, model.expression_count, generator=rng).to(dtype) * 0.3
    neck, jaw = (0.2 * torch.randn(*batch, 3, generator=rng).to(dtype) for _ in range(2))
    eyes = 0.2 * torch.randn(*batch, 2, 3, generator=rng).to(dtype)
    return shape, expression, neck, jaw, eyes


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_leading_axes_are_free(batch):
    model = load_head()
    assert model(*random_codes(model, batch)).shape == (*batch, model.vertex_count, 3)


def test_every_head_of_a_batch_is_what_it_is_alone(double):
    codes = random_codes(double, (3,))
    together = double(*codes)
    for k in range(3):
        torch.testing.assert_close(together[k], double(*(c[k] for c in codes)))


def test_zero_codes_give_the_template(double):
    rest = double(torch.zeros(1).double(), torch.zeros(1).double())
    np.testing.assert_allclose(rest.numpy(), double.data.v_template)


def test_gradients_are_right(double):
    codes = [c.requires_grad_() for c in random_codes(double, ())]
    picked = torch.arange(0, double.vertex_count, 997)

    def some(*parts):
        return double(*parts)[picked]

    assert torch.autograd.gradcheck(some, codes, fast_mode=True)


def test_the_skull_stays_still_when_the_neck_turns(double):
    shape, expression, neck, jaw, eyes = random_codes(double, ())
    skull = torch.as_tensor(double.data.skinning_weights[:, double.skull_joint] == 1)
    assert skull.sum() > 500
    still = double(shape, expression, 0 * neck, jaw, eyes)
    turned = double(shape, expression, neck, jaw, eyes)
    torch.testing.assert_close(turned[skull], still[skull])
    assert (turned - still).abs().max() > 0.005


def test_the_two_frames_differ_by_one_rigid_motion(double):
    codes = random_codes(double, ())
    skull, root = double(*codes), double(*codes, frame="root")
    a, b = skull - skull.mean(0), root - root.mean(0)
    u, _, vt = torch.linalg.svd(b.T @ a)
    torch.testing.assert_close(a @ (u @ vt).T, b, atol=1e-9, rtol=0)


def test_codes_that_are_too_long_are_refused():
    model = load_head()
    with pytest.raises(InputError, match="takes at most"):
        model(torch.zeros(model.identity_count + 1), torch.zeros(1))


def test_a_state_dict_carries_no_head():
    assert load_head().state_dict() == {}


def test_leading_axes_are_broadcast():
    model = load_head()
    shape, expressions = torch.randn(140), torch.rand(3, 52)
    several = model(shape, expressions)
    assert several.shape == (3, model.vertex_count, 3)
    torch.testing.assert_close(several[1], model(shape, expressions[1]))
    turned = model(shape, torch.zeros(52), None, torch.rand(2, 3) * 0.1)
    assert turned.shape == (2, model.vertex_count, 3)
    with pytest.raises(InputError, match="do not go together"):
        model(torch.zeros(2, 140), torch.zeros(3, 52))
    with pytest.raises(InputError, match="eyes has shape"):
        model(shape, torch.zeros(52), eyes=torch.zeros(1, 3))
