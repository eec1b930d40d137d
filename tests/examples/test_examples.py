"""Every example runs."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

EXAMPLES = Path(__file__).parents[2] / "examples"
ARGUMENTS = {
    "01_photo_to_glb.py": ["photo.png", "head.glb"],
    "02_make_the_head_older.py": ["older.ply"],
}


def test_no_example_is_left_out():
    assert {p.name for p in EXAMPLES.glob("*.py")} == set(ARGUMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_example(name, tmp_path):
    Image.fromarray(data.astronaut()).save(tmp_path / "photo.png")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *ARGUMENTS[name]],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ARGUMENTS[name][-1]).stat().st_size > 10000
