import shutil
from pathlib import Path

import pytest

from face3d.core.errors import InputError
from face3d.metric.now_folder import read_now_folder

PICTURES = ["A_1/multiview_neutral/IMG_1.jpg", "A_1/selfie/IMG_2.jpg", "B_2/selfie/IMG_1.jpg"]


@pytest.fixture
def folder(tmp_path: Path):
    now, mine = tmp_path / "now", tmp_path / "mine"
    for subject in ("A_1", "B_2"):
        for name, file in (("scans", "x.obj"), ("scans_lmks_onlypp", "x.pp")):
            (now / name / subject).mkdir(parents=True)
            (now / name / subject / file).touch()
    (now / "imagepathsvalidation.txt").write_text("\n".join(PICTURES) + " \n\n")
    for picture in PICTURES:
        path = mine / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".ply").touch()
        path.with_suffix(".npy").touch()
    return now, mine


def test_cases(folder: tuple[Path, Path]):
    now, mine = folder
    cases = read_now_folder(now, mine, part="validation")
    assert [c.picture for c in cases] == PICTURES
    assert [c.category for c in cases] == ["multiview_neutral", "selfie", "selfie"]
    assert cases[2].subject == "B_2"
    assert cases[2].scan == now / "scans/B_2/x.obj"
    assert cases[2].scan_landmarks == now / "scans_lmks_onlypp/B_2/x.pp"
    assert cases[1].prediction == mine / "A_1/selfie/IMG_2.ply"
    assert cases[1].prediction_landmarks == mine / "A_1/selfie/IMG_2.npy"


def test_what_is_missing_is_said(folder: tuple[Path, Path]):
    now, mine = folder
    with pytest.raises(InputError, match="imagepathstest"):
        read_now_folder(now, mine, part="test")
    with pytest.raises(InputError, match="NoW folder"):
        read_now_folder(now / "x", mine, part="validation")
    with pytest.raises(InputError, match="folder of predictions"):
        read_now_folder(now, mine / "x", part="validation")
    (mine / "A_1/selfie/IMG_2.npy").unlink()
    with pytest.raises(InputError, match=r"1 of 3 predictions are missing.*A_1/selfie/IMG_2"):
        read_now_folder(now, mine, part="validation")
    (mine / "A_1/selfie/IMG_2.txt").touch()
    (now / "scans/B_2/y.obj").touch()
    with pytest.raises(InputError, match="2 files that could be the scan"):
        read_now_folder(now, mine, part="validation")
    shutil.rmtree(now / "scans_lmks_onlypp")
    with pytest.raises(InputError, match="scans_lmks_onlypp"):
        read_now_folder(now, mine, part="validation")


@pytest.mark.parametrize("line", ["picture.jpg", "../../x/y.jpg", "../x/y.jpg", "/a/b/c", ""])
def test_a_strange_list_is_refused(folder: tuple[Path, Path], line: str):
    now, mine = folder
    (now / "imagepathsvalidation.txt").write_text(line)
    with pytest.raises(InputError, match="download it again"):
        read_now_folder(now, mine, part="validation")
