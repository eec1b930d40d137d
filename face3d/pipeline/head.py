"""A reconstructed head: what a user holds, looks at and saves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from face3d.core.errors import InputError
from face3d.core.files import atomic_path
from face3d.core.types import Camera, HeadMesh
from face3d.pipeline.likeness import Likeness
from face3d.pipeline.writing import MOST_SUBDIVISIONS, WRITERS, Pose, Written, write_maps
from face3d.render import PROFILE_RAD, Maps, portrait_camera, preview, side_by_side


@dataclass(frozen=True, kw_only=True, repr=False)
class Head(Likeness):
    """A likeness that can be saved and looked at."""

    def save(self, path: str | Path, *, pose: Pose = "neutral", subdivide: int = 0) -> Path:
        """Write the head in true size; the ending chooses the format.

        With ``detail`` a GLB and an OBJ get a normal map of the fine relief in that pose.

        Args:
            path: ``.glb`` (skinned, with the expression shapes as morph targets), ``.obj`` (with
                .mtl and textures), ``.ply`` (with vertex colours), ``.npz`` (parameters),
                ``.exr`` (displacement in metres, 32 bits) or ``.png`` (a preview).
            pose: "neutral" is the person at rest, "photo" the expression of the photo. A GLB
                holds both: the pose chooses how it opens, and whose wrinkles it has.
            subdivide: How often every face becomes four, smoothly; of a head with ``detail`` the
                vertices then follow the relief. OBJ and PLY only.

        Returns:
            The path.

        Raises:
            InputError: The ending or the pose is unknown, or the file cannot be written.
        """
        target = Path(path)
        require_output(target)
        if pose not in ("neutral", "photo"):
            raise InputError(f"The pose is {pose!r}; use 'neutral' or 'photo'.")
        if not 0 <= subdivide <= MOST_SUBDIVISIONS:
            raise InputError(
                f"subdivide is {subdivide}; give a number from 0 to {MOST_SUBDIVISIONS}."
            )
        if target.suffix.lower() == ".png":
            with atomic_path(target) as temporary:
                Image.fromarray(self.preview()).save(temporary, "PNG")
        else:
            out = Written(head=self, pose=pose, subdivide=subdivide)
            WRITERS[target.suffix.lower()](target, out)
        return target

    def save_maps(self, folder: str | Path, *, pose: Pose = "neutral") -> tuple[Path, ...]:
        """Write every texture of the head into a folder, which is made if need be.

        They are called texture.png (with the photo's light), albedo.png (without; not after a
        fast fit), confidence.png, and with ``detail`` normal.png and displacement.exr.

        Args:
            folder: Where to.
            pose: Whose wrinkles the last two show.

        Returns:
            The files.

        Raises:
            InputError: The pose is unknown, or a file cannot be written.
        """
        if pose not in ("neutral", "photo"):
            raise InputError(f"The pose is {pose!r}; use 'neutral' or 'photo'.")
        return write_maps(Path(folder), Written(head=self, pose=pose))

    def preview(self, *, size: int = 512) -> UInt8[np.ndarray, "h w 3"]:
        """Photo, overlay, front and side in one row, each ``size`` px high.

        With ``detail`` a fifth picture shows the fine relief in clay, as in the photo.
        """
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
        if self.detail and self.detail_refused is None:
            relief = Maps(displacement=self.displacement)
            views.append(preview(self.mesh, zoomed, texture=relief)[0])
        return side_by_side([crop, overlay, *views])

    def _portrait_box(self) -> tuple[int, int, int, int]:
        """A square around the face, px; it may reach beyond the photo."""
        points = self.detection.landmarks[:, :2]
        low, high = points.min(0), points.max(0)
        half = 0.85 * float((high - low).max())
        cx, cy = (low + high) / 2 - np.array([0.0, 0.1 * half])
        return (round(cx - half), round(cy - half), round(cx + half), round(cy + half))


OUTPUT_SUFFIXES = (".glb", ".obj", ".ply", ".npz", ".exr", ".png")


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
