"""Pictures and films of heads, for people to look at."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from face3d.core import Camera, HeadMesh, InputError, atomic_path
from face3d.core.version import __version__
from face3d.media import video_writer
from face3d.pipeline.head import Head
from face3d.pipeline.saved import SavedHead
from face3d.pipeline.surfaces import Visible, open_surface
from face3d.render import (
    Maps,
    lifelike,
    linear_from_srgb,
    mipmapped,
    open_sky,
    portrait_camera,
    preview,
)
from face3d.render.rasterize import MAX_PIXELS, MAX_PX

Motion = Literal["auto", "turntable", "take", "still"]

FACE_ON = 0.0
MARGIN, DISTANCE_M = 1.06, 1.2
"""How much more than the head a picture shows, and from where."""

GREY = (0.93, 0.93, 0.95)
NOTE = ".face3d-film.json"
"""What a folder of pictures was drawn with, so that it is only gone on with if it still fits."""

RADIUS_M = 0.15
"""Whatever its unit, a surface is brought to this size before it is drawn."""

ROUNDING = 1e-3
"""Of a picture: times are kept in single precision."""

KEYS_FRAMED = 24
"""Pictures of a take that are looked at to frame it."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """How a head is filmed.

    Attributes:
        motion: "turntable" turns once around the head, "take" plays the file's animation, "still"
            does neither; "auto" is the take if there is one.
        width: Pixels.
        height: Pixels.
        fps: Pictures per second.
        seconds: Of a turntable.
        yaw_deg: Where the camera starts; positive shows the subject's left side.
        background: sRGB in [0, 1]; none is transparent, for PNG only.
        clay: Leave the texture out.
        shading: 0 shows the texture as it is, 1 as the studio lights it.
        supersample: Samples per pixel along each axis.
        renderer: "face3d", or "pyrender" for comparison.
    """

    motion: Motion = "auto"
    width: int = 720
    height: int = 720
    fps: Fraction = Fraction(30)
    seconds: float = 6.0
    yaw_deg: float = FACE_ON
    background: tuple[float, float, float] | None = None
    clay: bool = False
    shading: float = 0.35
    supersample: int = 2
    renderer: Literal["face3d", "pyrender"] = "face3d"

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for name, value in (("width", self.width), ("height", self.height)):
            if not 16 <= value <= 8192:
                raise InputError(f"The {name} is {value} px; give 16 to 8192.")
        if not 1 <= self.supersample <= 4:
            raise InputError(f"supersample is {self.supersample}; give 1 to 4.")
        longer = max(self.width, self.height) * self.supersample
        if longer > MAX_PX or self.width * self.height * self.supersample**2 > MAX_PIXELS:
            raise InputError(
                f"{self.width} by {self.height} px with {self.supersample} samples along each axis "
                "are too many; take fewer samples, or a smaller picture."
            )
        if not (0 < self.fps <= 240):
            raise InputError(f"The frame rate is {self.fps}; give at most 240 pictures a second.")
        if not (0 < self.seconds <= 600):
            raise InputError(f"The film is to last {self.seconds} s; give at most 600.")
        if not math.isfinite(self.yaw_deg) or not 0 <= self.shading <= 1:
            raise InputError(
                f"The yaw is {self.yaw_deg} degrees and the shading {self.shading}; give a finite "
                "yaw, and a shading between 0 and 1."
            )


def film(
    head: Head | SavedHead | str | Path,
    output: str | Path,
    shot: Shot | None = None,
    *,
    progress: bool = False,
) -> Path:
    """Draw a head: a film, a picture, or numbered pictures.

    Args:
        head: A head, or a file: .npz, .glb, .obj, .ply, .stl.
        output: ``.mp4`` for a film, ``.png`` for one picture, a folder (a name without ending) for
            numbered PNGs. PNGs are transparent around the head unless the shot has a background.
            A folder that was begun with the same settings is gone on with.
        shot: How; ``Shot()`` by default.
        progress: Show how far it is, on the error stream.

    Returns:
        The path.

    Raises:
        InputError: The name or the settings cannot be used.
        AssetError: The file cannot be read.
        MissingDependencyError: The shot asks for pyrender, which is not installed.
    """
    if not str(output).strip():
        raise InputError("The output has no name; give a file or a folder.")
    target, shot = Path(output), shot if shot is not None else Shot()
    suffix = target.suffix.lower()
    if suffix not in (".mp4", ".png", ""):
        raise InputError(
            f"Cannot write {target.name!r}: use a name that ends in .mp4 or .png, or a folder."
        )
    if suffix == ".mp4" and (shot.width % 2 or shot.height % 2):
        raise InputError(f"A film of {shot.width} by {shot.height} px: both sides must be even.")
    source = Path(head) if isinstance(head, str | Path) else None
    if source is not None and target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"Writing {target} would overwrite the head; choose another name.")
    stage = _Stage(_visible(head), shot)
    if suffix == ".png":
        rgb, cover = stage.picture(0)
        _write_png(target, rgb, cover, shot)
    elif suffix == ".mp4":
        solid = shot if shot.background is not None else replace(shot, background=GREY)
        stage = _Stage(stage.visible, solid)
        with video_writer(target, width=shot.width, height=shot.height, fps=stage.fps) as video:
            for number in _counted(stage.count, target.name, progress):
                video.add(stage.picture(number)[0])
    else:
        _write_folder(target, stage, _fingerprint(head), progress)
    return target


def _fingerprint(head: Head | SavedHead | str | Path) -> str:
    """What tells one head's pictures from another's."""
    digest = hashlib.sha256(__version__.encode())
    if isinstance(head, str | Path):
        digest.update(Path(head).read_bytes())
        return digest.hexdigest()
    digest.update(head.neutral.vertices.numpy().tobytes())
    if isinstance(head, Head):
        digest.update(head.texture.numpy().tobytes())
    return digest.hexdigest()


def _visible(head: Head | SavedHead | str | Path) -> Visible:
    if isinstance(head, str | Path):
        return open_surface(Path(head))
    rest = head.neutral
    return Visible(
        mesh=replace(rest, frame="world"),
        texture=head.texture if isinstance(head, Head) and rest.topology.uv is not None else None,
        materials=lifelike(rest.topology),
    )


class _Stage:
    """A surface in front of a camera, picture by picture."""

    def __init__(self, visible: Visible, shot: Shot) -> None:
        self.visible, self.shot = visible, shot
        moving = visible.times_s is not None and shot.motion in ("auto", "take")
        if shot.motion == "take" and not moving:
            raise InputError(
                "This file has no animation that can be read; leave out the motion, or use "
                "turntable."
            )
        self._moving = moving
        self._turning = not moving and shot.motion in ("auto", "turntable")
        self.fps, self.count = shot.fps, 1
        if self._turning:
            self.count = max(1, round(shot.seconds * shot.fps))
        elif moving and visible.times_s is not None:
            length = float(visible.times_s[-1] - visible.times_s[0])
            self.count = max(1, math.floor(length * float(shot.fps) + ROUNDING) + 1)
        low, high = self._box()
        centre = (low + high) / 2
        self._move = -centre
        self._scale = RADIUS_M / max(float((high - low).norm()) / 2, 1e-12)
        low, high = (low - centre) * self._scale, (high - centre) * self._scale
        self._sky: Tensor | None = None
        self._color: Maps | None = None
        if visible.texture is not None and not shot.clay:
            self._color = Maps(color=mipmapped(linear_from_srgb(visible.texture)))
        elif visible.vertex_color is not None and not shot.clay:
            self._color = Maps(vertex_color=visible.vertex_color)
        # Whatever way the head is turned, its box's corners stay in the picture, nearer ones too.
        radius = float((high - low)[[0, 2]].norm()) / 2
        tall = float(high[1] - low[1])
        wide = 2 * radius * shot.height / shot.width
        nearer = DISTANCE_M / (DISTANCE_M - radius)
        self._shown = max(MARGIN * nearer * max(tall, wide), 1e-6)

    def _box(self) -> tuple[Tensor, Tensor]:
        """The box that holds the surface, through all of the take."""
        visible, surfaces = self.visible, [self.visible.mesh]
        if self._moving and visible.times_s is not None:
            keys = np.linspace(0, len(visible.times_s) - 1, KEYS_FRAMED).round().astype(int)
            surfaces = [visible.at(int(key)) for key in np.unique(keys)]
        vertices = torch.stack([surface.vertices for surface in surfaces])
        if not torch.isfinite(vertices).all() or not vertices.numel():
            raise InputError("The head has no vertices, or some are not finite; it is damaged.")
        return vertices.amin((0, 1)), vertices.amax((0, 1))

    def camera(self, number: int) -> Camera:
        """The view of one picture."""
        turn = 2 * math.pi * number / self.count if self._turning else 0.0
        return portrait_camera(
            torch.zeros(3),
            self._shown,
            yaw_rad=math.radians(self.shot.yaw_deg) + turn,
            size=(self.shot.width, self.shot.height),
            distance_m=DISTANCE_M,
        )

    def picture(self, number: int) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
        """Colours and coverage."""
        mesh = self._mesh(number)
        shot, camera = self.shot, self.camera(number)
        if shot.renderer == "pyrender":
            from face3d.render.pyrender_preview import preview_pyrender

            behind = shot.background if shot.background is not None else GREY
            texture = None if shot.clay else self.visible.texture
            return preview_pyrender(mesh, camera, texture=texture, background_srgb=behind)
        if self._moving or self._sky is None:
            self._sky = open_sky(mesh)
        return preview(
            mesh,
            camera,
            texture=self._color,
            background_srgb=shot.background,
            shading=shot.shading,
            supersample=shot.supersample,
            materials=self.visible.materials,
            sky=self._sky,
        )

    def _mesh(self, number: int) -> HeadMesh:
        """The surface of one picture, in the middle; of a take, that of the nearest key."""
        times, mesh = self.visible.times_s, self.visible.mesh
        if self._moving and times is not None:
            wanted = times[0] + float(number / self.fps)
            mesh = self.visible.at(int(np.abs(times - wanted).argmin()))
        return replace(mesh, vertices=(mesh.vertices + self._move) * self._scale)


def _counted(count: int, name: str, progress: bool) -> Iterator[int]:
    """Numbers from 0, shown as they pass."""
    console = Console(stderr=True, quiet=not progress)
    return iter(track(range(count), description=name, console=console))


def _write_png(
    path: Path,
    rgb: UInt8[np.ndarray, "h w 3"],
    cover: Float[np.ndarray, "h w"],
    shot: Shot,
) -> None:
    if shot.background is None:
        alpha = (cover * 255 + 0.5).astype(np.uint8)
        rgb = np.concatenate([rgb, alpha[..., None]], axis=-1)
    with atomic_path(path) as temporary:
        Image.fromarray(rgb).save(temporary, "PNG")


def _write_folder(folder: Path, stage: _Stage, fingerprint: str, progress: bool) -> None:
    """Numbered pictures; those that a run with the same settings has written are kept."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a name that ends in .mp4 or .png, or a folder.")
    note = folder / NOTE
    if folder.exists() and not note.is_file() and any(folder.iterdir()):
        raise InputError(
            f"The folder {folder} holds files that are not this film's; give an empty or a new one."
        )
    settings = {**asdict(stage.shot), "fps": str(stage.fps), "count": stage.count,
                "head": fingerprint}  # fmt: skip
    before = _read_note(note)
    if before != json.loads(json.dumps(settings)):
        for number in range(before.get("count", 0)):
            _numbered(folder, number).unlink(missing_ok=True)
        with atomic_path(note) as temporary:
            temporary.write_text(json.dumps(settings, indent=1))
    for number in _counted(stage.count, folder.name, progress):
        path = _numbered(folder, number)
        if not path.exists():
            _write_png(path, *stage.picture(number), stage.shot)


def _numbered(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.png"


def _read_note(note: Path) -> dict[str, Any]:
    """What the folder was drawn with; nothing if that cannot be read."""
    try:
        found = json.loads(note.read_text(errors="replace"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("count"), int) else {}
