import pytest

from face3d.assets import AssetStatus, add_asset, file_sha256, find_asset, list_assets
from face3d.core import AssetError, InputError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FACE3D_ASSETS", str(tmp_path / "home"))
    return tmp_path / "home"


def rows() -> dict[str, AssetStatus]:
    return {row.asset.name: row for row in list_assets()}


def test_what_ships_is_there_and_intact(home):
    for name in ("open", "landmark_noise"):
        row = rows()[name]
        assert row.intact
        assert row.path is not None
        assert row.size_bytes == row.path.stat().st_size
        assert row.sha256 == file_sha256(find_asset(name))
        assert row.asset.licence == "CC0-1.0"


def test_what_a_user_brings_is_listed_as_missing(home):
    assert rows()["flame2020"].path is None
    with pytest.raises(AssetError, match="Register at"):
        find_asset("flame2020")


def test_an_added_file_is_found(home, tmp_path):
    source = tmp_path / "generic_model.pkl"
    source.write_bytes(b"anything")
    target = add_asset("flame2020", source)
    assert target.parent == home
    assert find_asset("flame2020").read_bytes() == b"anything"


def test_a_file_with_the_wrong_hash_is_refused(home, tmp_path):
    wrong = tmp_path / "open_head.npz"
    wrong.write_bytes(b"not the head")
    with pytest.raises(AssetError, match="hash"):
        add_asset("open", wrong)
    home.mkdir()
    (home / "open_head.npz").write_bytes(b"not the head")
    assert not rows()["open"].intact
    with pytest.raises(AssetError, match="damaged"):
        find_asset("open")


def test_unknown_names_and_missing_files(home, tmp_path):
    with pytest.raises(AssetError, match="no asset 'nothing'"):
        find_asset("nothing")
    with pytest.raises(InputError, match="not a file"):
        add_asset("flame2020", tmp_path / "none.pkl")
