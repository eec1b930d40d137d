"""What compiled operations say to autograd."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from torch.autograd.function import once_differentiable

P = ParamSpec("P")
T = TypeVar("T")


def first_order(backward: Callable[P, T]) -> Callable[P, T]:
    """Mark a ``backward`` that has no derivative: asking for one is an error, not a zero."""
    return once_differentiable(backward)  # type: ignore[no-any-return]
