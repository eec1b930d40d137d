"""Faces in pictures: boxes and landmarks."""

from face3d.detect.detector import Backend as Backend
from face3d.detect.detector import LandmarkDetector as LandmarkDetector
from face3d.detect.detector import choose_faces as choose_faces
from face3d.detect.detector import load_detector as load_detector
