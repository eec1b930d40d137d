"""Noise that wraps, drawn once and used many times at other places."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

KEPT = 12
"""Fields of each coarseness."""


class NoiseBank:
    """Fields of unit variance; asking for one costs a copy.

    Args:
        size: Side of the fields, a power of two.
        seed: Of the fields; the same for all pictures of a set.
    """

    def __init__(self, size: int, *, seed: int = 0) -> None:
        self.size = size
        rng = np.random.default_rng(seed)
        self._fields: dict[float, Float[np.ndarray, "kept size size"]] = {}
        for sigma in (0.0, 0.7, 1.5, 3.0, 6.0, 12.0, 24.0, 48.0):
            raw = rng.standard_normal((KEPT, size, size)).astype(np.float32)
            if sigma:
                raw = gaussian_filter(raw, (0, sigma, sigma), mode="wrap")
            raw -= raw.mean((1, 2), keepdims=True)
            self._fields[sigma] = raw / raw.std((1, 2), keepdims=True)
        strands = rng.standard_normal((KEPT, size, size)).astype(np.float32)
        strands = gaussian_filter(strands, (0, size / 10, 0.8), mode="wrap")
        self._strands = strands / strands.std((1, 2), keepdims=True)

    def field(self, rng: np.random.Generator, sigma: float) -> Float[np.ndarray, "size size"]:
        """A field whose features are about ``sigma`` texels wide."""
        coarse = min(self._fields, key=lambda s: abs(np.log((s + 0.3) / (sigma + 0.3))))
        return _moved(rng, self._fields[coarse], turn=True)

    def strands(self, rng: np.random.Generator) -> Float[np.ndarray, "size size"]:
        """A field of threads that run down the rows."""
        return _moved(rng, self._strands, turn=False)


def _moved(
    rng: np.random.Generator, fields: Float[np.ndarray, "kept size size"], *, turn: bool
) -> Float[np.ndarray, "size size"]:
    size = fields.shape[-1]
    field = fields[rng.integers(len(fields))]
    if turn and rng.random() < 0.5:
        field = field.T
    if rng.random() < 0.5:
        field = field[:, ::-1]
    down, right = rng.integers(size, size=2)
    out = np.zeros_like(field)
    a, b = size - down, size - right
    out[down:, right:], out[down:, :right] = field[:a, :b], field[:a, b:]
    out[:down, right:], out[:down, :right] = field[a:, :b], field[a:, b:]
    return out
