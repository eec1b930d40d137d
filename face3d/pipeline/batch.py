"""A regressor on all pictures of a folder or a video, without a fit: parameters in one file."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from face3d.core.camera import focal_px_from_equivalent_mm
from face3d.core.errors import InputError
from face3d.core.files import atomic_path
from face3d.core.npz import NpzError, read_npz
from face3d.core.types import Camera, Detection, Frame
from face3d.detect import LandmarkDetector, choose_faces, load_detector
from face3d.detect.crops import averaged_crop, square_from_landmarks
from face3d.media import Picture, files_in, pictures, prefetched
from face3d.pipeline.regressors import Regressor
from face3d.regress.flame_guess import flame_codes
from face3d.regress.own import guess_heads
from face3d.regress.own_net import INPUT_PX, OwnNet

Device = Literal["auto", "cpu", "cuda"]

USUAL_FOCAL = 1.5
"""Focal length over the longer side of a picture, where EXIF tells none."""

PER_PART = 1024
"""Faces that are held before they are written."""


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What came of a folder or a video.

    Attributes:
        path: The file.
        faces: How many it has.
        skipped: Pictures without a result, and why, one line each.
    """

    path: Path
    faces: int
    skipped: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A picture with its face; or what was wrong with it."""

    number: int
    frame: Frame | None
    face: Detection | None = None
    problem: str = ""


def regress_pictures(
    source: str | Path,
    output: str | Path,
    regressor: Regressor,
    *,
    device: Device = "auto",
    batch: int = 16,
    every: int = 1,
    landmarks: bool = False,
    detector: LandmarkDetector | None = None,
    on_progress: Callable[[int, int, int], None] | None = None,
) -> BatchReport:
    """Parameters of the largest face of every picture, in one pass of a network each.

    Pictures are read and faces found in another thread while the network works. What is done is
    kept beside the output until it is whole: the same call goes on after a stop.

    The file holds one row for each face, in the order of files and frames: ``source`` (number of
    the name in ``sources``), ``frame``, ``time_s``; of the own regressor the arrays of HeadParams
    (``world_from_head`` before a camera with ``focal_px`` and the middle of ``picture_px``), of a
    published one its codes and ``photo_from_crop``, where its crop lies. ``face3d.convert`` makes
    a take of it.

    Args:
        source: A folder, a photo or a video.
        output: File to write, .npz.
        regressor: As of ``load_regressor``.
        device: Where the network runs; on a GPU in half precision.
        batch: Pictures in each pass.
        every: Take each n-th frame of videos.
        landmarks: Write the own regressor's 478 landmarks, too, px.
        detector: What finds faces.
        on_progress: Called with how many files are done, how many there are, and how many faces
            were found.

    Raises:
        InputError: There are no pictures or no faces in them, or an option has no meaning.
    """
    target, files = Path(output), files_in(Path(source))
    if target.suffix.lower() != ".npz":
        raise InputError(f"Cannot write {target.name!r}: use a name that ends in .npz.")
    if batch < 1:
        raise InputError(f"The batch is {batch}; give at least 1.")
    on = torch.device(_device(device))
    regressor.net.to(on)
    root = Path(source) if Path(source).is_dir() else Path(source).parent
    names = [str(path.relative_to(root)) for path in files]
    work = _Work(target, {"system": regressor.system, "every": every, "files": names})
    found = _faces(pictures(files, every=every, first=work.begun), detector or load_detector())
    ahead = prefetched(found, 2 * batch)
    while several := list(islice(ahead, batch)):
        seen = [one for one in several if one.face is not None]
        for one in several:
            if one.face is None:
                where = f", frame {one.frame.index}" if one.frame and one.frame.index else ""
                work.skipped.append(f"{names[one.number]}{where}: {one.problem}")
        if seen:
            work.add(_rows(regressor, seen, on, landmarks=landmarks))
        last = several[-1]
        # A frame that could not be read ends its file.
        work.keep((last.number, last.frame.index + 1) if last.frame else (last.number + 1, 0))
        if on_progress:
            on_progress(last.number + 1, len(files), work.count)
    if not work.count:
        work.forget()
        raise InputError(f"{source} holds no picture in which a face is found.")
    work.finish(np.array(names))
    return BatchReport(path=target, faces=work.count, skipped=tuple(work.skipped))


def _faces(walk: Iterator[Picture], detector: LandmarkDetector) -> Iterator[_Seen]:
    for picture in walk:
        if picture.frame is None:
            yield _Seen(number=picture.number, frame=None, problem=picture.problem)
            continue
        found = detector.detect(picture.frame, max_faces=1)
        if not len(found.landmarks):
            yield _Seen(number=picture.number, frame=picture.frame, problem="no face found")
            continue
        face = choose_faces(found, "largest", source=picture.frame.source)
        yield _Seen(number=picture.number, frame=picture.frame, face=face)


def _rows(
    regressor: Regressor, seen: Sequence[_Seen], on: torch.device, *, landmarks: bool
) -> dict[str, Shaped[np.ndarray, "row ..."]]:
    """What a regressor says of faces, as arrays with one row each."""
    frames = [one.frame for one in seen if one.frame is not None]
    out: dict[str, Any] = {
        "source": np.array([one.number for one in seen], np.int32),
        "frame": np.array([frame.index for frame in frames], np.int32),
        "time_s": np.array([frame.time_s for frame in frames]),
    }
    with torch.autocast(on.type, torch.float16, enabled=on.type == "cuda"):
        if isinstance(regressor.net, OwnNet):
            said = _own(regressor.net, seen, on, landmarks=landmarks)
        else:
            said = _published(regressor, seen, on)
    return out | {k: v.float().cpu().numpy() for k, v in said.items()}


def _own(
    net: OwnNet, seen: Sequence[_Seen], on: torch.device, *, landmarks: bool
) -> dict[str, Tensor]:
    crops, maps, focals, sizes = [], [], [], []
    for one in seen:
        assert one.frame is not None
        assert one.face is not None
        square = square_from_landmarks(one.face.landmarks[0])
        crops.append(averaged_crop(one.frame.rgb, square, INPUT_PX))
        maps.append(square.picture_from_crop(INPUT_PX))
        focals.append(focal_px(one.frame))
        sizes.append(one.frame.rgb.shape[1::-1])
    focal, size = torch.tensor(focals), torch.tensor(sizes).float()
    camera = Camera(
        fx=focal, fy=focal, cx=size[:, 0] / 2, cy=size[:, 1] / 2, width=1, height=1,
        camera_from_world=torch.eye(4).expand(len(focal), 4, 4),
    )  # fmt: skip
    pixels = torch.as_tensor(np.stack(crops)).to(on).permute(0, 3, 1, 2).float() / 255
    guess = guess_heads(net, pixels, torch.as_tensor(np.stack(maps)).float(), camera)
    out = {
        **vars(guess.params), "shape_sd": guess.shape_sd, "expression_sd": guess.expression_sd,
        "focal_px": focal, "picture_px": size,
    }  # fmt: skip
    if landmarks:
        out |= {"landmarks_px": guess.landmarks_px, "landmark_sd_px": guess.landmark_sd_px}
    return out


def _published(regressor: Regressor, seen: Sequence[_Seen], on: torch.device) -> dict[str, Tensor]:
    crops, back = [], []
    for one in seen:
        assert one.frame is not None
        assert one.face is not None
        crop, place = regressor.crop(one.frame, _single(one.face))
        crops.append(crop)
        back.append(place)
    codes = flame_codes(regressor.system, regressor(torch.stack(crops).to(on)))
    frames = [one.frame for one in seen if one.frame is not None]
    return {
        **codes,
        "photo_from_crop": torch.stack(back),
        "crop_px": torch.full((len(crops),), float(crops[0].shape[-1])),
        "focal_px": torch.tensor([focal_px(frame) for frame in frames]),
        "picture_px": torch.tensor([frame.rgb.shape[1::-1] for frame in frames]).float(),
    }


def _single(face: Detection) -> Detection:
    """The one face of a batch of one."""
    return face if face.landmarks.ndim == 2 else Detection(
        box_xyxy=face.box_xyxy[0], landmarks=face.landmarks[0], layout=face.layout,
        score=np.asarray(face.score[0]), visibility=face.visibility[0],
    )  # fmt: skip


def focal_px(frame: Frame) -> float:
    """A picture's focal length, from EXIF or as pictures usually have it."""
    height, width = frame.rgb.shape[:2]
    if frame.focal_equivalent_mm is None:
        return USUAL_FOCAL * max(height, width)
    return focal_px_from_equivalent_mm(frame.focal_equivalent_mm, width, height)


def _device(name: Device) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here; use --device cpu.")
    return name


class _Work:
    """What is done of an output: parts in a folder beside it, so that a stop loses little."""

    def __init__(self, target: Path, wanted: dict[str, Any]) -> None:
        self.target = target
        self.folder = target.with_name(f".{target.name}.parts")
        self.about = self.folder / "about.json"
        self.wanted = wanted
        self.skipped: list[str] = []
        self.begun, self.parts, self.count = (0, 0), 0, 0
        self.rows: list[dict[str, np.ndarray]] = []
        self.held = 0
        if self.about.exists():
            self._go_on()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)

    def _go_on(self) -> None:
        try:
            there = json.loads(self.about.read_text())
            if there["wanted"] != self.wanted:
                shutil.rmtree(self.folder)
                self.folder.mkdir()
                return
            self.begun = (int(there["begun"][0]), int(there["begun"][1]))
            self.parts, self.count = int(there["parts"]), int(there["count"])
            self.skipped = [str(line) for line in there["skipped"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.folder} cannot be read; delete it.") from error

    def add(self, rows: dict[str, np.ndarray]) -> None:
        """More faces."""
        self.rows.append(rows)
        added = len(rows["source"])
        self.held += added
        self.count += added

    def keep(self, begun: tuple[int, int]) -> None:
        """Write when enough has come together; a stop after that goes on from ``begun``."""
        if self.held >= PER_PART:
            self._write(begun)

    def _write(self, begun: tuple[int, int]) -> None:
        if self.rows:
            part = {k: np.concatenate([r[k] for r in self.rows]) for k in self.rows[0]}
            path = self.folder / f"{self.parts:05d}.npz"
            with atomic_path(path) as partial, partial.open("wb") as file:
                np.savez(file, **part)
            self.parts += 1
        self.rows, self.held, self.begun = [], 0, begun
        state = {
            "wanted": self.wanted, "begun": begun, "parts": self.parts, "count": self.count,
            "skipped": self.skipped,
        }  # fmt: skip
        with atomic_path(self.about) as partial:
            partial.write_text(json.dumps(state))

    def finish(self, names: Shaped[np.ndarray, "file"]) -> None:
        """Join the parts."""
        self._write((len(names), 0))
        try:
            each = [read_npz(self.folder / f"{k:05d}.npz") for k in range(self.parts)]
        except (NpzError, FileNotFoundError) as error:
            raise InputError(f"{self.folder} is damaged; delete it and begin anew.") from error
        whole = {k: np.concatenate([part[k] for part in each]) for k in each[0]}
        with atomic_path(self.target) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file, sources=names, system=np.array(self.wanted["system"]), **whole
            )
        self.forget()

    def forget(self) -> None:
        """Leave nothing behind but the output."""
        shutil.rmtree(self.folder, ignore_errors=True)
