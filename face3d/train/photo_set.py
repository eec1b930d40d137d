"""Sets of faces cut out of photos and videos, for training without labels.

A set is a folder with ``set.json``, which says what was cut out of what, and files of faces
(``faces_00000.npz``). The detector looks at every picture once; a stopped run is gone on with.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from face3d.core.errors import InputError
from face3d.core.files import atomic_path
from face3d.core.npz import NpzError, read_npz
from face3d.core.types import Frame
from face3d.detect import LandmarkDetector, choose_faces
from face3d.detect.crops import averaged_crop, square_from_landmarks
from face3d.media import files_in, is_video, pictures
from face3d.regress.own_net import INPUT_PX
from face3d.regress.system_crops import system_crop

ABOUT = "set.json"
NAME = "faces_{:05d}.npz"
PER_FILE = 256
Progress = Callable[[int, int], None]
_Row = tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "478 2"], int, int, int]


@dataclass(frozen=True, kw_only=True)
class PhotoFaces:
    """Faces of a set; one row each, in the order of files and frames.

    Attributes:
        rgb: Crops as the system makes them.
        landmarks: MediaPipe's, from -1 to 1 across the crop.
        source: Number of the file.
        person: Number of the folder that the file lies in; videos are persons of their own.
        frame: Number in the video; 0 in photos.
    """

    rgb: UInt8[np.ndarray, "n s s 3"]
    landmarks: Float[np.ndarray, "n 478 2"]
    source: Int[np.ndarray, "n"]
    person: Int[np.ndarray, "n"]
    frame: Int[np.ndarray, "n"]


def write_photo_set(
    images: Path,
    folder: Path,
    system: str,
    detector: LandmarkDetector,
    *,
    every: int = 1,
    on_progress: Progress | None = None,
) -> tuple[str, ...]:
    """Cut the largest face out of every picture below a folder, as far as that is not done.

    Args:
        images: Photos and videos; one folder for each person, where there are several of one.
        folder: Of the set.
        system: Whose crops to make; or "own".
        detector: What finds faces.
        every: Take each n-th frame of videos.
        on_progress: Called with how many files are done and how many there are.

    Returns:
        What was skipped, and why, one line each.

    Raises:
        InputError: There are no pictures, or no face is in any; or the folder holds another set.
    """
    if every < 1:
        raise InputError(f"every is {every}; give at least 1.")
    files = files_in(images)
    root = images if images.is_dir() else images.parent
    names = [str(p.relative_to(root)) for p in files]
    wanted = {
        "system": system, "every": every, "root": str(root.resolve()), "files": names,
        "sizes": [p.stat().st_size for p in files],
    }  # fmt: skip
    about = _claimed(folder, wanted)
    persons = {name: k for k, name in enumerate(sorted({_person(Path(n)) for n in names}))}
    rows: list[_Row] = []

    def keep(done: int, frame: int) -> None:
        """Write what there is; a stop after this goes on behind it."""
        if rows:
            _write_rows(folder / NAME.format(about["written"]), rows)
            about["written"] += 1
            rows.clear()
        about.update(done=done, frame=frame)
        _write_about(folder, about)

    begun = (about["done"], about["frame"])
    at, seen = begun[0], begun[1] > 0
    for picture in pictures(files, every=every, first=begun):
        if picture.number != at:
            _without_face(about, names[at], seen=seen)
            at, seen = picture.number, False
            if on_progress:
                on_progress(at, len(files))
        if picture.frame is None:
            about["skipped"].append(f"{names[at]}: {picture.problem}")
            seen = True
            continue
        cut = face_crop(picture.frame, system, detector)
        if cut is None:
            continue
        seen = True
        rows.append((*cut, at, persons[_person(Path(names[at]))], picture.frame.index))
        # The set is never held as a whole: videos may be long.
        if len(rows) == PER_FILE:
            keep(at, picture.frame.index + 1)
    if at < len(files):
        _without_face(about, names[at], seen=seen)
    if on_progress:
        on_progress(len(files), len(files))
    keep(len(files), 0)
    if not about["written"]:
        raise InputError(f"{images} holds no picture in which a face is found.")
    return tuple(about["skipped"])


def read_photo_set(folder: Path) -> PhotoFaces:
    """All faces of a set.

    Raises:
        InputError: It is missing or damaged.
    """
    parts = sorted(folder.glob("faces_*.npz"))
    if not parts:
        raise InputError(f"{folder} holds no set of faces.")
    try:
        each = [read_npz(part) for part in parts]
        return PhotoFaces(
            **{k: np.concatenate([part[k] for part in each]) for k in PhotoFaces.__annotations__}
        )
    except (NpzError, KeyError, ValueError) as error:
        raise InputError(f"{folder} is damaged; delete it and prepare it anew.") from error


def _person(name: Path) -> str:
    return str(name) if is_video(name) else str(name.parent)


def _without_face(about: dict[str, Any], name: str, *, seen: bool) -> None:
    if not seen:
        about["skipped"].append(f"{name}: no face found")


def face_crop(
    frame: Frame, system: str, detector: LandmarkDetector
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "478 2"]] | None:
    """The largest face of a picture as a system cuts it out, and its landmarks from -1 to 1.

    Returns:
        None if there is no face.
    """
    found = detector.detect(frame, max_faces=1)
    if not len(found.landmarks):
        return None
    points = choose_faces(found, "largest", source=frame.source).landmarks[0, :, :2]
    if system == "own":
        square = square_from_landmarks(points)
        pixels, half = averaged_crop(frame.rgb, square, INPUT_PX), 0.0
        back = square.picture_from_crop(INPUT_PX)
    else:
        crop = system_crop(system, frame.rgb, points)
        # There a pixel's place is its index.
        pixels, half, back = crop.pixels, 0.5, crop.photo_from_crop
    into = np.linalg.inv(np.vstack([back, [0, 0, 1]]))[:2]
    inside = points @ into[:, :2].T + into[:, 2] + half
    return pixels, (2 * inside / pixels.shape[0] - 1).astype(np.float32)


def _write_rows(path: Path, rows: list[_Row]) -> None:
    rgb, landmarks, source, person, frame = zip(*rows, strict=True)
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file, rgb=np.stack(rgb), landmarks=np.stack(landmarks), source=np.array(source),
            person=np.array(person), frame=np.array(frame),
        )  # fmt: skip


def _claimed(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """What is known of a set; a new folder is begun."""
    path = folder / ABOUT
    if path.exists():
        try:
            there = json.loads(path.read_text())
            same = all(there[k] == v for k, v in wanted.items())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} cannot be read; delete {folder}.") from error
        if not same:
            raise InputError(
                f"{folder} holds faces of other pictures, or cut out for another system; delete it "
                "or give another folder."
            )
        return there
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no set of ours; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    about = wanted | {"done": 0, "frame": 0, "written": 0, "skipped": []}
    _write_about(folder, about)
    return about


def _write_about(folder: Path, about: dict[str, Any]) -> None:
    with atomic_path(folder / ABOUT) as partial:
        partial.write_text(json.dumps(about, indent=1))
