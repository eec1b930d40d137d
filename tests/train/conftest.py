"""Synthetic faces, made once."""

from pathlib import Path

import pytest

import face3d
from face3d.model.head import HeadModel
from face3d.train.synthetic import SyntheticFace, SyntheticFaces, write_set

HEAD = Path(face3d.__file__).parent.parent / "flame_assets" / "open_head.npz"


@pytest.fixture(scope="session")
def head() -> HeadModel:
    return face3d.load_head("open")


@pytest.fixture(scope="session")
def faces(head: HeadModel) -> SyntheticFaces:
    return SyntheticFaces(head, size=128, texture=128, seed=3)


@pytest.fixture(scope="session")
def some(faces: SyntheticFaces) -> list[SyntheticFace]:
    return [faces[k] for k in range(24)]


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard of small pictures."""
    folder = tmp_path_factory.mktemp("set") / "faces"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("face3d.train.synthetic.shards.PER_SHARD", 32)
        write_set(folder, HEAD, count=32, size=64, seed=5, inline=True)
    return folder
