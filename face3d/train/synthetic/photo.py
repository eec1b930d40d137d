"""What a camera makes of light: blur, noise, colour casts, compression; and what is behind."""

import io

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from face3d.render.quick import CURVE
from face3d.train.synthetic.noise import NoiseBank


def random_backdrop(
    rng: np.random.Generator, bank: NoiseBank, size: int
) -> Float[np.ndarray, "size size 3"]:
    """Linear colours of walls, rooms and gardens out of focus, without looking like any."""
    base = _colour(rng)
    out = np.broadcast_to(base, (size, size, 3)).astype(np.float32)
    kind = rng.random()
    if kind < 0.15:
        return out.copy()
    slope = np.linspace(-1, 1, size, dtype=np.float32)
    out = out * (1 + 0.4 * (rng.normal() * slope[:, None] + rng.normal() * slope))[..., None]
    for sigma in (24.0, 6.0, 1.5):
        if rng.random() < 0.6:
            field = bank.field(rng, sigma)[:size, :size]
            if rng.random() < 0.5:
                field = np.clip(field * rng.uniform(1, 8), -1, 1)
            tint = _colour(rng)
            share = np.clip(0.5 + rng.uniform(0.1, 0.5) * field, 0, 1)[..., None]
            out = out * (1 - share) + tint * share
    for _ in range(rng.poisson(3)):
        tint = (1.2 * _colour(rng)).tolist()
        at = rng.integers(-size // 4, size * 5 // 4, (4, 2)).astype(np.int32)
        out = np.ascontiguousarray(out)
        if rng.random() < 0.5:
            cv2.fillConvexPoly(out, cv2.convexHull(at), tint)
        else:
            cv2.circle(out, at[0].tolist(), int(rng.integers(2, size // 3)), tint, -1)
    soft = float(rng.choice([0.0, rng.uniform(0, 8)]))
    if soft > 0.3:
        out = cv2.GaussianBlur(out, (0, 0), soft)
    return np.clip(out, 0, 2)


def _colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Mostly dull ones."""
    grey, tint = rng.uniform(0, 1), rng.uniform(0, 1, 3)
    share = rng.beta(1.0, 2.5)
    return ((grey + share * (tint - grey)) ** 2).astype(np.float32)


def take_photo(
    rng: np.random.Generator, linear: Float[np.ndarray, "h w 3"], exposure: float, bank: NoiseBank
) -> UInt8[np.ndarray, "h w 3"]:
    """SRGB as a camera stores it."""
    size = linear.shape[0]
    gain = exposure * np.exp(rng.normal(0, [0.08, 0.03, 0.10])).astype(np.float32)
    out = linear * gain
    if rng.random() < 0.35:  # a small picture made larger
        small = int(size / rng.uniform(1.2, 4.5))
        out = cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA)
        out = cv2.resize(out, (size, size), interpolation=int(rng.choice([1, 2])))
    blur = rng.choice([0.45, rng.uniform(0.4, 1.8)])
    out = cv2.GaussianBlur(out, (0, 0), float(blur))
    if rng.random() < 0.07:  # moved
        length = int(rng.integers(3, 12))
        kernel = np.zeros((length, length), np.float32)
        way = rng.uniform(0, np.pi)
        reach = np.array([np.cos(way), np.sin(way)]) * (length - 1) / 2
        middle = (length - 1) / 2
        first, last = np.round(middle - reach).astype(int), np.round(middle + reach).astype(int)
        cv2.line(kernel, first.tolist(), last.tolist(), [1.0])
        out = cv2.filter2D(out, -1, kernel / kernel.sum())
    steps = np.sqrt(np.clip(out, 0, 1)) * (len(CURVE) - 1)
    srgb = CURVE[steps.astype(np.int32)]
    if rng.random() < 0.5:  # the maker's own curve
        bend, lift = rng.normal(0, 0.35), rng.normal(0, 0.03)
        srgb = srgb + bend * srgb * (1 - srgb) * (srgb - rng.uniform(0.2, 0.6)) * 2 + lift
    if rng.random() < 0.12:  # less colour, or none
        grey = srgb @ np.array([0.3, 0.59, 0.11], np.float32)
        share = rng.choice([1.0, rng.uniform(0, 1)])
        srgb = srgb + share * (grey[..., None] - srgb)
    level = rng.choice([rng.uniform(0, 0.01), rng.uniform(0, 0.06)])
    grain = np.stack([bank.field(rng, 0.0)[:size, :size] for _ in range(2)], axis=-1)
    grain = grain[..., [0, 1, 0]] * np.array([1, 1, -1], np.float32)
    srgb = srgb + np.float32(level) * grain
    picture = (np.clip(srgb, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.6:
        store = io.BytesIO()
        Image.fromarray(picture).save(store, "JPEG", quality=int(rng.integers(25, 96)))
        picture = np.array(Image.open(store))
    return picture
