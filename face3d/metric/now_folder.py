"""The official NoW folder, and a folder of predictions for it.

The folder as the NoW site gives it::

    imagepathsvalidation.txt        one picture a line, SUBJECT/CATEGORY/PICTURE.jpg
    imagepathstest.txt              the same, for the part whose scans are not given
    scans/SUBJECT/*.obj             millimetres
    scans_lmks_onlypp/SUBJECT/*.pp  the seven landmarks

and predictions as SUBJECT/CATEGORY/PICTURE.obj or .ply, with the landmarks beside them under the
same name as .txt, .npy, .pp or .json.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from face3d.core.errors import InputError
from face3d.metric.landmark_files import LANDMARK_SUFFIXES

PREDICTION_SUFFIXES = (".obj", ".ply")

NowPart = Literal["validation", "test"]


@dataclass(frozen=True, kw_only=True)
class NowCase:
    """One picture of the benchmark."""

    picture: str  # SUBJECT/CATEGORY/PICTURE.jpg
    subject: str
    category: str
    scan: Path
    scan_landmarks: Path
    prediction: Path
    prediction_landmarks: Path


def read_now_folder(folder: Path, predictions: Path, *, part: NowPart) -> list[NowCase]:
    """The pictures of one part of NoW, each with its scan and its prediction.

    Args:
        folder: The official folder.
        predictions: The folder with a method's meshes.
        part: "validation", or "test" for those who have its scans.

    Raises:
        InputError: A folder or file is missing, or a line of the list is no picture of it.
    """
    for path, what in ((folder, "NoW folder"), (predictions, "folder of predictions")):
        if not path.is_dir():
            raise InputError(f"The {what} {path} does not exist; check the name.")
    pictures = _pictures(folder / f"imagepaths{part}.txt")
    for name in ("scans", "scans_lmks_onlypp"):
        if not (folder / name).is_dir():
            raise InputError(
                f"{folder} has no folder {name}; download it from now.is.tue.mpg.de and put it "
                "there."
            )
    found = [_prediction(predictions / picture) for picture in pictures]
    missing = [p for p, f in zip(pictures, found, strict=True) if f is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(pictures)} predictions are missing in {predictions}, the "
            f"first for {missing[0]}; give a mesh ({', '.join(PREDICTION_SUFFIXES)}) and its "
            f"landmarks ({', '.join(LANDMARK_SUFFIXES)}) of that name."
        )
    cases: list[NowCase] = []
    for picture, pair in zip(pictures, found, strict=True):
        assert pair is not None
        subject, category = picture.split("/")[:2]
        cases.append(
            NowCase(
                picture=picture,
                subject=subject,
                category=category,
                scan=_only(folder / "scans" / subject, (".obj", ".ply"), "scan"),
                scan_landmarks=_only(
                    folder / "scans_lmks_onlypp" / subject, (".pp",), "landmark file"
                ),
                prediction=pair[0],
                prediction_landmarks=pair[1],
            )
        )
    return cases


def _pictures(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The list of pictures {path} cannot be read; give the folder as NoW's site has it."
        ) from error
    pictures = [line.strip().replace("\\", "/") for line in lines if line.strip()]
    if not pictures:
        raise InputError(f"{path} lists no pictures; download it again.")
    for picture in pictures:
        parts = PurePosixPath(picture).parts
        if len(parts) != 3 or ".." in parts or picture.startswith("/"):
            raise InputError(
                f"{path} has the line {picture[:80]!r}, which is not SUBJECT/CATEGORY/PICTURE; "
                "download it again."
            )
    return pictures


def _prediction(picture: Path) -> tuple[Path, Path] | None:
    """The mesh and the landmarks for a picture, if both are there."""
    meshes = [picture.with_suffix(s) for s in PREDICTION_SUFFIXES]
    landmarks = [picture.with_suffix(s) for s in LANDMARK_SUFFIXES]
    mesh = next((p for p in meshes if p.is_file()), None)
    marks = next((p for p in landmarks if p.is_file()), None)
    return None if mesh is None or marks is None else (mesh, marks)


def _only(folder: Path, suffixes: tuple[str, ...], what: str) -> Path:
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in suffixes)
    if len(files) != 1:
        raise InputError(
            f"{folder} has {len(files)} files that could be the {what} ({', '.join(suffixes)}); "
            "there must be one."
        )
    return files[0]
