"""Photos and videos of a folder, one picture after the other, however many there are."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from face3d.core.errors import InputError
from face3d.core.types import Frame
from face3d.media.frames import is_video, video_frames
from face3d.media.image import read_image

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".ppm"}
)

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a walk; or why there is none."""

    number: int  # of the file
    frame: Frame | None  # None: the file, or the rest of it, cannot be read
    problem: str = ""


def files_in(path: Path) -> list[Path]:
    """Photos and videos below a folder, in order; or the one that is given.

    Raises:
        InputError: There is no such path, or nothing to look at below it.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"There is no folder {path}.")
    found = sorted(
        p for p in path.rglob("*")
        if p.is_file() and (p.suffix.lower() in IMAGE_SUFFIXES or is_video(p))
        and not any(part.startswith(".") for part in p.relative_to(path).parts)
    )  # fmt: skip
    if not found:
        raise InputError(f"{path} holds no photos and no videos.")
    return found


def pictures(
    files: Sequence[Path], *, every: int = 1, first: tuple[int, int] = (0, 0)
) -> Iterator[Picture]:
    """All pictures of files; what cannot be read is said and passed over.

    Args:
        files: Photos and videos.
        every: Take each n-th frame of videos.
        first: Number of the file and of the frame to begin with.
    """
    for number in range(first[0], len(files)):
        path, begin = files[number], first[1] if number == first[0] else 0
        try:
            if is_video(path):
                for frame in video_frames(path, every=every):
                    if frame.index >= begin:
                        yield Picture(number=number, frame=frame)
            elif begin == 0:
                yield Picture(number=number, frame=read_image(path))
        except InputError as error:
            yield Picture(number=number, frame=None, problem=str(error))


def prefetched(items: Iterable[Item], ahead: int) -> Iterator[Item]:
    """The same items, the next ones made in another thread while one is worked on.

    Args:
        items: What raises there is raised here, in its place.
        ahead: How many are made before they are asked for; that many are held.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(ahead)
    stop = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:  # noqa: BLE001  whoever asks for the next item gets it
            put((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
