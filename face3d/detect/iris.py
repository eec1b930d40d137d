"""How wide an iris is in a picture: its rim found to a fraction of a pixel.

The rim between iris and white is searched for on rays to the left and the right of the pupil, where
lids seldom cover it, and a circle is fitted. All of it happens in the iris's own plane, so that an
eye that is seen from the side, or a tilted head, needs no ellipse.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import correlate1d, map_coordinates, maximum_filter1d

from face3d.core.checks import require_finite
from face3d.core.errors import InputError

LEAST_DIAMETER_PX = 8.0
"""Smaller irises are a few soft pixels: on renders their measured width errs by the half."""

WIDEST_ANGLE_RAD = 0.8
RAYS_A_SIDE = 33
LEAST_RAYS_A_SIDE = 5

MOST_EDGE_BLUR = 0.30
"""Softness of the rim (one sigma) over the radius, beyond which blur is said to hide it."""

MOST_RIM_SD = 0.03
"""Scatter of the rim, as a deviation of the radius's logarithm, beyond which it is refused."""

SHRINKING = 0.8
"""By how much smaller a disc looks, over (blur / radius)^2; and by how much the scatter of a rim
understates the radius's error, whose parts are shared along it. Both measured on renders."""
RIM_SD_FACTOR = 2.5

_INNER, _OUTER = 0.5, 1.65  # reach of the rays, in radii of the guess
_ROUNDS = ((0.30, 0.12), (0.15, 0.08), (0.10, 0.05))  # window and scale of outliers, in radii
_CENTRE_SPREAD = 0.15  # of the guess of the centre, in radii
_LEAST_STEP = 0.02  # of brightness across the rim, of 1
_WHITE_SHARE = 0.6  # of the way from the iris's brightness to the white's


@dataclass(frozen=True, kw_only=True)
class IrisWidth:
    """An iris in a picture, or why it could not be measured.

    Attributes:
        radius: In the unit of the iris's plane; NaN when it was refused.
        log_sd: Standard deviation of the radius's logarithm that the rim's scatter gives.
        centre_px: Middle of the rim.
        diameter_px: Across the widest direction.
        blur: Softness of the rim (one sigma) over the radius.
        refused: Why there is no measure, one clause; empty when there is one.
    """

    radius: float
    log_sd: float
    centre_px: tuple[float, float]
    diameter_px: float
    blur: float
    refused: str = ""


def measure_iris(
    rgb: UInt8[np.ndarray, "h w 3"],
    centre_px: Float[np.ndarray, "2"],
    px_from_plane: Float[np.ndarray, "2 2"],
    radius: float,
    *,
    opening_px: Float[np.ndarray, "point 2"] | None = None,
) -> IrisWidth:
    """Measure one iris.

    Args:
        rgb: The picture.
        centre_px: A guess of the iris's middle.
        px_from_plane: Maps offsets in the iris's plane to offsets in the picture. The plane's unit
            is the caller's, say metres; its first axis runs from side to side of the face.
        radius: A guess of the radius in the plane's unit, right within a third.
        opening_px: Outline of the eye's opening between the lids, closed; the rim is only looked
            for inside.

    Returns:
        The width, or why it was refused.

    Raises:
        InputError: A number is not finite, or the map or the radius is degenerate.

    Example:
        >>> measure_iris(photo, centre, 20 * np.eye(2), 1.0).diameter_px  # doctest: +SKIP
        41.3
    """
    require_finite("centre_px", centre_px)
    require_finite("px_from_plane", px_from_plane)
    if not (np.isfinite(radius) and radius > 0) or abs(np.linalg.det(px_from_plane)) < 1e-12:
        raise InputError(
            f"The iris's radius ({radius}) and the map of its plane must not be degenerate."
        )
    px_of_radius = radius * float(np.linalg.norm(px_from_plane, ord=2))

    def refuse(why: str, blur: float = float("nan")) -> IrisWidth:
        return IrisWidth(
            radius=float("nan"), log_sd=float("nan"), blur=blur, refused=why,
            centre_px=(float(centre_px[0]), float(centre_px[1])), diameter_px=2 * px_of_radius,
        )  # fmt: skip

    if 2 * px_of_radius < LEAST_DIAMETER_PX:
        return refuse(f"the iris is {2 * px_of_radius:.0f} px wide, too few to be measured")
    eye = _Eye(rgb, centre_px, px_from_plane * radius, opening_px)
    circle = np.array([0.0, 0.0, 1.0])
    rim, deviation = None, 0.0
    for window, outlier in _ROUNDS:
        rim = eye.rim(circle, window)
        sides = np.sign(rim.points[:, 0] - circle[0])
        if min((sides > 0).sum(), (sides < 0).sum()) < LEAST_RAYS_A_SIDE:
            return refuse("its rim is not seen on both sides between the lids")
        circle, deviation = _circle(rim, circle, outlier, 1 / px_of_radius)
        if not 0.55 < circle[2] < 1.6 or np.hypot(*circle[:2]) > 0.6:
            return refuse("no round rim was found where it should be")
    assert rim is not None
    blur = float(np.median(rim.softness)) / float(circle[2])
    if blur > MOST_EDGE_BLUR:
        return refuse("its rim is blurred", blur)
    if deviation > MOST_RIM_SD * circle[2]:
        return refuse("too little of its rim is clear", blur)
    # The steepest place of a blurred disc's rim lies within the disc.
    circle[2] *= 1 + SHRINKING * (blur**2 + (rim.sigma / circle[2]) ** 2)
    middle = centre_px + px_from_plane @ (radius * circle[:2])
    return IrisWidth(
        radius=radius * float(circle[2]),
        log_sd=float(RIM_SD_FACTOR * deviation / circle[2]),
        centre_px=(float(middle[0]), float(middle[1])),
        diameter_px=2 * px_of_radius * float(circle[2]),
        blur=blur,
    )


@dataclass(frozen=True, kw_only=True)
class _Rim:
    """Points of the rim, in radii of the guess."""

    points: Float[np.ndarray, "ray 2"]
    strength: Float[np.ndarray, "ray"]  # how much brighter the white is
    softness: Float[np.ndarray, "ray"]  # one sigma of the step's blur
    apart: float  # distance between neighbouring rays
    sigma: float  # smoothing with which the steps were found


class _Eye:
    """A picture's brightness in the plane of an iris, whose unit is the guess of the radius."""

    def __init__(
        self,
        rgb: UInt8[np.ndarray, "h w 3"],
        centre_px: Float[np.ndarray, "2"],
        px_from_radii: Float[np.ndarray, "2 2"],
        opening_px: Float[np.ndarray, "point 2"] | None,
    ) -> None:
        # Red tells every colour of iris from the white, and hides the white's veins.
        reach = int(np.ceil(2.5 * np.abs(px_from_radii).sum(1).max())) + 3
        low = np.floor(centre_px).astype(int) - reach
        rows = np.clip(np.arange(low[1], low[1] + 2 * reach), 0, rgb.shape[0] - 1)
        columns = np.clip(np.arange(low[0], low[0] + 2 * reach), 0, rgb.shape[1] - 1)
        self._inside_x = (columns[0] - 0.0, columns[-1] + 1.0)
        self._bright = rgb[np.ix_(rows, columns)][..., 0].astype(np.float64) / 255
        self._low, self._size = low, (rgb.shape[1], rgb.shape[0])
        self._centre, self._map, self._opening = centre_px, px_from_radii, opening_px

    def rim(self, circle: Float[np.ndarray, "3"], window: float) -> _Rim:
        """The strongest step from dark to bright on each ray, near a circle."""
        fan = np.linspace(-WIDEST_ANGLE_RAD, WIDEST_ANGLE_RAD, RAYS_A_SIDE)
        angles = np.concatenate([fan, np.pi + fan])
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        px_per_radius = np.linalg.norm(directions @ self._map.T, axis=1)
        step = 0.2 / float(px_per_radius.max())
        at = np.arange(_INNER, _OUTER, step)
        points = circle[:2] + circle[2] * at[:, None] * directions[:, None]
        px = self._centre + points @ self._map.T
        values = map_coordinates(
            self._bright, [px[..., 1] - self._low[1] - 0.5, px[..., 0] - self._low[0] - 0.5],
            order=1, mode="nearest",
        )  # fmt: skip
        sigma = max(0.7 / float(px_per_radius.mean()), 0.05)
        slope = _smooth_slope(values, sigma / step) / step
        # The window chooses among the slope's peaks and moves none.
        peaks = np.zeros_like(slope)
        top = (slope[:, 1:-1] >= slope[:, :-2]) & (slope[:, 1:-1] > slope[:, 2:])
        top &= self._reaches_white(values, points, at, step)[:, 1:-1]
        peaks[:, 1:-1] = np.where(top, slope[:, 1:-1], 0.0)
        best = (peaks * np.exp(-0.5 * ((at - 1) / window) ** 2)).argmax(1).clip(1, len(at) - 2)
        rows = np.arange(len(angles))
        before, peak, after = (slope[rows, best + k] for k in (-1, 0, 1))
        bend = before - 2 * peak + after
        offset = np.where(bend < 0, 0.5 * (before - after) / np.minimum(bend, -1e-12), 0.0)
        radius = at[best] + step * offset.clip(-1, 1)
        height = slope[rows, best]
        rise, softness = _step_shape(slope, best, step)
        softness = np.sqrt(np.maximum(softness**2 - sigma**2, 0.0))
        rim = circle[:2] + circle[2] * radius[:, None] * directions
        beyond = circle[:2] + circle[2] * (radius + 0.12)[:, None] * directions
        found = (peaks[rows, best] > 0) & (height > 0) & (rise > _LEAST_STEP)
        seen = found & self._seen(rim) & self._seen(beyond)
        return _Rim(
            points=rim[seen],
            strength=rise[seen],
            softness=softness[seen] * circle[2],
            apart=float(circle[2] * (fan[1] - fan[0])),
            sigma=float(circle[2] * sigma),
        )

    def _reaches_white(
        self,
        values: Float[np.ndarray, "ray at"],
        points: Float[np.ndarray, "ray at 2"],
        at: Float[np.ndarray, "at"],
        step: float,
    ) -> Bool[np.ndarray, "ray at"]:
        """Whether what lies just outside is as bright as the white of that side of the eye.

        The rim of the pupil is a step too, but only up to the iris.
        """
        seen = self._seen(points.reshape(-1, 2)).reshape(values.shape)
        within = values[seen & (at < 0.8)]
        dark = float(np.median(within)) if len(within) else 0.0
        beyond = max(1, int(0.25 / step))
        outer = maximum_filter1d(values, beyond, axis=1, origin=-((beyond - 1) // 2))
        out = np.zeros(values.shape, dtype=bool)
        half = len(values) // 2
        for side in (slice(0, half), slice(half, None)):
            shown = values[side][seen[side]]
            if len(shown):
                white = float(np.percentile(shown, 95))
                out[side] = outer[side] > dark + _WHITE_SHARE * (white - dark)
        return out

    def _seen(self, points: Float[np.ndarray, "point 2"]) -> Bool[np.ndarray, "point"]:
        """Whether points lie in the picture and between the lids."""
        px = self._centre + points @ self._map.T
        inside = ((px > 1) & (px < np.array(self._size) - 1)).all(1)
        return inside if self._opening is None else inside & _in_polygon(px, self._opening)


def _smooth_slope(values: Float[np.ndarray, "ray at"], sigma: float) -> Float[np.ndarray, "ray at"]:
    """Derivative along the last axis after Gaussian smoothing, per sample."""
    reach = int(np.ceil(3 * sigma))
    x = np.arange(-reach, reach + 1)
    bell = np.exp(-0.5 * (x / sigma) ** 2)
    return correlate1d(values, x * bell / (x**2 * bell).sum(), axis=1, mode="nearest")


def _step_shape(
    slope: Float[np.ndarray, "ray at"], best: Float[np.ndarray, "ray"] | np.ndarray, step: float
) -> tuple[Float[np.ndarray, "ray"], Float[np.ndarray, "ray"]]:
    """Height and softness (one sigma) of the step at each ray's peak.

    A step blurred by a Gaussian has the Gaussian as its slope: its width where it has fallen to
    0.6 of the peak is two sigmas.
    """
    peak = np.take_along_axis(slope, best[:, None], axis=1)
    high = slope > np.exp(-0.5) * peak
    index = np.arange(slope.shape[1])
    left = np.where(~high & (index < best[:, None]), index, -1).max(1)
    right = np.where(~high & (index > best[:, None]), index, slope.shape[1]).min(1)
    sigma = 0.5 * step * (right - left - 1).astype(np.float64)
    return np.sqrt(2 * np.pi) * sigma * peak[:, 0], sigma


def _circle(
    rim: _Rim, start: Float[np.ndarray, "3"], outlier: float, px: float
) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and radius by weighted least squares with Cauchy's weights; and the radius's sd.

    Args:
        rim: What to fit.
        start: Centre and radius to start at; the centre stays near.
        outlier: Distance at which a point counts half.
        px: One pixel, in the rim's unit.
    """
    x = start.copy()
    prior = np.diag([_CENTRE_SPREAD**-2, _CENTRE_SPREAD**-2, 0.0])
    noise, inverse = outlier, np.eye(3)
    for _ in range(12):
        arm = rim.points - x[:2]
        length = np.linalg.norm(arm, axis=1)
        residual = length - x[2]
        jacobian = np.column_stack([-arm / length[:, None], -np.ones(len(arm))])
        weight = rim.strength / rim.strength.mean() / (1 + (residual / outlier) ** 2)
        # Rays closer than a pixel show the same pixels.
        weight = weight * min(1.0, rim.apart / px)
        noise = max(np.sqrt((weight * residual**2).sum() / weight.sum()), 0.1 * px)
        normal = (jacobian.T * weight) @ jacobian / noise**2 + prior
        inverse = np.linalg.inv(normal)
        move = inverse @ ((jacobian.T * weight) @ residual / noise**2 + prior @ (x - start))
        x = x - move
        if np.abs(move).max() < 1e-5:
            break
    return x, float(np.sqrt(inverse[2, 2]))


def _in_polygon(
    points: Float[np.ndarray, "point 2"], outline: Float[np.ndarray, "corner 2"]
) -> Bool[np.ndarray, "point"]:
    """Whether points lie inside a closed outline: a ray to the right crosses it an odd number."""
    a, b = outline, np.roll(outline, -1, axis=0)
    x, y = points[:, 0, None], points[:, 1, None]
    spans = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(b[:, 1] == a[:, 1], 1.0, b[:, 1] - a[:, 1])
    crossing = a[:, 0] + (y - a[:, 1]) / rise * (b[:, 0] - a[:, 0])
    return (spans & (x < crossing)).sum(1) % 2 == 1
