import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from face3d.core.rotations import (
    axis_angle_from_matrix,
    left_jacobian,
    matrix_from_axis_angle,
    skew_from_vector,
)

number = st.floats(-3.0, 3.0)


@given(st.tuples(number, number, number))
def test_matrices_are_rotations_and_turn_back_into_their_vectors(vector):
    axis_angle = torch.tensor(vector, dtype=torch.float64)
    matrix = matrix_from_axis_angle(axis_angle)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.tensor(1.0, dtype=torch.float64))
    again = matrix_from_axis_angle(axis_angle_from_matrix(matrix))
    torch.testing.assert_close(again, matrix, atol=1e-9, rtol=0)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leading_axes_are_free(batch, dtype):
    vector = torch.randn(*batch, 3, dtype=dtype)
    assert matrix_from_axis_angle(vector).shape == (*batch, 3, 3)
    assert axis_angle_from_matrix(matrix_from_axis_angle(vector)).dtype == dtype


def test_a_quarter_turn_about_z_takes_x_to_y():
    turn = matrix_from_axis_angle(torch.tensor([0.0, 0.0, torch.pi / 2]))
    torch.testing.assert_close(
        turn @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("axis", [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.6, 0.8, 0]])
def test_half_turns_survive(axis):
    vector = torch.tensor(axis, dtype=torch.float64) * torch.pi
    matrix = matrix_from_axis_angle(vector)
    again = matrix_from_axis_angle(axis_angle_from_matrix(matrix))
    torch.testing.assert_close(again, matrix, atol=1e-9, rtol=0)


def test_gradients_are_right_and_finite_at_zero():
    at_zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    anywhere = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matrix_from_axis_angle, (at_zero,))
    assert torch.autograd.gradcheck(matrix_from_axis_angle, (anywhere,))


def test_the_left_jacobian_is_the_derivative_on_the_group():
    a = torch.tensor([0.4, -1.1, 0.7], dtype=torch.float64)
    step = torch.tensor([1e-6, -2e-6, 1.5e-6], dtype=torch.float64)
    moved = matrix_from_axis_angle(a + step)
    predicted = matrix_from_axis_angle(left_jacobian(a) @ step) @ matrix_from_axis_angle(a)
    torch.testing.assert_close(moved, predicted, atol=1e-10, rtol=0)


def test_skew_is_the_cross_product():
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    cross = (skew_from_vector(a) @ b[..., None]).squeeze(-1)
    torch.testing.assert_close(cross, torch.linalg.cross(a, b))
