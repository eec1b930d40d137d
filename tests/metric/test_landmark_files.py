import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from face3d.core.errors import InputError
from face3d.metric import FROM_IBUG68, FROM_MEDIAPIPE478, read_landmarks

SEVEN = np.random.default_rng(0).normal(size=(7, 3)) * 50


def picked(points: np.ndarray) -> str:
    rows = "".join(
        f' <point x="{x}" y="{y}" active="1" name="{k}" z="{z}"/>\n'
        for k, (x, y, z) in enumerate(points.tolist())
    )
    return f"<!DOCTYPE PickedPoints>\n<PickedPoints>\n{rows}</PickedPoints>\n"


def test_every_format_gives_the_same_points(tmp_path: Path):
    lines = [" ".join(map(str, row)) for row in SEVEN.tolist()]
    contents = {
        "a.pp": picked(SEVEN),
        "b.PP": picked(SEVEN).replace('"', "'"),
        "a.txt": "# seven points\n" + "\n".join(lines) + "\n\n",
        "b.txt": "\n".join(line.replace(" ", ", ") for line in lines),
        "a.json": json.dumps(SEVEN.tolist()),
        "b.json": json.dumps({"landmarks": SEVEN.tolist()}),
        "c.json": json.dumps({f"p{k}": row for k, row in enumerate(SEVEN.tolist())}),
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    np.save(tmp_path / "a.npy", SEVEN)
    np.save(tmp_path / "b.npy", SEVEN.reshape(1, 7, 3))
    np.save(tmp_path / "c.npy", SEVEN.ravel())
    for name in (*contents, "a.npy", "b.npy", "c.npy"):
        np.testing.assert_array_equal(read_landmarks(tmp_path / name), SEVEN)


@pytest.mark.parametrize(
    ("count", "which"),
    [(68, FROM_IBUG68), (51, [i - 17 for i in FROM_IBUG68]), (478, FROM_MEDIAPIPE478)],
)
def test_the_seven_are_picked_from_larger_layouts(tmp_path: Path, count: int, which: Any):
    points = np.arange(count * 3.0).reshape(count, 3)
    np.save(tmp_path / "all.npy", points)
    np.testing.assert_array_equal(read_landmarks(tmp_path / "all.npy"), points[list(which)])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.pts", b"1 2 3", "no landmark file"),
        ("a.txt", b"1 2 3\n" * 6, "7 points"),
        ("a.txt", b"1 2\n" * 7, "7 points"),
        ("a.txt", b"1 2 x\n" * 7, "7 points"),
        ("a.txt", b"1 2 3\n" * 6 + b"1 2\n", "7 points"),
        ("a.txt", b"1 2 nan\n" * 7, "finite"),
        ("a.txt", b"\xff\xfe\x00", "7 points"),
        ("a.txt", b"", "7 points"),
        ("a.txt", b"1 2 3\n" * 400_000, "too large"),
        ("a.pp", b"<PickedPoints><point x='1' y='2'/></PickedPoints>", "7 points"),
        ("a.pp", b"nothing", "7 points"),
        ("a.npy", b"\x93NUMPY", "7 points"),
        ("a.json", b"{", "7 points"),
        ("a.json", b'"text"', "7 points"),
        ("a.json", b"3", "7 points"),
    ],
)
def test_bad_files_are_said(tmp_path: Path, name: str, content: bytes, says: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_landmarks(tmp_path / name)


def test_objects_and_missing_files_are_refused(tmp_path: Path):
    np.save(tmp_path / "o.npy", np.array([{}] * 7), allow_pickle=True)
    np.save(tmp_path / "s.npy", np.array([["1", "2", "3"]] * 7))
    for name in ("o.npy", "s.npy"):
        with pytest.raises(InputError, match="7 points"):
            read_landmarks(tmp_path / name)
    with pytest.raises(InputError, match="check the name"):
        read_landmarks(tmp_path / "none.txt")
