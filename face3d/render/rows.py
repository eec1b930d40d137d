"""Index arrays as every kernel takes them."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def index_array(faces: Int[np.ndarray, "face 3"]) -> Int[np.ndarray, "face 3"]:
    """Contiguous int64, whatever the file or the user had."""
    return np.ascontiguousarray(faces, dtype=np.int64)


def index_tensor(
    faces: Int[np.ndarray, "face 3"], device: torch.device | None = None
) -> Int[Tensor, "face 3"]:
    """The same as a tensor."""
    return torch.from_numpy(index_array(faces)).to(device or "cpu")
