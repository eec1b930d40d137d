"""From a population of heads to a mean, a basis and directions with a meaning."""

from dataclasses import dataclass

import numpy as np

from open_head.population import Population


@dataclass(frozen=True, kw_only=True)
class IdentitySpace:
    """A symmetric linear model of identity."""

    mean: np.ndarray  # (v, 3)
    basis: np.ndarray  # (v, 3, k), one standard deviation each
    codes: np.ndarray  # (n, k) of the population's heads
    variance_kept: float  # share of the population's variance


def align_to_skull(heads: np.ndarray, stable: np.ndarray, rounds: int = 6) -> np.ndarray:
    """Generalised Procrustes alignment without scale, on the stable vertices only.

    Args:
        heads: (n, v, 3).
        stable: Indices of vertices over bone that no expression moves.
        rounds: Of aligning to the mean and taking the mean anew.
    """
    heads = heads - heads[:, stable].mean(1, keepdims=True)
    reference = heads[:, stable].mean(0)
    for _ in range(rounds):
        u, _, vt = np.linalg.svd(np.swapaxes(heads[:, stable], 1, 2) @ reference)
        sign = np.ones((len(heads), 3))
        sign[:, 2] = np.sign(np.linalg.det(u @ vt))
        heads = heads @ ((u * sign[:, None]) @ vt)
        reference = heads[:, stable].mean(0)
        # The mean must not drift round: keep it symmetric and its own frame fixed.
        reference = reference - reference.mean(0)
    return heads


def _components(centred: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components (count, d) and their variances, through the smaller Gram matrix."""
    gram = centred @ centred.T / len(centred)
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    keep = values > values[0] * 1e-9
    scale = np.sqrt(values[keep] * len(centred))
    return (vectors[:, keep] / scale).T @ centred, values[keep]


def build_identity_space(
    heads: np.ndarray, symmetry: np.ndarray, vertex_weight: np.ndarray, count: int
) -> IdentitySpace:
    """Principal components of the population and of its mirror image.

    With the mirrored heads counted in, the covariance splits into a symmetric and an
    antisymmetric part; each is decomposed by itself and the components are merged by variance,
    so that every component is either symmetric or antisymmetric.

    Args:
        heads: (n, v, 3), aligned.
        symmetry: Mirror partner of each vertex.
        vertex_weight: How much each vertex counts when components are chosen.
        count: How many components to keep.
    """
    flip = np.array([-1.0, 1.0, 1.0])
    mirrored = heads[:, symmetry] * flip
    mean = 0.5 * (heads + mirrored).mean(0)
    weight = np.sqrt(vertex_weight)[:, None]
    found, variances = [], []
    for part in (0.5 * (heads + mirrored) - mean, 0.5 * (heads - mirrored)):
        flat = (part * weight).reshape(len(part), -1)
        vectors, values = _components(flat, count)
        found.append(vectors * np.sqrt(values)[:, None])
        variances.append(values)
    order = np.argsort(-np.concatenate(variances), kind="stable")[:count]
    rows = np.concatenate(found)[order]
    # Signs are arbitrary; make the largest entry of each component positive.
    peak = rows[np.arange(len(rows)), np.abs(rows).argmax(1)]
    rows = rows * np.sign(peak)[:, None]
    basis = rows.reshape(len(rows), -1, 3) / weight
    flat_basis = rows / np.linalg.norm(rows, axis=1, keepdims=True) ** 2
    codes = ((heads - mean) * weight).reshape(len(heads), -1) @ flat_basis.T
    residual = heads - mean - np.tensordot(codes, basis, axes=1)
    kept = 1 - (residual**2).sum() / ((heads - mean) ** 2).sum()
    return IdentitySpace(
        mean=mean, basis=np.moveaxis(basis, 0, -1), codes=codes, variance_kept=float(kept)
    )


def meaning_axes(space: IdentitySpace, population: Population) -> dict[str, np.ndarray]:
    """Directions in identity space: one step is one standard deviation of the trait.

    Regression of the codes on all traits together, so that "older" does not also mean "heavier".
    """
    traits = {
        "age": population.age_years,
        "male": population.male,
        "weight": population.weight,
        "african": population.ancestry[:, 0],
        "asian": population.ancestry[:, 1],
        "caucasian": population.ancestry[:, 2],
    }
    values = np.stack(list(traits.values()), axis=1)
    scored = (values - values.mean(0)) / values.std(0)
    slopes = np.linalg.lstsq(scored, space.codes - space.codes.mean(0), rcond=None)[0]
    return dict(zip(traits, slopes))
