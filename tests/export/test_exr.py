"""OpenEXR files, read back by OpenEXR itself."""

import numpy as np
import OpenEXR
import pytest

from face3d.core import InputError
from face3d.export import write_exr


def test_values_come_back_equal(tmp_path):
    values = np.random.default_rng(0).normal(0, 1e-3, (24, 32)).astype(np.float32)
    values[3, 4] = 0
    write_exr(tmp_path / "a.exr", values)
    (part,) = OpenEXR.File(str(tmp_path / "a.exr")).parts
    assert list(part.channels) == ["Y"]
    read = part.channels["Y"].pixels
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values)


def test_refused_without_a_trace(tmp_path):
    bad = np.zeros((4, 4), dtype=np.float32)
    bad[1, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        write_exr(tmp_path / "a.exr", bad)
    with pytest.raises(InputError, match=r"\.exr"):
        write_exr(tmp_path / "a.png", np.zeros((4, 4), dtype=np.float32))
    assert not list(tmp_path.iterdir())
