"""Predictions against scans, from files to errors."""

import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from face3d.core import Camera, HeadParams, InputError
from face3d.export import SavedParams, write_params
from face3d.metric import FROM_IBUG68
from face3d.pipeline import load_head
from face3d.pipeline.evaluate import evaluate, evaluate_now, read_prediction


@pytest.fixture(scope="module")
def model():
    return load_head("open")


def seven(model, vertices: np.ndarray) -> np.ndarray:
    known = model.data.embeddings["ibug68"]
    corners = vertices[model.data.faces[known.face_index]]
    return (corners * known.barycentric[..., None]).sum(1)[list(FROM_IBUG68)]


def skin(model, vertices: np.ndarray) -> trimesh.Trimesh:
    inside = model.data.regions["skin"]
    mesh = trimesh.Trimesh(
        vertices, model.data.faces[inside[model.data.faces].all(1)], process=False
    )
    mesh.remove_unreferenced_vertices()
    return mesh


@pytest.fixture(scope="module")
def person(model) -> np.ndarray:
    shape = torch.randn(model.identity_count, generator=torch.Generator().manual_seed(4))
    return model(shape, torch.zeros(model.expression_count)).double().numpy()


@pytest.fixture
def files(model, person, tmp_path):
    """A scan of a person in millimetres, turned and moved, and the person as predictions."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    scan = (person @ turn.T + [0.1, 0.2, -0.3]) * 1e3
    skin(model, scan).export(tmp_path / "scan.ply")
    np.savetxt(tmp_path / "scan.txt", seven(model, scan))
    trimesh.Trimesh(person, model.data.faces, process=False).export(tmp_path / "mine.ply")
    np.save(tmp_path / "mine.npy", seven(model, person))
    return tmp_path


def test_the_person_itself_has_no_error(files):
    found = evaluate(
        files / "mine.ply", files / "scan.ply", landmarks=files / "scan.txt", metric=True,
        regions=True,
    )  # fmt: skip
    assert dict(found.units) == {"prediction": "m", "scan": "mm"}
    for errors in (found.non_metric, found.metric):
        assert errors is not None
        assert errors.scan_to_mesh.median_mm < 1e-3
        assert errors.landmarks_mm["mean"] < 1e-3
        assert errors.normals_deg is not None
        assert errors.normals_deg["median"] < 0.1
    assert found.regions is not None
    assert found.regions["nose"].rms_mm < 0.02
    assert found.texture_psnr_db is None
    json.dumps(found.as_json())


def test_a_parameter_file_is_taken_at_rest(model, files):
    """The expression and the pose of the photo are no error of the person."""
    shape = torch.randn(model.identity_count, generator=torch.Generator().manual_seed(4))
    params = HeadParams(
        shape=shape,
        expression=torch.full((model.expression_count,), 0.5),
        neck=torch.full((3,), 0.2),
        jaw=torch.full((3,), 0.1),
        eyes=torch.zeros(2, 3),
        world_from_head=torch.eye(4),
    )
    write_params(
        files / "mine.npz", SavedParams(head="open", params=params, camera=None, arrays={})
    )
    found = evaluate(
        files / "mine.npz", files / "scan.ply", landmarks=files / "scan.txt", metric=True
    )
    assert found.metric is not None
    assert found.metric.scan_to_mesh.mean_mm < 1e-3


def test_size_is_an_error_only_when_asked(model, person, files):
    trimesh.Trimesh(1.06 * person, model.data.faces, process=False).export(files / "big.ply")
    found = evaluate(
        files / "big.ply", files / "scan.ply", landmarks=files / "scan.txt", metric=True
    )
    assert found.metric is not None
    assert found.non_metric.scan_to_mesh.mean_mm < 1e-3
    assert found.metric.scan_to_mesh.mean_mm > 0.5


def test_without_size_any_unit_will_do(model, person, files):
    trimesh.Trimesh(7 * person, model.data.faces, process=False).export(files / "odd.ply")
    common = {"landmarks": files / "scan.txt"}
    found = evaluate(files / "odd.ply", files / "scan.ply", **common)
    assert found.units["prediction"] == "unknown"
    assert found.non_metric.scan_to_mesh.mean_mm < 1e-3
    assert found.non_metric.converged
    with pytest.raises(InputError, match="--unit"):
        evaluate(files / "odd.ply", files / "scan.ply", **common, metric=True)


def test_a_unit_that_is_told_is_believed(files):
    found = evaluate(
        files / "mine.ply", files / "scan.ply", landmarks=files / "scan.txt", unit="mm",
        prediction_unit="cm",
    )  # fmt: skip
    assert dict(found.units) == {"prediction": "cm", "scan": "mm"}
    assert found.non_metric.scan_to_mesh.mean_mm < 1e-3


def test_another_mesh_needs_its_landmarks(files):
    with pytest.raises(InputError, match="--prediction-landmarks"):
        evaluate(files / "scan.ply", files / "scan.ply", landmarks=files / "scan.txt")
    found = evaluate(
        files / "scan.ply", files / "scan.ply", landmarks=files / "scan.txt",
        prediction_landmarks=files / "scan.txt",
    )  # fmt: skip
    assert found.non_metric.scan_to_mesh.mean_mm < 1e-6


def test_textures(files):
    true = np.zeros((8, 8, 4), dtype=np.uint8)
    true[:4, :, 3] = 255
    mine = np.full((8, 8, 3), 200, dtype=np.uint8)
    mine[:4] = 51  # a fifth
    Image.fromarray(true).save(files / "true.png")
    Image.fromarray(mine).save(files / "mine.png")
    Image.fromarray(mine[:4]).save(files / "half.png")
    common = (files / "mine.ply", files / "scan.ply")
    found = evaluate(
        *common, landmarks=files / "scan.txt", texture=(files / "mine.png", files / "true.png")
    )
    assert found.texture_psnr_db == pytest.approx(-20 * np.log10(0.2))
    for wrong, says in (("half.png", "one size"), ("scan.txt", "picture")):
        with pytest.raises(InputError, match=says):
            evaluate(
                *common, landmarks=files / "scan.txt", texture=(files / wrong, files / "true.png")
            )


def test_bad_predictions_are_said(files):
    (files / "mine.fbx").touch()
    with pytest.raises(InputError, match="no head"):
        read_prediction(files / "mine.fbx", None, unit="auto")
    trimesh.PointCloud(np.eye(3)).export(files / "points.ply")
    with pytest.raises(InputError, match="no triangles"):
        read_prediction(files / "points.ply", None, unit="auto")


def test_the_now_folder(model, person, tmp_path):
    """Two subjects; one method is the truth for one of them and a wrong head for the other."""
    now, mine = tmp_path / "now", tmp_path / "mine"
    wrong = model.data.v_template.astype(np.float64)
    pictures = ["A/multiview_neutral/1.jpg", "A/selfie/2.jpg", "B/selfie/1.jpg"]
    for subject in ("A", "B"):
        for name in ("scans", "scans_lmks_onlypp"):
            (now / name / subject).mkdir(parents=True)
        skin(model, person * 1e3).export(now / f"scans/{subject}/scan.obj")
        points = "".join(
            f'<point x="{x}" y="{y}" z="{z}"/>' for x, y, z in seven(model, person * 1e3).tolist()
        )
        (now / f"scans_lmks_onlypp/{subject}/scan.pp").write_text(points)
    (now / "imagepathsvalidation.txt").write_text("\n".join(pictures))
    for picture in pictures:
        vertices = person if picture.startswith("A") else wrong
        path = mine / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        skin(model, vertices * 100).export(path.with_suffix(".ply"))
        np.savetxt(path.with_suffix(".txt"), seven(model, vertices * 100))
    done = []
    table = evaluate_now(
        now, mine, metric=True, regions=True, progress=lambda k, n: done.append((k, n))
    )
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert list(table.non_metric) == ["all", "multiview_neutral", "selfie"]
    assert table.non_metric["multiview_neutral"].median_mm < 1e-2
    assert table.pictures["B/selfie/1.jpg"] > 0.3
    assert table.pictures["A/selfie/2.jpg"] < 1e-2
    counts = [s.count for s in table.non_metric.values()]
    assert counts[0] == counts[1] + counts[2] == 3 * counts[1]
    assert table.metric is not None
    assert table.metric["selfie"].mean_mm > table.non_metric["selfie"].mean_mm
    assert table.regions is not None
    assert table.regions["nose"]["pictures"] == 3
    shares = dict(zip(table.curve["mm"], table.curve["share"]))
    assert 0.6 < shares[0.1] < 1
    assert shares[7.0] > 0.99
    json.dumps(table.as_json())
    np.savetxt(mine / "A/selfie/2.txt", np.zeros((7, 3)))
    with pytest.raises(InputError, match=r"A/selfie/2\.jpg: .*one point"):
        evaluate_now(now, mine)


def test_a_parameter_file_counts_in_the_size_that_it_states(model, tmp_path):
    """Its meshes are in the fit's units; metric errors once took these for metres."""
    zeros = torch.zeros
    params = HeadParams(
        shape=zeros(model.identity_count), expression=zeros(model.expression_count),
        neck=zeros(3), jaw=zeros(3), eyes=zeros(2, 3), world_from_head=torch.eye(4),
    )  # fmt: skip
    half = torch.tensor(50.0)
    camera = Camera(
        fx=half, fy=half, cx=half, cy=half, width=100, height=100, camera_from_world=torch.eye(4)
    )
    saved = SavedParams(
        head="open", params=params, camera=camera, arrays={"metres_per_unit": np.asarray(1.25)}
    )
    write_params(tmp_path / "h.npz", saved)
    read = read_prediction(tmp_path / "h.npz", None)
    np.testing.assert_allclose(read.vertices, 1.25 * model.data.v_template, atol=1e-5)
