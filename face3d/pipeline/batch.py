"""A regressor on all pictures of a folder or a video, without a fit: parameters in one file."""

import hashlib
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
"""Pictures after which what is found is written."""

MOST_OF_A_CLIP = 500
"""Frames that SPECTRE is shown together; it looks at them in its own chunks."""


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
    """What the network needs of a picture; or what was wrong with it. No picture is held."""

    number: int
    frame: int  # -1: the file, or the rest of it, cannot be read
    time_s: float = 0.0
    crop: Tensor | None = None
    photo_from_crop: Tensor | None = None
    focal_px: float = 0.0
    picture_px: tuple[float, float] = (0.0, 0.0)
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
    target = Path(output)
    if target.suffix.lower() != ".npz":
        raise InputError(f"Cannot write {target.name!r}: use a name that ends in .npz.")
    if batch < 1 or every < 1:
        raise InputError(f"The batch is {batch} and every is {every}; give at least 1.")
    files = files_in(Path(source))
    on = torch.device(_device(device))
    root = Path(source) if Path(source).is_dir() else Path(source).parent
    names = [str(path.relative_to(root)) for path in files]
    work = _Work(target, {
        "system": regressor.system, "weights": _fingerprint(regressor.net), "every": every,
        "landmarks": landmarks, "root": str(root.resolve()), "files": names,
        "sizes": [path.stat().st_size for path in files],
    })  # fmt: skip
    walk = pictures(files, every=every, first=work.begun)
    ahead = prefetched(_faces(walk, regressor, detector or load_detector()), 2 * batch)
    regressor.net.to(on)
    try:
        for several in _batches(ahead, batch, clips=regressor.system == "spectre"):
            seen = [one for one in several if one.crop is not None]
            for one in several:
                if one.crop is None:
                    where = f", frame {one.frame}" if one.frame > 0 else ""
                    work.skipped.append(f"{names[one.number]}{where}: {one.problem}")
            if seen:
                work.add(_rows(regressor, seen, on, landmarks=landmarks))
            last = several[-1]
            # A frame that could not be read ends its file.
            after = (last.number, last.frame + 1) if last.frame >= 0 else (last.number + 1, 0)
            work.keep(after, len(several))
            if on_progress:
                on_progress(last.number + 1, len(files), work.count)
    finally:
        # The caller's network is where it was.
        regressor.net.to("cpu")
    if not work.count:
        work.forget()
        why = f" ({work.skipped[0]})" if work.skipped else ""
        raise InputError(f"{source} holds no picture in which a face is found{why}.")
    work.finish(np.array(names))
    return BatchReport(path=target, faces=work.count, skipped=tuple(work.skipped))


def _fingerprint(net: torch.nn.Module) -> str:
    """Tells other weights apart."""
    sums = [float(value.double().sum()) for value in net.state_dict().values()]
    return hashlib.sha256(repr(sums).encode()).hexdigest()[:16]


def _faces(
    walk: Iterator[Picture], regressor: Regressor, detector: LandmarkDetector
) -> Iterator[_Seen]:
    """Crops of pictures."""
    for picture in walk:
        frame = picture.frame
        if frame is None:
            yield _Seen(number=picture.number, frame=-1, problem=picture.problem)
            continue
        found = detector.detect(frame, max_faces=1)
        if not len(found.landmarks):
            yield _Seen(number=picture.number, frame=frame.index, problem="no face found")
            continue
        face = choose_faces(found, "largest", source=frame.source)
        height, width = frame.rgb.shape[:2]
        if isinstance(regressor.net, OwnNet):
            square = square_from_landmarks(face.landmarks[0])
            pixels = torch.as_tensor(averaged_crop(frame.rgb, square, INPUT_PX))
            crop = pixels.permute(2, 0, 1).float() / 255
            back = torch.as_tensor(square.picture_from_crop(INPUT_PX)).float()
        else:
            crop, back = regressor.crop(frame, _single(face))
        yield _Seen(
            number=picture.number, frame=frame.index, time_s=frame.time_s, crop=crop,
            photo_from_crop=back, focal_px=focal_px(frame),
            picture_px=(float(width), float(height)),
        )  # fmt: skip


def _batches(ahead: Iterator[_Seen], size: int, *, clips: bool) -> Iterator[list[_Seen]]:
    """Pictures together; or frames that follow each other in one video, as many as there are.

    SPECTRE looks at frames in order: unrelated ones must not be seen together.
    """
    if not clips:
        while several := list(islice(ahead, size)):
            yield several
        return
    held: list[_Seen] = []
    for one in ahead:
        before = held[-1] if held else None
        follows = (
            before is not None and before.number == one.number and one.crop is not None
            and before.crop is not None
        )  # fmt: skip
        if held and (not follows or len(held) >= MOST_OF_A_CLIP):
            yield held
            held = []
        held.append(one)
    if held:
        yield held


def _rows(
    regressor: Regressor, seen: Sequence[_Seen], on: torch.device, *, landmarks: bool
) -> dict[str, Shaped[np.ndarray, "row ..."]]:
    """What a regressor says of faces, as arrays with one row each."""
    crops = torch.stack([one.crop for one in seen if one.crop is not None])
    back = torch.stack([one.photo_from_crop for one in seen if one.photo_from_crop is not None])
    focal = torch.tensor([one.focal_px for one in seen])
    size = torch.tensor([one.picture_px for one in seen]).float()
    out: dict[str, Any] = {
        "source": np.array([one.number for one in seen], np.int32),
        "frame": np.array([one.frame for one in seen], np.int32),
        "time_s": np.array([one.time_s for one in seen]),
    }
    said = {"photo_from_crop": back, "focal_px": focal, "picture_px": size}
    with torch.autocast(on.type, torch.float16, enabled=on.type == "cuda"):
        if isinstance(regressor.net, OwnNet):
            said |= _own(regressor.net, crops.to(on), back, focal, size, landmarks=landmarks)
        else:
            said |= flame_codes(regressor.system, regressor(crops.to(on)))
            said["crop_px"] = torch.full((len(crops),), float(crops.shape[-1]))
    return out | {k: v.float().cpu().numpy() for k, v in said.items()}


def _own(
    net: OwnNet, crops: Tensor, back: Tensor, focal: Tensor, size: Tensor, *, landmarks: bool
) -> dict[str, Tensor]:
    camera = Camera(
        fx=focal, fy=focal, cx=size[:, 0] / 2, cy=size[:, 1] / 2, width=1, height=1,
        camera_from_world=torch.eye(4).expand(len(focal), 4, 4),
    )  # fmt: skip
    guess = guess_heads(net, crops, back, camera)
    out = {
        **vars(guess.params), "shape_sd": guess.shape_sd, "expression_sd": guess.expression_sd
    }  # fmt: skip
    if landmarks:
        out |= {"landmarks_px": guess.landmarks_px, "landmark_sd_px": guess.landmark_sd_px}
    return out


def _single(face: Detection) -> Detection:
    """The one face of a batch of one."""
    return Detection(
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
        self.count += len(rows["source"])

    def keep(self, begun: tuple[int, int], looked: int) -> None:
        """Write when enough was looked at; a stop after that goes on from ``begun``."""
        self.held += looked
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
