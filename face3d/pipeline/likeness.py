"""A person as photos show them: form, colours, relief and size."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.errors import InputError
from face3d.core.landmarks import CHIN, EYE_OUTER_LEFT, EYE_OUTER_RIGHT
from face3d.core.types import Camera, Detection, FitResult, Frame, HeadParams
from face3d.detail import Relief, normal_map
from face3d.metric.measurements import Measurements
from face3d.metric.scale import Scale
from face3d.model import HeadModel
from face3d.pipeline.appearance import Painted, PhotoView, irises_from_landmarks, photo_texture
from face3d.pipeline.heads import OPEN_HEAD
from face3d.pipeline.relief import person_relief, relief_size, why_no_relief
from face3d.pipeline.saved import Meshes
from face3d.pipeline.true_size import KnownSizes, true_measurements, true_scale

TEXTURE_SIZES = (128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True, kw_only=True, repr=False)
class View:
    """Another photo of the same person.

    Attributes:
        frame: The photo.
        detection: The face's landmarks.
        fit: The head in it; the identity is that of all photos.
        misfit: How much less likely its landmarks are than they could be with an identity of their
            own, as a difference of energies; see STRANGER.
        light: As of a Head.
    """

    frame: Frame
    detection: Detection
    fit: FitResult
    misfit: float
    light: Float[Tensor, "9 3"] | None = None


STRANGER = 80.0
"""Misfit beyond which a photo is said to look like another person's. In ../shared/real, 12% of 83
pairs of pictures of one person exceed it, nearly all of one that cries, and 77% of 190 pairs of
different people."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Likeness(Meshes):
    """One person from one photo or several.

    Attributes:
        model: The head model that the parameters belong to, with this person's ``offsets``.
        frame: The photo.
        detection: The face's landmarks, one face.
        fit: The fitted parameters with their standard deviations and energies.
        texture_size: Texels on a side of the base-colour texture, a power of two.
        head: Name or file of the head model, as load_head takes it.
        others: The other photos, when there are several; ``frame`` is the first.
        misfit: As of a View, for the first photo; zero when it is the only one.
        light: Irradiance as spherical harmonics of render.sh_basis in the camera's axes, by colour;
            up to a factor common with albedo. None after a fast fit.
        offsets: What the identity basis cannot say of the face's form, along its normals: already
            in the template of ``model``. None after a fast fit.
        known: What the user knows of true sizes.
        detail: Whether files get the fine relief that the photos show.
    """

    model: HeadModel
    frame: Frame
    detection: Detection
    fit: FitResult
    texture_size: int = 1024
    head: str = OPEN_HEAD
    others: tuple[View, ...] = ()
    misfit: float = 0.0
    light: Float[Tensor, "9 3"] | None = None
    offsets: Float[Tensor, "vertex 3"] | None = None
    known: KnownSizes = field(default_factory=KnownSizes)
    detail: bool = False

    def __post_init__(self) -> None:
        """Refuse textures that cannot be made."""
        require_texture_size(self.texture_size)

    def __repr__(self) -> str:
        """One line; the fields hold pictures and tensors."""
        return (
            f"{type(self).__name__}({self.head!r}, from {self.frame.source or 'a picture'}, "
            f"landmark error {self.landmark_error_px:.2f} px)"
        )

    @property
    def params(self) -> HeadParams:
        """Identity, expression, jaw, eyes and where the head is."""
        return self.fit.params

    @property
    def camera(self) -> Camera:
        """The photo's camera; its frame is the world."""
        return self.fit.camera

    @property
    def landmark_error_px(self) -> float:
        """Mean distance between the landmarks and where the detector should see the head's, px.

        It should see them at their projection plus its calibrated bias at that pose
        (docs/design/landmark-noise.md).
        """
        return float(self.fit.landmark_error_px)

    @property
    def reprojection_error_px(self) -> float:
        """Mean distance between the landmarks and the bare projection of the head's, px."""
        return float(self.fit.reprojection_error_px)

    @property
    def landmark_error_percent(self) -> float:
        """``landmark_error_px`` as a share of ``face_size_px``."""
        return 100 * self.landmark_error_px / self.face_size_px

    @property
    def face_size_px(self) -> float:
        """Mean of width and height of the box around the outer eye corners and the chin, px."""
        corners = self.detection.landmarks[[EYE_OUTER_LEFT, EYE_OUTER_RIGHT, CHIN], :2]
        return float(np.ptp(corners, axis=0).mean())

    @cached_property
    def scale(self) -> Scale:
        """By which factor ``mesh`` and ``neutral`` have their true size, and where it comes from.

        They are in metres as the population has them; see docs/design/scale.md.
        """
        photos, shaded = (self, *self.others), self.light is not None
        return true_scale(self.model, photos, self.known, shaded=shaded)

    @cached_property
    def measurements(self) -> Measurements:
        """Sizes for glasses and masks, in mm of true size."""
        return true_measurements(self.model, (self, *self.others), self.known, self.scale)

    @cached_property
    def texture(self) -> Float[Tensor, "3 size size"]:
        """The photos' colours with their light, sRGB in [0, 1]."""
        return self._lit.rgb

    @cached_property
    def albedo(self) -> Float[Tensor, "3 size size"]:
        """Base colour with the light taken out, sRGB in [0, 1].

        What is lit most counts as lit by white of one: a photo does not say whether light is
        strong or skin is light (docs/design/albedo.md).

        Raises:
            InputError: The head comes from a fast fit, which knows nothing of light.
        """
        return self._unlit.rgb

    @cached_property
    def confidence(self) -> Float[Tensor, "size size"]:
        """How far the photos tell each texel: 0 made up, 1 seen well; mirrored ones below 0.3."""
        return (self._unlit if self.light is not None else self._lit).trust

    @cached_property
    def _lit(self) -> Painted:
        return self._painted(with_light=True)

    @cached_property
    def _unlit(self) -> Painted:
        if self.light is None:
            raise InputError("A fast fit knows nothing of light; reconstruct without fast=True.")
        return self._painted(with_light=False)

    def _painted(self, *, with_light: bool) -> Painted:
        views = self._views(with_light=not with_light)
        return photo_texture(self.model.data, views, size=self.texture_size)

    def _views(self, *, with_light: bool) -> list[PhotoView]:
        with torch.no_grad():
            return [
                PhotoView(
                    photo=one.frame.rgb,
                    mesh=self.model.mesh(one.fit.params, frame="world"),
                    camera=one.fit.camera,
                    irises=irises_from_landmarks(one.detection.landmarks),
                    light=one.light if with_light else None,
                )
                for one in (self, *self.others)
            ]

    @cached_property
    def detail_refused(self) -> str | None:
        """Why the photos show no fine relief; None if they do."""
        if self.model.data.uv is None:
            return "The head has no texture coordinates, on which detail is kept."
        return why_no_relief(self._views(with_light=True))

    @cached_property
    def relief(self) -> Relief:
        """Wrinkles, folds and pores, with what an expression does to them.

        Raises:
            InputError: The photos show none; ``detail_refused`` says why.
        """
        if self.detail_refused is not None:
            raise InputError(self.detail_refused)
        views = self._views(with_light=True)
        size = relief_size(views, self.texture_size)
        return person_relief(self.model.data, self.neutral, views, size=size)

    @cached_property
    def displacement(self) -> Float[Tensor, "1 size size"]:
        """Fine relief in the (first) photo's expression, metres of ``mesh`` outwards.

        ``relief.displacement`` gives it for other expressions: at rest the wrinkles that the
        photo's expression makes are gone.

        Raises:
            InputError: The photos show none; ``detail_refused`` says why.
        """
        return self.relief.displacement(self.mesh)

    @cached_property
    def normal_map(self) -> Float[Tensor, "3 size size"]:
        """``displacement`` as tangent-space normals, OpenGL's way; 0 to 1 stand for -1 to 1.

        Raises:
            InputError: The photos show none; ``detail_refused`` says why.
        """
        return normal_map(self.mesh, self.displacement, self.relief.fragments)

    @property
    def strangers(self) -> tuple[str, ...]:
        """Names of the photos that look like another person's than the rest do."""
        photos = [(self.frame, self.misfit), *((v.frame, v.misfit) for v in self.others)]
        return tuple(
            frame.source or f"photo {number}"
            for number, (frame, misfit) in enumerate(photos, 1)
            if misfit > STRANGER
        )


def require_texture_size(size: int) -> None:
    """Raise unless a texture can have this many texels on a side.

    Raises:
        InputError: It is none of TEXTURE_SIZES.
    """
    if size not in TEXTURE_SIZES:
        raise InputError(
            f"The texture size (--texture) is {size}; "
            f"use one of {', '.join(map(str, TEXTURE_SIZES))}."
        )
