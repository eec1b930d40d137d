"""What a face detector does, how to get one, and how to choose among the faces it found."""

from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from face3d.core import Detection, DetectionError, Frame, InputError

Backend = Literal["mediapipe", "tasks"]


@runtime_checkable
class LandmarkDetector(Protocol):
    """Finds faces and their landmarks in one picture."""

    def detect(self, frame: Frame, *, max_faces: int) -> Detection:
        """Find up to ``max_faces`` faces.

        Args:
            frame: The picture. Small faces are enlarged and large pictures reduced as needed.
            max_faces: How many to return at most; asking for one is fastest.

        Returns:
            A record with a leading face axis, perhaps empty, the face with the largest box first.
            Landmarks are in px of the full picture, where the centre of the first pixel is at
            (0.5, 0.5), z is scaled like x and grows away from the camera, and both may lie
            outside the picture (visibility 0). Whether the face hides a landmark from the camera
            is not judged. The score, 0.5 to 1, tells how well several views of the face agree.

        Raises:
            InputError: ``max_faces`` is below one.
        """
        ...


def load_detector(backend: Backend = "mediapipe", *, model: Path | None = None) -> LandmarkDetector:
    """Load a face detector.

    Args:
        backend: "mediapipe" uses the models inside the MediaPipe 0.10 wheel; "tasks" uses a
            ``face_landmarker.task`` file and works with MediaPipe 0.10 and 1.x.
        model: The file for "tasks"; not for "mediapipe".

    Returns:
        The detector. Use one per thread.

    Raises:
        AssetError: The model file is missing or damaged.
        InputError: ``model`` is missing for "tasks", or given for "mediapipe".
        MissingDependencyError: MediaPipe is not installed or too new for "mediapipe".

    Example:
        >>> detector = load_detector()  # doctest: +SKIP
        >>> faces = detector.detect(read_image("group.jpg"), max_faces=10)  # doctest: +SKIP
    """
    if backend == "mediapipe":
        if model is not None:
            raise InputError(
                f"The back end 'mediapipe' has its own models; use 'tasks' for {model}."
            )
        from face3d.detect.mediapipe_mesh import MediapipeMesh

        return MediapipeMesh()
    if model is None:
        raise InputError("The back end 'tasks' needs the path of a face_landmarker.task file.")
    from face3d.detect.tasks_mesh import TasksMesh

    return TasksMesh(model)


def choose_faces(
    detection: Detection, which: Literal["largest", "all"] | int, *, source: str = "the picture"
) -> Detection:
    """Choose among the faces of one picture; the result keeps its leading face axis.

    Args:
        detection: Faces, largest first.
        which: "largest", "all", or the position in ``detection``, from 0.
        source: What to call the picture in messages.

    Raises:
        DetectionError: There is no face, or fewer than ``which`` asks for.
    """
    count = len(detection.score)
    if count == 0:
        raise DetectionError(
            f"No face was found in {source}; use a picture in which the face is upright, "
            "well lit, not covered, and at least 30 px high."
        )
    if which == "all":
        return detection
    index = 0 if which == "largest" else int(which)
    if not 0 <= index < count:
        faces = "1 face; choose 0" if count == 1 else f"{count}; choose 0 to {count - 1}"
        raise DetectionError(f"Face {index} was asked for, but {source} shows {faces}.")
    chosen = slice(index, index + 1)
    return Detection(
        box_xyxy=detection.box_xyxy[chosen],
        landmarks=detection.landmarks[chosen],
        layout=detection.layout,
        score=detection.score[chosen],
        visibility=detection.visibility[chosen],
    )
