"""face3d evaluate as a user meets it."""

import json

import numpy as np
import pytest
import trimesh

from face3d.pipeline import load_head
from face3d.pipeline.evaluate import read_prediction


@pytest.fixture
def files(tmp_path):
    data = load_head("open").data
    head = trimesh.Trimesh(data.v_template, data.faces, process=False)
    head.export(tmp_path / "head.ply")
    marks = read_prediction(tmp_path / "head.ply", None, unit="auto").landmarks
    kept = data.faces[data.regions["face"][data.faces].all(1)]
    scan = trimesh.Trimesh(data.v_template * 1e3, kept, process=False)
    scan.remove_unreferenced_vertices()
    scan.export(tmp_path / "scan.obj")
    np.savetxt(tmp_path / "scan.txt", marks * 1e3)
    return tmp_path


def test_one_prediction(run, files):
    target = files / "out" / "results.json"
    code, out, _ = run("evaluate",
        files / "head.ply", files / "scan.obj", "--landmarks", files / "scan.txt", "--metric",
        "--regions", "-o", target,
    )  # fmt: skip
    assert code == 0
    assert "scan mm" in out
    for word in ("non-metric", "metric", "scan to mesh", "landmarks", "normals", "nose", "ICP"):
        assert word in out
    results = json.loads(target.read_text())
    assert results["non_metric"]["scan_to_mesh"]["median_mm"] < 1e-3
    assert set(results["regions"]) == {"nose", "mouth", "forehead", "cheek"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Give a prediction"),
        (["head.ply", "scan.obj"], "--landmarks"),
        (["head.ply", "none.obj", "--landmarks", "scan.txt"], "no file"),
        (["none.ply", "scan.obj", "--landmarks", "scan.txt"], "no file"),
        (["none.npz", "scan.obj", "--landmarks", "scan.txt"], "none.npz"),
        (["none.glb", "scan.obj", "--landmarks", "scan.txt"], "none.glb"),
        (["head.ply", "scan.obj", "--landmarks", "none.txt"], "none.txt"),
        (["head.ply", "scan.obj", "--landmarks", "head.ply"], "landmark file"),
        (["head.ply", "scan.obj", "--landmarks", "scan.txt", "-o", "a.txt"], ".json"),
        (["head.ply", "scan.obj", "--landmarks", "scan.txt", "--predictions", "."], "--now only"),
        (["--now", "none"], "--predictions"),
        (["--now", "none", "--predictions", "."], "NoW folder"),
        (["head.ply", "--now", ".", "--predictions", "."], "no single"),
        (["--now", ".", "--predictions", "."], "imagepathsvalidation"),
    ],
)  # fmt: skip
def test_bad_input_ends_with_one_sentence(run, files, monkeypatch, arguments, says):
    monkeypatch.chdir(files)
    before = sorted(files.iterdir())
    code, _, error = run("evaluate", *arguments)
    assert code == 2
    assert error.startswith("face3d: ")
    assert error.count("\n") == 1
    assert says in error
    assert sorted(files.iterdir()) == before
