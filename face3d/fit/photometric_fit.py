"""Form from colours: a landmark fit refined until the rendered skin looks like the photo.

Identity, expression, pose, focal length, light (nine SH coefficients per photo) and albedo (a
smooth field) are found together by L-BFGS on the sum of the landmark fit's energy and a robust
photometric one. As in Blanz & Vetter (1999), what landmarks leave open between them is said by
shading; unlike there, colours are compared as logarithms, where exposure and albedo are additive.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize
from torch.nn.functional import interpolate as interpolate_picture

from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.threads import one_thread
from face3d.core.types import Camera, FitResult, HeadMesh
from face3d.fit.albedo_basis import albedo_basis
from face3d.fit.corrective import correctable
from face3d.fit.landmark_fit import LandmarkFitter, LandmarkObservations
from face3d.fit.landmark_observed import closer
from face3d.fit.landmark_problem import FitState, LandmarkProblem
from face3d.model import HeadModel
from face3d.render import interpolate, linear_from_srgb, rasterize, sh_basis, vertex_normals

CROP_PX = 160
CROP_REACH = 0.62
"""Half the crop's side over the longer side of the landmarks' box."""

LOG_SPREAD, LEAST_SPREAD, MOST_SPREAD = 0.15, 0.05, 0.4
"""Of a skin pixel's colour about the model's, as a logarithm: light that nine coefficients do not
say, and albedo finer than the field. The first is where the estimate from the photo begins."""

MEDIAN_OF_THREE = 2.366
"""Median of the sum of three squared standard normal numbers."""

PIXEL_SHARE = 0.3
WAVES_TAKEN, WAVE_PX, MOST_WAVE = 0.7, 8, 0.4
"""Neighbouring colours err together, by gloss, shadows and albedo: of the differences' running
mean over two to three WAVE_PX this share is taken away, none counted as more than MOST_WAVE."""

DEGREES = 3.0
"""Of freedom of the colours' noise: hair, glasses and highlights are outliers."""

FACING = 0.25
"""Least cosine to the camera's axis of pixels that are compared; at the rim everything is off."""

DARK = 0.02
"""Added to linear colours before the logarithm, or noise in the dark would decide."""

LIGHT_EVALUATIONS, EVALUATIONS, ROUNDS = 25, 200, 3
HISTORY = 20
MOST_STEP = 30.0
"""Units that an unknown may go from its start; a line search tries far steps, too."""

LEAK = 0.05
"""Slope of weights beyond their bounds while searching, so that they find back."""

ALBEDO_SPREAD = 0.3
EVEN_LIGHT, LIGHT_UNIT = 1.1, 0.2
LIGHT_SPREADS = (10.0, 0.35, 0.35, 0.35, 0.15, 0.15, 0.15, 0.15, 0.15)
"""Of light's coefficients, to hold apart a light from above and a beard."""

CLAY = 0.4
"""Albedo and light are known up to a common factor; these only start them."""


@dataclass(frozen=True, kw_only=True)
class PhotoStage:
    """A photo cut to the face."""

    linear: Float[Tensor, "3 size size"]
    scale: float  # crop pixels per photo pixel
    left_px: float
    top_px: float


@dataclass(frozen=True, kw_only=True)
class Refined:
    """One person in several photos, refined."""

    fits: tuple[FitResult, ...]
    offsets: Float[Tensor, "vertex 3"]  # of the template, metres; see corrective.py
    # Spherical harmonics of sh_basis in the camera's frame, up to a factor common with albedo.
    light: Float[Tensor, "photo 9 3"]
    spread_before: tuple[float, ...]  # of colours about the model's, logarithm, by photo
    spread_after: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class _Unknowns:
    """Steps from the start, in units that change the picture about alike."""

    identity: Tensor  # (i,)
    rest: Tensor  # (photo, parameter), identity's unused
    px: Tensor  # (photo, parameter), a crop's pixel in photo pixels where units are pixels
    albedo: Tensor  # (mode, 3)
    light: Tensor  # (photo, 9)
    tint: Tensor  # (photo, 3)

    def all(self) -> list[Tensor]:
        return [self.identity, self.rest, self.albedo, self.light, self.tint]


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """Of the colours of one photo."""

    spread: float = LOG_SPREAD
    level: float = 0.0  # mean energy of a pixel


@dataclass
class _Scene:
    """What the energy is a function of; the noise is estimated anew between searches."""

    problem: LandmarkProblem
    first: FitState
    unknowns: _Unknowns
    stages: Sequence[PhotoStage]
    noise: Sequence[_Noise]


class PhotometricFitter:
    """Refines landmark fits; build once, use for many pictures.

    Args:
        fitter: What made the fits.
    """

    def __init__(self, fitter: LandmarkFitter) -> None:
        data = correctable(fitter.data)
        self.identity_count = fitter.data.identity_basis.shape[-1]
        self.offset_modes = torch.tensor(data.identity_basis[..., self.identity_count :]).float()
        self.fitter = LandmarkFitter(data, fitter.noise, priors=fitter.priors)
        self.model = HeadModel(data)
        self.basis = albedo_basis(data)
        self.faces = torch.as_tensor(data.faces)
        self.units = self._units()

    def _units(self) -> Float[Tensor, "parameter"]:
        at = self.fitter.full.layout
        units = torch.ones(at.count)
        units[at.identity], units[at.expression], units[at.jaw] = 0.5, 0.15, 0.01
        units[at.left_eye], units[at.right_eye] = 0.03, 0.03
        units[at.rotation], units[at.log_focal] = 0.01, 0.1
        units[at.place] = torch.tensor([1.0, 1.0, 0.004])
        return units

    @one_thread()
    def refine(
        self,
        photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        observed: Sequence[LandmarkObservations],
        start: Sequence[FitResult] | None = None,
        *,
        evaluations: int = EVALUATIONS,
    ) -> Refined:
        """Refine the fits of one person in one or several photos.

        Args:
            photos: sRGB pictures.
            observed: The landmarks of the face in each.
            start: Their fits; the identity of the first counts. By default the landmarks are fitted
                with the corrective modes first.
            evaluations: Pictures drawn while searching, at most.
        """
        problem, first = self._start(observed, start or self.fitter.fit_person(observed)[0])
        stages = [_stage(photo, one) for photo, one in zip(photos, observed, strict=True)]
        count, at = len(photos), self.fitter.full.layout
        unknowns = _Unknowns(
            identity=torch.zeros(at.identity.stop - at.identity.start),
            rest=torch.zeros(count, at.count),
            px=torch.ones(count, at.count),
            albedo=torch.zeros(self.basis.modes.shape[1], 3),
            light=torch.zeros(count, 9),
            tint=torch.zeros(count, 3),
        )
        for tensor in unknowns.all():
            tensor.requires_grad_()
        for k, stage in enumerate(stages):
            unknowns.px[k, at.place.start : at.place.stop - 1] = 1 / stage.scale

        scene = _Scene(problem, first, unknowns, stages, [_Noise()] * count)

        def energy(with_form: bool) -> Tensor:
            state = self._state(first, unknowns)
            drawn = [self._photometric(scene, state, k) for k in range(count)]
            uneven = (LIGHT_UNIT * unknowns.light / torch.tensor(LIGHT_SPREADS)).square().sum()
            total = torch.stack(drawn).sum() * problem.share
            total = total + 0.5 * (uneven + unknowns.albedo.square().sum())
            return total + problem.cost_together(state).float() if with_form else total

        looks = [unknowns.albedo, unknowns.light, unknowns.tint]
        _minimise(looks, lambda: energy(False), LIGHT_EVALUATIONS)
        scene.noise = [self._noise(scene, k) for k in range(count)]
        before = scene.noise
        for _ in range(ROUNDS):
            _minimise(unknowns.all(), lambda: energy(True), evaluations // ROUNDS)
            scene.noise = [self._noise(scene, k) for k in range(count)]
        with torch.no_grad():
            state = self._state(first, unknowns, leak=0.0)
            # Colours tell form. Where lids and lips are, landmarks tell better.
            state = self.fitter.with_identity(state, observed)
            fits = self.fitter.packed(state, observed, steps=evaluations)
            offsets = self.offset_modes @ fits[0].params.shape[self.identity_count :]
        return Refined(
            fits=tuple(_without_last(fit, self.identity_count) for fit in fits),
            offsets=offsets,
            # The light of the first photo counts as white: its tint is not told from the skin's.
            light=_coefficients(unknowns.light.detach())[..., None]
            * (unknowns.tint - unknowns.tint[:1]).detach().exp()[:, None],
            spread_before=tuple(noise.spread for noise in before),
            spread_after=tuple(noise.spread for noise in scene.noise),
        )

    def _start(
        self, observed: Sequence[LandmarkObservations], start: Sequence[FitResult]
    ) -> tuple[LandmarkProblem, FitState]:
        """The landmark problem, and the fits as its state."""
        # As close as pose follows them: looser ones let colours bend a face whose light nine
        # coefficients do not say.
        problem = self.fitter.problem([closer(one) for one in observed])
        at, rows, turns = self.fitter.full.layout, [], []
        for fit in start:
            p, pose, focal = fit.params, fit.params.world_from_head, fit.camera.fx
            row = torch.zeros(at.count)
            identity = start[0].params.shape
            row[: len(identity)], row[at.expression] = identity, p.expression
            row[at.jaw], row[at.left_eye], row[at.right_eye] = p.jaw, p.eyes[0], p.eyes[1]
            x, y, z = pose[:3, 3]
            row[at.place] = torch.stack([focal * x / z, focal * y / z, (focal / z).log()])
            row[at.log_focal] = focal.log()
            rows.append(row)
            turns.append(pose[:3, :3])
        state = FitState(vector=torch.stack(rows), rotation=torch.stack(turns))
        problem.set_noise(state)
        return problem, state

    def _state(self, first: FitState, unknowns: _Unknowns, leak: float = LEAK) -> FitState:
        at = self.fitter.full.layout
        moved = first.vector + _limited(unknowns.rest) * self.units * unknowns.px
        by = _limited(unknowns.identity) * self.units[at.identity]
        identity = first.vector[:, at.identity] + by
        weights = moved[:, at.expression]
        if self.fitter.bounded:
            inside = weights.clamp(0, 1)
            weights = inside + leak * (weights - inside)
        vector = torch.cat([identity, weights, moved[:, at.expression.stop :]], dim=1)
        turn = matrix_from_axis_angle(vector[:, at.rotation])
        still = torch.zeros_like(vector[:, at.rotation])
        vector = torch.cat(
            [vector[:, : at.rotation.start], still, vector[:, at.rotation.stop :]], dim=1
        )
        return FitState(vector=vector, rotation=turn @ first.rotation)

    def _photometric(self, scene: "_Scene", state: FitState, k: int) -> Float[Tensor, ""]:
        """Negative log likelihood of the skin's pixels in one photo.

        The mean of a pixel is taken away, so that it costs nothing that pixels come and go.
        """
        squared, mask = self._squared(scene, state, k)
        noise = scene.noise[k]
        energy = 0.5 * (DEGREES + 3) * torch.log1p(squared / noise.spread**2 / DEGREES)
        return PIXEL_SHARE * ((energy - noise.level) * mask).sum()

    def _squared(
        self, scene: "_Scene", state: FitState, k: int
    ) -> tuple[Float[Tensor, "size size"], Bool[Tensor, "size size"]]:
        """Squared differences of logarithms, and where they count."""
        log_color, mask = self._drawn(scene, state, k)
        wanted = (scene.stages[k].linear + DARK).log().movedim(0, -1)
        off = log_color - wanted
        return (off - WAVES_TAKEN * _waves(off, mask)).square().sum(-1), mask

    def _noise(self, scene: "_Scene", k: int) -> "_Noise":
        """How far the colours of a photo are off at present."""
        with torch.no_grad():
            squared, mask = self._squared(scene, self._state(scene.first, scene.unknowns), k)
        if not bool(mask.any()):
            return _Noise()
        spread = float((squared[mask].median() / MEDIAN_OF_THREE).sqrt())
        spread = min(max(spread, LEAST_SPREAD), MOST_SPREAD)
        energy = 0.5 * (DEGREES + 3) * torch.log1p(squared[mask] / spread**2 / DEGREES)
        return _Noise(spread=spread, level=float(energy.mean()))

    def _drawn(
        self, scene: "_Scene", state: FitState, k: int
    ) -> tuple[Float[Tensor, "size size 3"], Bool[Tensor, "size size"]]:
        """Logarithms of linear colours, and where they are skin that faces the camera."""
        at, vector = self.fitter.full.layout, state.vector[k]
        problem, unknowns, stage = scene.problem, scene.unknowns, scene.stages[k]
        eyes = torch.stack([vector[at.left_eye], vector[at.right_eye]])
        own = self.model(vector[at.identity], vector[at.expression], None, vector[at.jaw], eyes)
        world = own @ state.rotation[k].T + problem.translation(state)[k]
        mesh = HeadMesh(vertices=world, frame="world", topology=self.fitter.data.topology)
        focal = vector[at.log_focal].exp() * stage.scale
        centre = problem.observed.centre_px[k]
        camera = Camera(
            fx=focal,
            fy=focal,
            cx=(centre[0] - stage.left_px) * stage.scale,
            cy=(centre[1] - stage.top_px) * stage.scale,
            width=CROP_PX,
            height=CROP_PX,
            camera_from_world=torch.eye(4),
        )
        fragments = rasterize(mesh, camera)
        log_albedo = ALBEDO_SPREAD * (self.basis.modes @ unknowns.albedo)
        values = [vertex_normals(world, self.faces), log_albedo, self.basis.skin[:, None]]
        drawn = interpolate(fragments, torch.cat(values, dim=1), self.faces)
        normal = normalize(drawn[..., :3], dim=-1)
        irradiance = (sh_basis(normal) @ _coefficients(unknowns.light[k])).clamp(min=0.02)
        colour = CLAY * irradiance[..., None] * (drawn[..., 3:6] + unknowns.tint[k]).exp()
        mask = (fragments.face_index >= 0) & (drawn[..., 6] > 0.98) & (normal[..., 2] < -FACING)
        return (colour + DARK).log(), mask


def _stage(photo: UInt8[np.ndarray, "h w 3"], observed: LandmarkObservations) -> PhotoStage:
    """Cut the face out, at CROP_PX on a side."""
    points = observed.points_px[observed.visibility > 0]
    low, high = points.amin(0), points.amax(0)
    half = CROP_REACH * float((high - low).max())
    left, top = (float(c) - half for c in (low + high) / 2)
    # Beyond the picture there is nothing; the border's colour is an outlier like others.
    reach = int(np.ceil(max(0.0, -left, -top, left + 2 * half - photo.shape[1],
                            top + 2 * half - photo.shape[0])))  # fmt: skip
    padded = np.pad(photo, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    box = (left + reach, top + reach, left + reach + 2 * half, top + reach + 2 * half)
    crop = Image.fromarray(padded).resize((CROP_PX, CROP_PX), Image.Resampling.BILINEAR, box=box)
    linear = linear_from_srgb(torch.tensor(np.asarray(crop)).permute(2, 0, 1).float() / 255)
    return PhotoStage(linear=linear, scale=CROP_PX / (2 * half), left_px=left, top_px=top)


def _waves(
    off: Float[Tensor, "size size 3"], mask: Bool[Tensor, "size size"]
) -> Float[Tensor, "size size 3"]:
    """What of the differences is the same over some distance, where the mask is."""
    inside = mask[..., None].to(off.dtype)
    cut = torch.cat([off.clamp(-MOST_WAVE, MOST_WAVE) * inside, inside], dim=-1)
    coarse = avg_pool2d(cut.movedim(-1, 0)[None], WAVE_PX)
    coarse = avg_pool2d(coarse, 3, stride=1, padding=1)
    mean = coarse[:, :3] / coarse[:, 3:].clamp(min=1e-3)
    return interpolate_picture(mean, size=off.shape[:2], mode="bilinear")[0].movedim(0, -1)


def _without_last(fit: FitResult, count: int) -> FitResult:
    """The same fit with the first identity components only."""
    deviation = dict(fit.standard_deviation)
    deviation["shape"] = deviation["shape"][:count]
    params = replace(fit.params, shape=fit.params.shape[:count])
    return replace(fit, params=params, standard_deviation=deviation)


def _limited(steps: Tensor) -> Tensor:
    """The same for small steps; never beyond MOST_STEP."""
    return MOST_STEP * (steps / MOST_STEP).tanh()


def _coefficients(steps: Float[Tensor, "*photo 9"]) -> Float[Tensor, "*photo 9"]:
    """Light from the steps that the search takes: even light at first."""
    even = torch.zeros(9)
    even[0] = EVEN_LIGHT
    return even + LIGHT_UNIT * steps


class _DivergedError(Exception):
    """A line search has left the numbers."""


def _minimise(tensors: list[Tensor], energy: Callable[[], Tensor], evaluations: int) -> None:
    """L-BFGS with a strong Wolfe line search; the tensors end at the best that was seen."""
    search = torch.optim.LBFGS(
        tensors, max_iter=evaluations, max_eval=evaluations, history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )  # fmt: skip
    best, kept = float("inf"), [t.detach().clone() for t in tensors]

    def closure() -> Tensor:
        nonlocal best, kept
        search.zero_grad()
        if not all(bool(torch.isfinite(t).all()) for t in tensors):
            raise _DivergedError
        value = energy()
        value.backward()
        if not all(bool(torch.isfinite(t.grad).all()) for t in tensors if t.grad is not None):
            raise _DivergedError
        if float(value.detach()) < best:
            best, kept = float(value.detach()), [t.detach().clone() for t in tensors]
        return value

    with suppress(_DivergedError):
        search.step(closure)
    with torch.no_grad():
        for tensor, value in zip(tensors, kept, strict=True):
            tensor.copy_(value)
