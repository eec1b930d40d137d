"""Sets of synthetic faces on disk."""

import json
from pathlib import Path

import numpy as np
import pytest

import face3d
from face3d.core.errors import InputError
from face3d.fit.corrective import correctable
from face3d.model.head import HeadModel
from face3d.train.synthetic import SyntheticFaces, read_shards, write_set
from face3d.train.synthetic.shards import labels_of, read_shard, shard_folders

HEAD = Path(face3d.__file__).parent.parent / "flame_assets" / "open_head.npz"


def test_a_shard_holds_the_pictures_and_their_labels(small_set: Path) -> None:
    shards = list(read_shards(small_set))
    assert len(shards) == 1
    wider = HeadModel(correctable(face3d.load_head("open").data))
    again = SyntheticFaces(wider, size=64, seed=5)
    for number in (0, 31):
        face = again[number]
        assert np.array_equal(shards[0].rgb[number], face.rgb)
        for name, value in labels_of(face).items():
            assert np.array_equal(shards[0].labels[name][number], value), name


def test_a_stopped_set_is_gone_on_with(small_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("face3d.train.synthetic.shards.PER_SHARD", 32)
    told: list[tuple[int, int]] = []
    before = (small_set / "shard_00000" / "rgb.npy").stat().st_mtime_ns
    count = write_set(
        small_set, HEAD, count=32, size=64, seed=5, on_progress=lambda *a: told.append(a)
    )
    assert count == 32
    assert told == [(32, 32)]
    assert (small_set / "shard_00000" / "rgb.npy").stat().st_mtime_ns == before


def test_another_set_or_other_files_are_not_mixed_in(small_set: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds another set"):
        write_set(small_set, HEAD, count=32, size=96, seed=5)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="is not empty"):
        write_set(tmp_path, HEAD, count=32)
    for bad in ({"count": 0}, {"count": 1, "size": 8}, {"count": 1, "workers": 0}):
        with pytest.raises(InputError, match="at least"):
            write_set(tmp_path / "new", HEAD, **bad)
    assert not (tmp_path / "new").exists()


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no synthetic faces"):
        shard_folders(tmp_path)
    shard = tmp_path / "shard_00000"
    shard.mkdir()
    (shard / "rgb.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="shard_00000 is damaged"):
        read_shard(shard)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "set.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        write_set(tmp_path / "other", HEAD, count=1)
    (tmp_path / "other" / "set.json").write_text(json.dumps({}))
