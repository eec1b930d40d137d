"""Fitting heads to observations."""

from face3d.fit.corrective import corrected as corrected
from face3d.fit.landmark_fit import LandmarkFitter as LandmarkFitter
from face3d.fit.landmark_fit import LandmarkObservations as LandmarkObservations
from face3d.fit.landmark_noise import LandmarkNoise as LandmarkNoise
from face3d.fit.landmark_noise import read_landmark_noise as read_landmark_noise
from face3d.fit.photometric_fit import PhotometricFitter as PhotometricFitter
from face3d.fit.photometric_fit import Refined as Refined
from face3d.fit.priors import FitPriors as FitPriors
