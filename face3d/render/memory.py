"""Memory for pictures, used again.

The system hands out large blocks of memory zeroed, page by page, and takes them back when they are
freed. For a batch of pictures that takes as long as drawing them, so blocks are kept for the next.
"""

import math
import threading
import weakref

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

LARGE_BYTES = 2**22
"""Smaller blocks are kept by the allocator itself."""

KEPT_BYTES = 2**28
"""How much is kept for use again, at most."""

_kept: list[UInt8[np.ndarray, "bytes"]] = []
_lock = threading.RLock()  # a block may be given back while one is taken, in the same thread


def scratch(size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A CPU tensor of any content, for loops that write all of it.

    Its memory is used again once nothing refers to it any more.
    """
    wanted = math.prod(size) * dtype.itemsize
    if wanted < LARGE_BYTES:
        return torch.zeros(size, dtype=dtype)
    block = _taken(wanted)
    if block is None:
        block = np.full(wanted, 0, dtype=np.uint8)
    part = block[:wanted]
    weakref.finalize(part, _keep, block)
    return torch.from_numpy(part).view(dtype).reshape(size)


def _taken(wanted: int) -> UInt8[np.ndarray, "bytes"] | None:
    """A kept block that is large enough and not wastefully so."""
    with _lock:
        for number, block in enumerate(_kept):
            if wanted <= block.size <= 2 * wanted:
                return _kept.pop(number)
    return None


def _keep(block: UInt8[np.ndarray, "bytes"]) -> None:
    with _lock:
        _kept.append(block)
        while sum(b.size for b in _kept) > KEPT_BYTES:
            _kept.pop(0)
