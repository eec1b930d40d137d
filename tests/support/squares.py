"""Squares with texture coordinates, for tests of what lives in textures."""

import numpy as np


def square(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates (steps², 2) of a grid, u fastest, and its triangles (n, 3)."""
    line = np.linspace(0, 1, steps)
    u, v = np.meshgrid(line, line)
    at = np.arange(steps * steps).reshape(steps, steps)
    quads = np.stack([at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]], -1).reshape(-1, 4)
    return np.stack([u, v], -1).reshape(-1, 2), np.concatenate(
        [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
    )
