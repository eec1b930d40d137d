"""Faces by the models inside the MediaPipe wheel (0.10, the last series with ``solutions``)."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from face3d.core import Detection, Frame, MissingDependencyError
from face3d.detect.crops import FACE_MARGIN, Square
from face3d.detect.ladder import Reach, find_faces
from face3d.detect.quiet import quiet_stderr
from face3d.detect.refine import Proposal

_MIN_SCORE = 0.5  # what MediaPipe itself takes for a face; refinement is the real judge

# MediaPipe's FaceMesh always searches the picture itself. Its inner graph is used directly here,
# because it takes the place of the face from us. The landmarks are withheld where the network's
# presence score is below 0.5.
_MESH_GRAPH = """
input_stream: "IMAGE:image"
input_stream: "ROI:roi"
input_side_packet: "WITH_ATTENTION:with_attention"
output_stream: "LANDMARKS:landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""


class MediapipeMesh:
    """Detector on the models of the MediaPipe wheel; nothing to download.

    Use one per thread: its graphs keep state while they run.
    """

    crop_px = 192
    crop_margin = FACE_MARGIN
    reaches: tuple[Reach, ...] = ("near", "far")

    def __init__(self) -> None:
        with quiet_stderr():
            self._detectors, self._mesh, self._rect = _load_graphs()
            # The graphs start with their first picture, and so does the rest of their chatter.
            blank = np.zeros((self.crop_px, self.crop_px, 3), dtype=np.uint8)
            self.mesh(blank, Square(x=96.0, y=96.0, side=192.0))
            for reach in self.reaches:
                self.propose(blank, reach)

    def detect(self, frame: Frame, *, max_faces: int) -> Detection:
        """Find faces; see ``face3d.detect.detector.LandmarkDetector``."""
        return find_faces(self, frame, max_faces=max_faces)

    def propose(self, rgb: UInt8[np.ndarray, "h w 3"], reach: Reach) -> Sequence[Proposal]:
        """Places in a picture where a face may be, in its px."""
        found = self._detectors[reach].process(rgb).detections or ()
        return [_proposal(detection, rgb.shape[1], rgb.shape[0]) for detection in found]

    def mesh(
        self, pixels: UInt8[np.ndarray, "h w 3"], square: Square
    ) -> Float[np.ndarray, "478 3"] | None:
        """Landmarks of the face that fills a square of a picture, in the picture's px, or none."""
        height, width = pixels.shape[:2]
        roi = self._rect(
            x_center=square.x / width,
            y_center=square.y / height,
            width=square.side / width,
            height=square.side / height,
            rotation=square.angle_rad,
        )
        landmarks = self._mesh.process({"image": pixels, "roi": roi}).landmarks
        if landmarks is None:
            return None
        # MediaPipe's x counts from the picture's edge; z is divided by the width, too.
        points = [(point.x, point.y, point.z) for point in landmarks.landmark]
        # It cuts its input out as if pixel centres were at integers, in the picture and in the
        # input alike, which moves what the network sees by half a pixel of each.
        cut = square.picture_from_crop(self.crop_px)[:, :2] @ np.full(2, 0.5)
        return np.array(points) * [width, height, width] + [0.5 - cut[0], 0.5 - cut[1], 0.0]


def _load_graphs() -> tuple[dict[Reach, Any], Any, Any]:
    """The detectors by their reach, the mesh graph and the class of its regions of interest.

    Raises:
        MissingDependencyError: MediaPipe is missing, or is of the series without these models.
    """
    try:
        from google.protobuf import text_format
        from mediapipe.python.solution_base import SolutionBase
        from mediapipe.python.solutions import face_detection

        # Modules made by protobuf have no types. That of face_mesh is only imported because it
        # registers the options that the inner graph needs.
        calculator_pb2: Any = importlib.import_module("mediapipe.framework.calculator_pb2")
        rect_pb2: Any = importlib.import_module("mediapipe.framework.formats.rect_pb2")
        importlib.import_module("mediapipe.python.solutions.face_mesh")
    except ImportError as error:
        raise MissingDependencyError(
            "The models of the MediaPipe wheel are needed to find faces; install "
            "'mediapipe<0.11', or choose the back end 'tasks' with a model file."
        ) from error

    def detector(model_selection: int) -> Any:
        return face_detection.FaceDetection(
            model_selection=model_selection, min_detection_confidence=_MIN_SCORE
        )

    detectors: dict[Reach, Any] = {"near": detector(0), "far": detector(1)}
    config = text_format.Parse(_MESH_GRAPH, calculator_pb2.CalculatorGraphConfig())
    mesh = SolutionBase(graph_config=config, side_inputs={"with_attention": True})
    return detectors, mesh, rect_pb2.NormalizedRect


def _proposal(detection: Any, width: int, height: int) -> Proposal:
    """A proposal from a detection, which is relative to the picture's size."""
    box = detection.location_data.relative_bounding_box
    right_eye, left_eye = detection.location_data.relative_keypoints[:2]
    across = np.array([(left_eye.x - right_eye.x) * width, (left_eye.y - right_eye.y) * height])
    return Proposal(
        square=Square(
            x=(box.xmin + box.width / 2) * width,
            y=(box.ymin + box.height / 2) * height,
            side=FACE_MARGIN * max(box.width * width, box.height * height),
            angle_rad=float(np.arctan2(across[1], across[0])),
        ),
        score=float(detection.score[0]),
    )
