"""From one photo to animatable heads: detect, fit, dress."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from face3d.assets import find_asset
from face3d.core.errors import InputError
from face3d.core.types import Detection, FitResult, Frame
from face3d.detect import LandmarkDetector, choose_faces, load_detector
from face3d.fit import (
    LandmarkFitter,
    LandmarkObservations,
    PhotometricFitter,
    corrected,
    read_landmark_noise,
)
from face3d.media import read_image
from face3d.model import HeadModel
from face3d.pipeline.head import Head
from face3d.pipeline.heads import OPEN_HEAD, load_head
from face3d.pipeline.likeness import View
from face3d.pipeline.observe import observation, observations, one_face, one_fit, one_observation
from face3d.pipeline.regressors import Regressor, require_head
from face3d.pipeline.true_size import KnownSizes

Photo = str | Path | bytes | Image.Image | np.ndarray
MAX_FACES = 256
"""Faces of one picture, at most."""

_LOCK = threading.Lock()


@lru_cache(maxsize=2)
def default_detector() -> LandmarkDetector:
    """The detector that the noise model is calibrated for, loaded once."""
    return load_detector("mediapipe")


@lru_cache(maxsize=4)
def _fitter(name: str, model: int = 0) -> LandmarkFitter:
    """The fitter of a head; ``model`` tells apart what a file of that name has held."""
    del model
    noise = read_landmark_noise(find_asset("landmark_noise"))
    return LandmarkFitter(load_head(name).data, noise)


MAX_PHOTOS = 64
"""Photos of one person, at most."""

Progress = Callable[[str], None]


def _silent(doing: str) -> None:
    """Nobody watches."""


def reconstruct(
    photo: Photo | Sequence[Photo],
    *,
    face: Literal["largest"] | int = "largest",
    head: str = OPEN_HEAD,
    texture: int = 1024,
    detector: LandmarkDetector | None = None,
    fast: bool = False,
    detail: bool = False,
    known: KnownSizes | Mapping[str, float] | None = None,
    regressor: Regressor | None = None,
    progress: Progress = _silent,
) -> Head:
    """Reconstruct one face of a photo, or one person from several photos.

    Args:
        photo: Path, encoded bytes, PIL image or uint8 array (h, w), (h, w, 3) or (h, w, 4).
            Pictures of more than 4096 px a side are reduced, and all px refer to that. A list of
            them shows one person: one identity is fitted to all, and the texture is taken from all.
        face: "largest", or a number counting from 0 by size. Of several photos always the largest.
        head: Name or file of the head model.
        texture: Texels on a side of the texture.
        detector: Another landmark detector than the default. It must give MediaPipe's 478
            landmarks, and is trusted as the default one is, whose errors were measured.
        fast: Fit landmarks only, in a tenth of the time. Without it form, light and albedo are
            also fitted to the colours of the skin.
        detail: Also find wrinkles, folds and pores: ``displacement``, ``normal_map``, ``relief``,
            and a normal map in files. Photos that show none are no error: ``detail_refused`` then
            says why.
        known: True sizes, for ``scale``: a mapping such as ``{"pupillary_distance": 63.0}`` in mm,
            or KnownSizes, which takes a card in the picture and a depth map, too.
        regressor: Of load_regressor. The own one gives the fit its start; of MICA the identity is
            kept; the others' heads are taken as they are. All but the own one give parameters of
            FLAME 2020, want that head, and leave out the fit to colours.
        progress: Called with what is done next, such as "form and light".

    Returns:
        The head; its ``mesh`` overlays the (first) photo through its ``camera``. Photos that seem
        to show somebody else are named in its ``strangers``.

    Raises:
        InputError: The photo cannot be read, or an option has no meaning.
        DetectionError: There is no (such) face in it.
        AssetError: The head is not installed.

    Example:
        >>> head = face3d.reconstruct("photo.jpg")  # doctest: +SKIP
        >>> head.save("head.glb")  # doctest: +SKIP
    """
    _require_choice(face)
    if known is not None and not isinstance(known, KnownSizes):
        known = KnownSizes(mm=known)
    progress("face and landmarks")
    found = _reconstructed(photo, face, head, texture, detector, regressor)
    if known is not None:
        found = replace(found, known=known)
        _ = found.scale  # what is known must fit the photo: say so now
    if not fast and (regressor is None or regressor.system == "own"):
        progress("form and light")
        found = _refined(found)
    if detail:
        progress("fine detail")
    return _detailed(found, detail)


def _detailed(head: Head, detail: bool) -> Head:
    """The same, with its relief found if that is asked for and possible."""
    if not detail:
        return head
    head = replace(head, detail=True)
    if head.detail_refused is None:
        _ = head.displacement
    return head


def _reconstructed(
    photo: Photo | Sequence[Photo],
    face: Literal["largest"] | int,
    head: str,
    texture: int,
    detector: LandmarkDetector | None,
    regressor: Regressor | None,
) -> Head:
    """One face of a photo, or one person in several."""
    if isinstance(photo, str | Path | bytes | Image.Image | np.ndarray):
        return _reconstruct(photo, face, head, texture, detector, regressor)[0]
    if not 0 < len(photo) <= MAX_PHOTOS:
        raise InputError(f"{len(photo)} photos were given; give 1 to {MAX_PHOTOS}.")
    if len(photo) == 1:
        return _reconstruct(photo[0], face, head, texture, detector, regressor)[0]
    if regressor is not None:
        raise InputError("A regressor takes one photo; leave it out, or give one photo.")
    if face != "largest":
        raise InputError("Of several photos the largest face is taken; leave out the face.")
    return _one_person(photo, head, texture, detector)


def _require_choice(face: object) -> None:
    if face != "largest" and not (isinstance(face, int) and face >= 0):
        raise InputError(f"face is {face!r}; use 'largest' or a number from 0.")


def reconstruct_all(
    photo: Photo,
    *,
    head: str = OPEN_HEAD,
    texture: int = 1024,
    detector: LandmarkDetector | None = None,
    fast: bool = False,
    detail: bool = False,
    progress: Progress = _silent,
) -> list[Head]:
    """Reconstruct every face of a photo, largest first, up to 256; options as of reconstruct."""
    progress("faces and landmarks")
    found = _reconstruct(photo, "all", head, texture, detector)
    done: list[Head] = []
    for number, one in enumerate(found, 1):
        if detail or not fast:
            progress(f"face {number} of {len(found)}")
        done.append(_detailed(one if fast else _refined(one), detail))
    return done


def _reconstruct(
    photo: Photo,
    which: Literal["largest", "all"] | int,
    head: str,
    texture: int,
    detector: LandmarkDetector | None,
    regressor: Regressor | None = None,
) -> list[Head]:
    frame = read_image(photo)
    if regressor is not None:
        require_head(regressor.system, head)
    model = load_head(head)
    # The largest comes first, and the detector is fastest when asked for one face only.
    most = 1 if which == "largest" else MAX_FACES
    # The detector keeps state, and the fit sets torch's threads for the whole process.
    with _LOCK:
        found = (detector or default_detector()).detect(frame, max_faces=most)
        chosen = choose_faces(found, which, source=frame.source or "the picture")
        with torch.no_grad():
            fits = _fits(_fitter(head, id(model)), model, frame, chosen, regressor)
    return [
        Head(
            model=model,
            frame=frame,
            detection=one_face(chosen, k),
            fit=fit,
            texture_size=texture,
            head=head,
        )
        for k, fit in enumerate(fits)
    ]


def _fits(
    fitter: LandmarkFitter, model: HeadModel, frame: Frame, found: Detection,
    regressor: Regressor | None,
) -> list[FitResult]:  # fmt: skip
    """The head of each detected face."""
    seen, count = observations(frame, found), range(len(found.landmarks))
    if regressor is None:
        fits = fitter.fit(seen)
        return [one_fit(fits, k) for k in count]
    return [
        regressor.fit(fitter, model, frame, one_face(found, k), one_observation(seen, k))
        for k in count
    ]


def _one_person(
    photos: Sequence[Photo], head: str, texture: int, detector: LandmarkDetector | None
) -> Head:
    """One identity for all photos."""
    frames = [read_image(photo) for photo in photos]
    model = load_head(head)
    with _LOCK:
        faces: list[Detection] = []
        seen: list[LandmarkObservations] = []
        for frame in frames:
            found = (detector or default_detector()).detect(frame, max_faces=1)
            chosen = choose_faces(found, "largest", source=frame.source or "a picture")
            faces.append(one_face(chosen, 0))
            seen.append(observation(frame, faces[-1]))
        with torch.no_grad():
            fitter = _fitter(head, id(model))
            fits, misfits = fitter.fit_person(seen)
    views = [
        View(frame=frame, detection=face, fit=fit, misfit=misfit)
        for frame, face, fit, misfit in zip(frames, faces, fits, misfits, strict=True)
    ]
    return Head(
        model=model,
        frame=frames[0],
        detection=faces[0],
        fit=fits[0],
        texture_size=texture,
        head=head,
        others=tuple(views[1:]),
        misfit=misfits[0],
    )


def _refined(head: Head) -> Head:
    """The same person with form and light fitted to colours."""
    photos = (head, *head.others)
    seen = [observation(p.frame, p.detection) for p in photos]
    with _LOCK:
        refined = _photometric(head.head, id(head.model)).refine(
            [p.frame.rgb for p in photos], seen
        )
    fits, lights = refined.fits, refined.light
    others = (
        replace(o, fit=fit, light=light)
        for o, fit, light in zip(head.others, fits[1:], lights[1:], strict=True)
    )
    model = HeadModel(corrected(head.model.data, refined.offsets.numpy()))
    return replace(
        head, model=model, offsets=refined.offsets, fit=fits[0], light=lights[0],
        others=tuple(others),
    )  # fmt: skip


@lru_cache(maxsize=2)
def _photometric(name: str, model: int) -> PhotometricFitter:
    return PhotometricFitter(_fitter(name, model))
