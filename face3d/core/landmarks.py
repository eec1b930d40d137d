"""Landmark layouts: how many points a name means, and which of them are what."""

LAYOUT_SIZES: dict[str, int] = {"mediapipe478": 478, "ibug68": 68}
"""Points in each layout; mediapipe478 is the 468-point face mesh followed by two irises."""

IRISES_FROM = 468
"""mediapipe478: those before lie on the face's skin and lips."""

LEFT_IRIS = range(473, 478)
"""mediapipe478: centre, then four points on the ring, of the subject's left iris."""

RIGHT_IRIS = range(468, 473)
"""mediapipe478: the same of the subject's right iris."""

EYE_OUTER_LEFT, EYE_OUTER_RIGHT, CHIN = 263, 33, 152
"""mediapipe478: the corners that span the box to which landmark errors are related."""
