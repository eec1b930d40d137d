"""Errors that a user can act on: one sentence that says what is wrong and what to do."""


class Face3dError(Exception):
    """Base of every error that face3d raises on purpose; the command line exits with 2 for it."""


class InputError(Face3dError, ValueError):
    """The data or the options handed in cannot be used as they are."""


class DetectionError(Face3dError):
    """No usable face was found in an image that was itself readable."""


class AssetError(Face3dError):
    """A head, model or data file is missing, damaged or not the one that was expected."""


class MissingDependencyError(Face3dError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""
