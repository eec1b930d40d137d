"""Moving pictures in: the frames of a video, one by one."""

import os
from collections.abc import Generator
from pathlib import Path

import numpy as np

from face3d.core.errors import InputError
from face3d.core.types import Frame

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ogv"}
)
MAX_SIDE_PX = 4096
USUAL_FPS = 25.0


def is_video(path: Path) -> bool:
    """Whether a file's name is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def video_frames(path: Path, *, every: int = 1) -> Generator[Frame]:
    """The frames of a video, upright, sRGB; only one is held at a time.

    Args:
        path: Anything that OpenCV's FFmpeg reads.
        every: Take each n-th frame only.

    Raises:
        InputError: There is no such file, it is no video, or its frames are too large.
    """
    import cv2

    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if every < 1:
        raise InputError(f"every is {every}; give at least 1.")
    # FFmpeg writes to the terminal what it thinks of damaged files; ours is one sentence.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    said = cv2.setLogLevel(0)
    try:
        stream = cv2.VideoCapture(str(path))
    finally:
        cv2.setLogLevel(said)
    try:
        fps = float(stream.get(cv2.CAP_PROP_FPS)) if stream.isOpened() else 0.0
        fps = fps if np.isfinite(fps) and fps > 0 else USUAL_FPS
        number = 0
        while stream.isOpened() and stream.grab():
            if number % every == 0:
                whole, picture = stream.retrieve()
                if not whole:
                    break
                if max(picture.shape[:2]) > MAX_SIDE_PX:
                    raise InputError(
                        f"{path} has frames of more than {MAX_SIDE_PX} px; make them smaller."
                    )
                yield Frame(
                    rgb=np.ascontiguousarray(picture[..., ::-1]),
                    time_s=number / fps,
                    index=number,
                    source=f"{path}, frame {number}",
                )
            number += 1
        if number == 0:
            raise InputError(f"{path} is no video that can be read; give an MP4 or MOV file.")
    finally:
        stream.release()
