"""Which face-mesh points change places when a face is mirrored."""

import numpy as np
from jaxtyping import Int

# The points of the middle line below 248. All others below 248 lie on the subject's right, and
# their partners follow in the same order from 248 on, as the exactly symmetric
# canonical_face_model.obj of MediaPipe (Apache-2.0) shows.
_MIDDLE = {0, 1, 2, 4, 5, 6, *range(8, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200}

# That file lacks the irises; their order was seen in the meshes of mirrored photographs. The ring
# starts at the side of the subject's left in both eyes, so its first and third points swap.
_RIGHT_IRIS = (468, 469, 470, 471, 472)
_LEFT_IRIS = (473, 476, 475, 474, 477)


def mirrored_indices() -> Int[np.ndarray, "478"]:
    """For each point of mediapipe478 the one that lies there in the mirrored picture."""
    right = [*(i for i in range(248) if i not in _MIDDLE), *_RIGHT_IRIS]
    left = [*range(248, 468), *_LEFT_IRIS]
    indices = np.arange(478)
    indices[right], indices[left] = left, right
    return indices
