"""OpenEXR: maps whose values are measures, not colours."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from face3d.core import atomic_path
from face3d.core.checks import require_finite
from face3d.export.files import require_suffix


def write_exr(path: Path, values: Float[np.ndarray, "h w"]) -> None:
    """Write one channel, Y, in 32-bit floats without loss.

    Args:
        path: Ends in .exr.
        values: Top row first.

    Raises:
        InputError: A value is not finite, or the file cannot be written.
    """
    # Takes 0.1 s, which only who writes one should wait for.
    import OpenEXR

    require_suffix(path, ".exr")
    require_finite("The map", values)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with atomic_path(path) as temporary:
        pixels = np.ascontiguousarray(values, dtype=np.float32)
        OpenEXR.File(header, {"Y": pixels}).write(str(temporary))
