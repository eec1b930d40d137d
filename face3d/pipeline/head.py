"""A reconstructed head: what a user holds, looks at and saves."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from face3d.core.errors import InputError
from face3d.core.files import atomic_path
from face3d.core.landmarks import CHIN, EYE_OUTER_LEFT, EYE_OUTER_RIGHT
from face3d.core.types import Camera, Detection, FitResult, Frame, HeadMesh, HeadParams
from face3d.export import (
    GlbCharacter,
    Material,
    SavedParams,
    write_glb,
    write_obj,
    write_params,
    write_ply,
)
from face3d.metric.measurements import Measurements
from face3d.metric.scale import Scale
from face3d.model import HeadModel
from face3d.pipeline.appearance import Painted, PhotoView, irises_from_landmarks, photo_texture
from face3d.pipeline.heads import OPEN_HEAD
from face3d.pipeline.saved import FINGERPRINT, METRES_PER_UNIT, Meshes, fingerprint
from face3d.pipeline.true_size import KnownSizes, true_measurements, true_scale
from face3d.render import PROFILE_RAD, portrait_camera, preview, sample_texture, side_by_side

Pose = Literal["neutral", "photo"]
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
class Head(Meshes):
    """One person's head from one photo or several.

    Attributes:
        model: The head model that the parameters belong to.
        frame: The photo.
        detection: The face's landmarks, one face.
        fit: The fitted parameters with their standard deviations and energies.
        texture_size: Texels on a side of the base-colour texture, a power of two.
        head: Name or file of the head model, as load_head takes it.
        others: The other photos, when there are several; ``frame`` is the first.
        misfit: As of a View, for the first photo; zero when it is the only one.
        light: Irradiance as spherical harmonics of render.sh_basis in the camera's axes, by colour;
            up to a factor common with albedo. None after a fast fit.
        known: What the user knows of true sizes.
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
    known: KnownSizes = field(default_factory=KnownSizes)

    def __post_init__(self) -> None:
        """Refuse textures that cannot be made."""
        require_texture_size(self.texture_size)

    def __repr__(self) -> str:
        """One line; the fields hold pictures and tensors."""
        return (
            f"Head({self.head!r}, from {self.frame.source or 'a picture'}, "
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
        return true_scale(self.model, (self, *self.others), self.known)

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
        with torch.no_grad():
            views = [
                PhotoView(
                    photo=one.frame.rgb,
                    mesh=self.model.mesh(one.fit.params, frame="world"),
                    camera=one.fit.camera,
                    irises=irises_from_landmarks(one.detection.landmarks),
                    light=None if with_light else one.light,
                )
                for one in (self, *self.others)
            ]
        return photo_texture(self.model.data, views, size=self.texture_size)

    @property
    def strangers(self) -> tuple[str, ...]:
        """Names of the photos that look like another person's than the rest do."""
        photos = [(self.frame, self.misfit), *((v.frame, v.misfit) for v in self.others)]
        return tuple(
            frame.source or f"photo {number}"
            for number, (frame, misfit) in enumerate(photos, 1)
            if misfit > STRANGER
        )

    def save(self, path: str | Path, *, pose: Pose = "neutral") -> Path:
        """Write the head in true size; the ending chooses the format.

        Args:
            path: ``.glb`` (skinned, with the expression shapes as morph targets), ``.obj`` (with
                .mtl and texture), ``.ply`` (with vertex colours), ``.npz`` (parameters) or
                ``.png`` (a preview).
            pose: "neutral" is the person at rest, "photo" the expression of the photo. A GLB
                holds both: the pose only chooses how it opens.

        Returns:
            The path.

        Raises:
            InputError: The ending or the pose is unknown, or the file cannot be written.
        """
        target = Path(path)
        writers: dict[str, Callable[[Path, Pose], None]] = {
            ".glb": self._save_glb,
            ".obj": self._save_obj,
            ".ply": self._save_ply,
            ".npz": self._save_npz,
            ".png": self._save_png,
        }
        require_output(target)
        if pose not in ("neutral", "photo"):
            raise InputError(f"The pose is {pose!r}; use 'neutral' or 'photo'.")
        writers[target.suffix.lower()](target, pose)
        return target

    def preview(self, *, size: int = 512) -> UInt8[np.ndarray, "h w 3"]:
        """Photo, overlay, front and side in one row, each ``size`` px high."""
        photo = Image.fromarray(self.frame.rgb)
        box = self._portrait_box()
        crop = np.asarray(photo.crop(box).resize((size, size), Image.Resampling.LANCZOS))
        scale = size / (box[2] - box[0])
        zoomed = Camera(
            fx=self.camera.fx * scale,
            fy=self.camera.fy * scale,
            cx=(self.camera.cx - box[0]) * scale,
            cy=(self.camera.cy - box[1]) * scale,
            width=size,
            height=size,
            camera_from_world=self.camera.camera_from_world,
        )
        clay, cover = preview(self.mesh, zoomed)
        share = 0.75 * cover[..., None]
        overlay = (crop * (1 - share) + clay * share + 0.5).astype(np.uint8)
        low, high = self.neutral.vertices.amin(0), self.neutral.vertices.amax(0)
        shown = 1.15 * float(high[1] - low[1])
        texture = self.texture if self.model.data.uv is not None else None
        views = [
            preview(
                HeadMesh(
                    vertices=self.neutral.vertices, frame="world", topology=self.mesh.topology
                ),
                portrait_camera((low + high) / 2, shown, yaw_rad=yaw, size=size),
                texture=texture,
            )[0]
            for yaw in (0.0, PROFILE_RAD)
        ]
        return side_by_side([crop, overlay, *views])

    def _portrait_box(self) -> tuple[int, int, int, int]:
        """A square around the face, px; it may reach beyond the photo."""
        points = self.detection.landmarks[:, :2]
        low, high = points.min(0), points.max(0)
        half = 0.85 * float((high - low).max())
        cx, cy = (low + high) / 2 - np.array([0.0, 0.1 * half])
        return (round(cx - half), round(cy - half), round(cx + half), round(cy + half))

    def _posed(self, pose: Pose) -> HeadMesh:
        if pose == "neutral":
            return self.neutral
        with torch.no_grad():
            return self.model.mesh(self.params, frame="head")

    def _sized(self, mesh: HeadMesh) -> Float[np.ndarray, "vertex 3"]:
        """Vertices as they are written."""
        return mesh.vertices.numpy().astype(np.float64) * self.scale.metres_per_unit

    def _texture_file(self, kind: Literal["PNG", "JPEG"]) -> bytes:
        stream = io.BytesIO()
        rgb = (self.texture * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
        options = {"compress_level": 3} if kind == "PNG" else {"quality": 93, "subsampling": 0}
        Image.fromarray(rgb).save(stream, kind, **options)
        return stream.getvalue()

    def _materials(self, kind: Literal["PNG", "JPEG"]) -> tuple[Material, ...]:
        data = self.model.data
        texture = self._texture_file(kind) if data.uv is not None else None
        eyes = data.regions.get("eyes", np.zeros(len(data.v_template), dtype=bool))
        wet = eyes[data.faces].all(1)
        skin = Material(name="skin", faces=~wet, texture=texture, roughness=0.6)
        if not wet.any():
            return (skin,)
        return (skin, Material(name="eyes", faces=wet, texture=texture, roughness=0.15))

    def _save_glb(self, path: Path, pose: Pose) -> None:
        data, p, factor = self.model.data, self.params, self.scale.metres_per_unit
        rotations = self.model.pose_axis_angles(p.neck, p.jaw, p.eyes)
        with torch.no_grad():
            places = self.model.joints(p.shape).numpy()
        opened = pose == "photo"
        character = GlbCharacter(
            name=data.name,
            vertices=self._sized(self.neutral),
            topology=data.topology,
            materials=self._materials("JPEG"),
            joint_names=data.joint_names,
            joint_parents=data.parents,
            joint_places=places.astype(np.float64) * factor,
            skinning_weights=data.skinning_weights,
            joint_rotations=rotations.numpy().astype(np.float64) if opened else None,
            morph_names=data.expression_names,
            morph_deltas=np.moveaxis(data.expression_basis, -1, 0) * factor,
            morph_weights=p.expression.numpy().astype(np.float64) if opened else None,
            licence=data.licence,
        )
        write_glb(path, character)

    def _save_obj(self, path: Path, pose: Pose) -> None:
        vertices = self._sized(self._posed(pose))
        write_obj(
            path,
            vertices,
            self.model.data.topology,
            materials=self._materials("PNG"),
            licence=self.model.data.licence,
        )

    def _save_ply(self, path: Path, pose: Pose) -> None:
        data = self.model.data
        colours = None
        if data.uv is not None and data.uv_faces is not None:
            corner = np.zeros(len(data.v_template), dtype=np.int64)
            corner[data.faces.ravel()] = data.uv_faces.ravel()
            uv = torch.as_tensor(data.uv[corner]).float()
            colours = (sample_texture(self.texture, uv) * 255 + 0.5).to(torch.uint8).numpy()
        vertices = self._sized(self._posed(pose))
        write_ply(path, vertices, data.topology, colors_srgb=colours)

    def _save_npz(self, path: Path, pose: Pose) -> None:
        del pose  # parameters hold every pose
        fit = self.fit
        arrays = {
            "landmarks_px": self.detection.landmarks,
            "landmark_layout": self.detection.layout,
            FINGERPRINT: fingerprint(self.model.data),
            METRES_PER_UNIT: self.scale.metres_per_unit,
            f"sd_{METRES_PER_UNIT}": self.scale.sd,
        }
        arrays |= {f"sd_{name}": value.numpy() for name, value in fit.standard_deviation.items()}
        arrays |= {f"energy_{name}": value.numpy() for name, value in fit.energies.items()}
        saved = SavedParams(
            head=self.head,
            params=fit.params,
            camera=fit.camera,
            arrays={name: np.asarray(value) for name, value in arrays.items()},
        )
        write_params(path, saved)

    def _save_png(self, path: Path, pose: Pose) -> None:
        del pose  # the preview shows both
        with atomic_path(path) as temporary:
            Image.fromarray(self.preview()).save(temporary, "PNG")


OUTPUT_SUFFIXES = (".glb", ".obj", ".ply", ".npz", ".png")


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


def require_output(path: Path, *, photo: object = None, suffixes: Sequence[str] = ()) -> None:
    """Raise unless a head can be written to a file of this name.

    Args:
        path: The file to write.
        photo: The picture that is read, if it is a file: it must not be overwritten.
        suffixes: Endings to allow; all that there are by default.

    Raises:
        InputError: The ending is unknown, the path is a folder, or the photo would be overwritten.
    """
    allowed = tuple(suffixes) or OUTPUT_SUFFIXES
    if path.suffix.lower() not in allowed:
        raise InputError(
            f"Cannot write {path.name!r}: use a name that ends in {', '.join(allowed)}."
        )
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file to write.")
    blocker = next((p for p in path.parents if p.exists()), None)
    if blocker is not None and not blocker.is_dir():
        raise InputError(
            f"{blocker} is a file, so {path} cannot be written; choose another folder."
        )
    # An OBJ's textures are called head_skin.png and so on.
    written = [path, *path.parent.glob(f"{path.stem}_*")] if path.suffix == ".obj" else [path]
    if isinstance(photo, Path) and any(p.exists() and p.samefile(photo) for p in written):
        raise InputError(f"Writing {path.name} would overwrite the photo; choose another name.")
