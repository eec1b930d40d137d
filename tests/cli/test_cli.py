"""The command line as a user meets it: exit codes, one-sentence errors, no partial files."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures


@pytest.fixture
def portrait(tmp_path) -> Path:
    path = tmp_path / "portrait.png"
    Image.fromarray(pictures.astronaut()).save(path)
    return path


def only_message(error: str) -> bool:
    return "Traceback" not in error and error.startswith("face3d: ") and error.count("\n") == 1


def test_reconstruct_writes_the_file_and_says_how_well_it_fits(run, portrait, tmp_path):
    target = tmp_path / "out" / "head.glb"
    code, out, _ = run("reconstruct", portrait, "-o", target, "--texture", 128)
    assert code == 0
    assert target.read_bytes()[:4] == b"glTF"
    assert "landmark error" in out
    assert "Size: PD " in out
    assert "iris" in out


def test_known_sizes_are_taken_and_said(run, portrait, tmp_path):
    target = tmp_path / "head.npz"
    code, out, _ = run("reconstruct", portrait, "-o", target, "--fast", "--pd-mm", 63)
    assert code == 0
    assert "PD 63.0 mm (sd 0.6; from known pupillary_distance" in out
    card = ("--card", 100, 100, 250, 100, 85.6)
    code, out, _ = run("reconstruct", portrait, "-o", target, "--fast", *card)
    assert code == 0
    assert "known points" in out
    for wrong in (("--pd-mm", -63), ("--depth", tmp_path / "none.png"), ("--focal-px", 0)):
        code, _, error = run("reconstruct", portrait, "-o", target, "--fast", *wrong)
        assert code == 2
        assert only_message(error)
    code, _, error = run("reconstruct", portrait, "-o", target, "--face", "all", "--pd-mm", 63)
    assert code == 2
    assert only_message(error)


def test_all_faces_get_numbers(run, tmp_path):
    face = pictures.astronaut()[:300, 100:400]
    Image.fromarray(np.concatenate([face, face], axis=1)).save(tmp_path / "two.png")
    code, _, _ = run(
        "reconstruct", tmp_path / "two.png", "-o", tmp_path / "h.npz", "--face", "all", "--fast"
    )
    assert code == 0
    # The numbers are those that --face takes.
    assert (tmp_path / "h-0.npz").exists()
    assert (tmp_path / "h-1.npz").exists()


def bad_inputs(folder: Path) -> dict[str, Path]:
    good = folder / "good.jpg"
    Image.fromarray(pictures.astronaut()).save(good)
    files = {
        "zero bytes": b"",
        "text": b"this is no picture",
        "truncated": good.read_bytes()[:5000],
    }
    paths = {"missing": folder / "missing.jpg", "a folder": folder}
    for name, content in files.items():
        paths[name] = folder / f"{name}.jpg"
        paths[name].write_bytes(content)
    paths["one pixel"] = folder / "one.png"
    Image.new("RGB", (1, 1)).save(paths["one pixel"])
    paths["no face"] = folder / "none.png"
    Image.new("RGB", (300, 300), (90, 120, 150)).save(paths["no face"])
    return paths


@pytest.mark.parametrize(
    "case", ["missing", "a folder", "zero bytes", "text", "truncated", "one pixel", "no face"]
)
def test_bad_pictures_end_with_one_sentence_and_no_file(run, tmp_path, case):
    target = tmp_path / "out.glb"
    code, _, error = run("reconstruct", bad_inputs(tmp_path)[case], "-o", target)
    assert code == 2
    assert only_message(error)
    assert not target.exists()
    assert not list(tmp_path.glob(".face3d-*"))


def test_a_picture_20000_px_wide_is_handled(run, tmp_path):
    wide = Image.new("RGB", (20000, 600), (200, 180, 160))
    wide.paste(Image.fromarray(pictures.astronaut()), (9000, 40))
    wide.save(tmp_path / "wide.png")
    code, _, error = run("reconstruct", tmp_path / "wide.png", "-o", tmp_path / "w.npz")
    assert code == 0 or (code == 2 and only_message(error))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-o", "head.fbx"], "ends in"),
        (["-o", "head.glb", "--face", "second"], "--face"),
        (["-o", "head.glb", "--face", "7"], "1 face; choose 0"),
        (["-o", "head.glb", "--face", "\u00b2"], "--face"),
        (["-o", "head.glb", "--preview", "look.jpg"], "look.jpg"),
        (["-o", "head.glb", "--preview", "look.glb"], "look.glb"),
        (["-o", "head.glb", "--head", "nobody"], "no head"),
        (["-o", "head.glb", "--head", "nobody.npz"], "does not exist"),
        (["-o", "head.glb", "--texture", "1000"], "--texture"),
    ],
)
def test_bad_options(run, portrait, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    code, _, error = run("reconstruct", portrait, *options)
    assert code == 2
    assert only_message(error)
    assert says in error
    assert sorted(tmp_path.iterdir()) == [portrait]


def test_a_folder_that_cannot_be_made_is_said(run, portrait, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, error = run("reconstruct", portrait, "-o", tmp_path / "file" / "h.npz")
    assert code == 2
    assert only_message(error)


def test_a_damaged_head_is_said(run, portrait, tmp_path, monkeypatch):
    monkeypatch.setenv("FACE3D_ASSETS", str(tmp_path))
    (tmp_path / "open_head.npz").write_bytes(b"not the head")
    code, _, error = run("reconstruct", portrait, "-o", tmp_path / "h.npz")
    assert code == 2
    assert only_message(error)
    assert "damaged" in error


def test_assets_are_listed(run):
    code, out, _ = run("assets")
    assert code == 0
    assert "open  [CC0-1.0]  ok" in out
    assert "sha256" in out


def test_adding_a_malicious_or_foreign_file_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setenv("FACE3D_ASSETS", str(tmp_path / "home"))
    bad = tmp_path / "generic_model.pkl"
    bad.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    monkeypatch.chdir(tmp_path)
    code, _, error = run("assets", "add", bad)
    assert code == 2
    assert only_message(error)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "home").exists()


def test_a_flame_file_is_checked_installed_and_used(run, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "make_flame_file", Path(__file__).parents[1] / "model/make_flame_file.py"
    )
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    monkeypatch.setenv("FACE3D_ASSETS", str(tmp_path / "home"))
    source = tmp_path / "generic_model.pkl"
    maker.write_flame(source, maker.make_arrays(), chumpy=True)
    code, out, _ = run("assets", "add", source)
    assert code == 0
    assert "flame2020 installed" in out
    from face3d.pipeline import load_head

    assert load_head("flame2020").vertex_count == 5023
    code, _, error = run("assets", "add", tmp_path / "nothing.pkl")
    assert code == 2
    assert only_message(error)


@pytest.mark.slow
def test_the_demo_runs_as_a_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "face3d", "demo", "-o", "demo"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo/astronaut.glb").stat().st_size > 1e6
    with Image.open(tmp_path / "demo/astronaut-preview.png") as picture:
        assert picture.size[1] == 512


@pytest.mark.parametrize("which", ["output", "head", "asset", "preview"])
def test_names_that_no_file_can_have_are_said(run, portrait, tmp_path, which):
    long = tmp_path / ("n" * 300 + (".pkl" if which in ("head", "asset") else ".png"))
    options = {
        "output": ["reconstruct", portrait, "-o", long],
        "preview": ["reconstruct", portrait, "-o", tmp_path / "h.glb", "--preview", long],
        "head": ["reconstruct", portrait, "-o", tmp_path / "h.glb", "--head", long],
        "asset": ["assets", "add", long],
    }[which]
    code, _, error = run(*options)
    assert code == 2
    assert only_message(error)
    assert sorted(tmp_path.iterdir()) == [portrait]


def test_output_and_preview_must_differ_and_be_writable(run, portrait, tmp_path):
    both = tmp_path / "p.png"
    code, _, error = run("reconstruct", portrait, "-o", both, "--preview", both)
    assert (code, "two names" in error) == (2, True)
    preview = portrait / "x" / "p.png"
    code, _, error = run("reconstruct", portrait, "-o", tmp_path / "h.npz", "--preview", preview)
    assert (code, "is a file" in error) == (2, True)
    assert sorted(tmp_path.iterdir()) == [portrait]


def test_version(run):
    code, out, _ = run("--version")
    assert (code, out.split()[0]) == (0, "face3d")


@pytest.mark.parametrize("name", ["photo.png", "head_skin.png"])
def test_the_photo_is_never_overwritten(run, tmp_path, name):
    photo = tmp_path / name
    Image.fromarray(pictures.astronaut()).save(photo)
    before = photo.read_bytes()
    output = photo if name == "photo.png" else tmp_path / "head.obj"
    code, _, error = run("reconstruct", photo, "-o", output)
    assert code == 2
    assert "overwrite the photo" in error
    assert photo.read_bytes() == before
    assert list(tmp_path.iterdir()) == [photo]


def test_render_draws_a_film_of_a_reconstructed_head(run, portrait, tmp_path):
    head = tmp_path / "head.glb"
    assert run("reconstruct", portrait, "-o", head, "--fast", "--texture", 128)[0] == 0
    options = ("--size", "64x48", "--seconds", 0.2, "--fps", 10)
    code, out, _ = run("render", head, "-o", tmp_path / "film.mp4", *options)
    assert code == 0
    assert str(tmp_path / "film.mp4") in out
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
    assert run("render", head, "-o", tmp_path / "frames", *options, "--clay")[0] == 0
    assert len(list((tmp_path / "frames").glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--size", "big"), "--size"),
        (("--fps", "1/0"), "--fps"),
        (("--background", "red"), "--background"),
        (("--background", "none"), "transparent"),
        (("--size", "9"), "width"),
    ],
)
def test_bad_render_options(run, tmp_path, options, says):
    target = tmp_path / "film.mp4"
    code, _, error = run("render", tmp_path / "head.glb", "-o", target, *options)
    assert code == 2
    assert only_message(error)
    assert says in error
    assert not target.exists()


def test_a_missing_head_to_render(run, tmp_path):
    code, _, error = run("render", tmp_path / "none.glb", "-o", tmp_path / "film.mp4")
    assert code == 2
    assert only_message(error)


def test_detail_maps_and_refusals(run, portrait, tmp_path):
    code, _, err = run(
        "reconstruct", portrait, "-o", tmp_path / "a.glb", "--fast", "--detail",
        "--maps", tmp_path / "maps", "--texture", 128,
    )  # fmt: skip
    assert code == 0, err
    assert "no detail" in err
    assert "light" in err
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == [
        "confidence.png",
        "texture.png",
    ]
    for wrong, word in (
        (("-o", tmp_path / "b.exr"), "--detail"),
        (("-o", tmp_path / "b.glb", "--subdivide", 2), "--subdivide"),
        (("-o", tmp_path / "b.obj", "--subdivide", 7), "from 0 to 4"),
    ):
        code, _, err = run("reconstruct", portrait, *wrong, "--fast")
        assert (code, word in err, "Traceback" in err) == (2, True, False)
    assert not list(tmp_path.glob("b*"))
