"""Checks at public borders: what came in, against what is needed."""

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from face3d.core.errors import InputError


def require_finite(name: str, value: Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."]) -> None:
    """Raise unless every entry of ``value`` is finite.

    Raises:
        InputError: With the name, the count of entries that are not finite and the shape.
    """
    tensor = torch.as_tensor(value)
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise InputError(
            f"{name} holds {bad} values that are NaN or infinite (shape {tuple(tensor.shape)}); "
            "remove or repair them first."
        )


def require_last_axis(name: str, value: Shaped[Tensor, "..."], size: int) -> None:
    """Raise unless the last axis of ``value`` has ``size`` entries.

    Raises:
        InputError: With the shape that came and the size that is needed.
    """
    if value.ndim == 0 or value.shape[-1] != size:
        raise InputError(
            f"{name} has shape {tuple(value.shape)}; its last axis must have {size} entries."
        )
