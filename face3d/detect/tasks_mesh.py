"""Faces by MediaPipe Tasks and a ``face_landmarker.task`` file; works with MediaPipe 1.x too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from face3d.core import AssetError, Detection, Frame, MissingDependencyError
from face3d.detect.crops import Square, crop, landmarks_from_crop, square_from_landmarks
from face3d.detect.ladder import Reach, find_faces
from face3d.detect.quiet import quiet_stderr
from face3d.detect.refine import Proposal

_MANY = 32  # faces in one view; more are found in tiles

# The task tells no score. This one asks the refinement for a middling agreement of its views.
_UNKNOWN_SCORE = 0.65


class TasksMesh:
    """Detector on a Face Landmarker bundle, which the user downloads once.

    Use one per thread. The bundle has no detector for far faces; tiles find those.
    """

    crop_px = 256
    crop_margin = 2.0  # the task searches the crop itself and wants room around the face
    reaches: tuple[Reach, ...] = ("near",)

    def __init__(self, model: Path) -> None:
        if not model.is_file():
            raise AssetError(
                f"The Face Landmarker file {model} does not exist; download "
                "face_landmarker.task from ai.google.dev/edge/mediapipe and give its path."
            )
        with quiet_stderr():
            self._mediapipe, self._many, self._one = _load_landmarkers(model)
            blank = np.zeros((self.crop_px, self.crop_px, 3), dtype=np.uint8)
            self._faces(self._many, blank)
            self._faces(self._one, blank)

    def detect(self, frame: Frame, *, max_faces: int) -> Detection:
        """Find faces; see ``face3d.detect.detector.LandmarkDetector``."""
        return find_faces(self, frame, max_faces=max_faces)

    def propose(self, rgb: UInt8[np.ndarray, "h w 3"], reach: Reach) -> Sequence[Proposal]:
        """Places in a picture where a face may be, in its px."""
        return [
            Proposal(square=square_from_landmarks(landmarks), score=_UNKNOWN_SCORE)
            for landmarks in self._faces(self._many, rgb)
        ]

    def mesh(
        self, pixels: UInt8[np.ndarray, "h w 3"], square: Square
    ) -> Float[np.ndarray, "478 3"] | None:
        """Landmarks of the face that fills a square of a picture, in the picture's px, or none."""
        # The task takes no region that is turned, so the square is cut out for it.
        faces = self._faces(self._one, crop(pixels, square, size_px=self.crop_px))
        return landmarks_from_crop(square, self.crop_px, faces[0]) if faces else None

    def _faces(
        self, landmarker: Any, rgb: UInt8[np.ndarray, "h w 3"]
    ) -> list[Float[np.ndarray, "478 3"]]:
        """The landmarks of the faces in a picture, in its px; z is divided by the width too."""
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb)
        )
        height, width = rgb.shape[:2]
        return [
            np.array([(point.x, point.y, point.z) for point in face]) * [width, height, width]
            for face in landmarker.detect(image).face_landmarks
        ]


def _load_landmarkers(model: Path) -> tuple[Any, Any, Any]:
    """The mediapipe module, a landmarker for many faces and one for crops of one face.

    Raises:
        AssetError: The file is no Face Landmarker bundle.
        MissingDependencyError: MediaPipe is missing.
    """
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise MissingDependencyError(
            "MediaPipe is needed to find faces; install the package 'mediapipe'."
        ) from error

    def load(num_faces: int) -> Any:
        return vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(model)), num_faces=num_faces
            )
        )

    try:
        return mediapipe, load(_MANY), load(1)
    except (RuntimeError, ValueError) as error:
        raise AssetError(
            f"{model} is not a Face Landmarker bundle; download face_landmarker.task again."
        ) from error
