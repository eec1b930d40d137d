"""The own regressor: alone, as a start of the fit, and against the landmark fit.

    python benchmarks/regressor.py                     # ten ICT heads, some minutes
    python benchmarks/regressor.py --weights own.npz   # of other weights than the installed ones

Real photos (../shared/real/photos) have no truth: the error there is the distance to MediaPipe's
landmarks, as a share of the box around them. ICT-FaceKit's heads are for measuring only; their
turns are compared between photos of one person, because another model's upright is another.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from likeness import EXPRESSIONS, ict_case
from machine import timed_ms, write
from surface import SCANS, ict_subject, photograph

import face3d
from face3d.core import DetectionError, Frame
from face3d.core.camera import project
from face3d.core.transforms import procrustes
from face3d.core.types import Detection, FitResult
from face3d.detect import choose_faces, load_detector
from face3d.fit import LandmarkFitter
from face3d.media import read_image
from face3d.model import HeadModel, read_ict
from face3d.pipeline.guess import guess_faces
from face3d.pipeline.observe import batched, observation, one_face, one_fit
from face3d.pipeline.reconstruct import _fitter
from face3d.pipeline.regressors import Regressor
from face3d.regress.own_net import INPUT_PX, OwnNet
from face3d.train.synthetic.scene import landmark_points

PHOTOS = SCANS.parent / "photos"
USUAL_FOCAL = 1.5
STEEP_DEG = (-75, -65, -55, 50, 60, 70)
FAILED_PERCENT = 3.0
"""A fit whose landmarks are farther off than this has not found the face."""


def real_photos(net: OwnNet, model: HeadModel) -> dict[str, dict[str, float]]:
    """Errors by photo, percent of the box: of the network's landmarks and of its head's."""
    detector, rows = load_detector(), {}
    for path in sorted([*PHOTOS.glob("*.jpg"), *PHOTOS.glob("*.png")]):
        frame = read_image(path)
        try:
            found = choose_faces(detector.detect(frame, max_faces=1), "largest", source=path.name)
        except DetectionError:
            continue
        longer = max(frame.rgb.shape[:2])
        guess = guess_faces(net, frame, found, USUAL_FOCAL * longer)
        seen = found.landmarks[0, :, :2]
        box = float(np.ptp(seen, axis=0).mean())
        mesh = model.mesh(guess.params, frame="world")
        camera = _camera(frame, USUAL_FOCAL * longer)
        points = project(camera, landmark_points(model, mesh.vertices[0]))[:, :2].numpy()
        own = guess.landmarks_px[0].numpy()
        rows[path.name] = {
            "landmarks": 100 * float(np.linalg.norm(own - seen, axis=1).mean()) / box,
            "head": 100 * float(np.linalg.norm(points - seen, axis=1).mean()) / box,
        }
    return rows


def _camera(frame: Frame, focal: float) -> face3d.core.Camera:
    height, width = frame.rgb.shape[:2]
    f, cx, cy = (torch.tensor(float(v)) for v in (focal, width / 2, height / 2))
    return face3d.core.Camera(
        fx=f, fy=f, cx=cx, cy=cy, width=width, height=height, camera_from_world=torch.eye(4)
    )


def on_heads(regressor: Regressor, count: int) -> dict[str, dict[str, float]]:
    """Turns, expressions and steps on ICT heads, by method."""
    model = face3d.load_head("open")
    fitter, detector = _fitter("open", id(model)), load_detector()
    names = list(model.data.expression_names)
    told = [k for k, n in enumerate(names) if not n.startswith(("eyeLook", "tongue"))]
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    ict = HeadModel(read_ict(SCANS / "ict"))
    for number in range(count):
        case = ict_case(ict, number)
        turns: dict[str, list[tuple[torch.Tensor, np.ndarray]]] = defaultdict(list)
        for picture in case.pictures:
            frame = Frame(rgb=picture.rgb)
            try:
                found = choose_faces(detector.detect(frame, max_faces=1), "largest", source="ict")
            except DetectionError:
                continue
            face = one_face(found, 0)
            truth = torch.zeros(len(names))
            for name, weight in EXPRESSIONS[picture.expression].items():
                if name in names:
                    truth[names.index(name)] = weight
            for method, fit in _methods(regressor, fitter, model, frame, face).items():
                off = (fit.params.expression - truth)[told]
                row = rows[method]
                row["expression"].append(float(off.abs().mean()))
                row["expression_rms"].append(float(off.square().mean().sqrt()))
                if bool(truth.any()):
                    # One is right, zero says nothing: small errors are had by saying nothing, too.
                    said = float((fit.params.expression * truth).sum() / truth.square().sum())
                    row["shown_share"].append(said)
                row["landmark_percent"].append(_percent(fit, face))
                turns[method].append((fit.params.world_from_head[:3, :3], picture.vertices))
        for method, pairs in turns.items():
            first, before = pairs[0]
            for turn, vertices in pairs[1:]:
                off = (turn @ first.mT).mT @ _turn(before, vertices)
                cosine = float((off.trace() - 1) / 2)
                rows[method]["turn_deg"].append(float(np.degrees(np.arccos(min(1.0, cosine)))))
        print(f"ict {number} ...", flush=True)
    return {
        method: {name: float(np.mean(values)) for name, values in row.items()}
        for method, row in rows.items()
    }


def steep_views(regressor: Regressor, count: int) -> dict[str, dict[str, float]]:
    """Steps and failures at large yaws, by method."""
    model = face3d.load_head("open")
    fitter, detector = _fitter("open", id(model)), load_detector()
    ict = HeadModel(read_ict(SCANS / "ict"))
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(count):
        subject = ict_subject(ict, number)
        for yaw in STEEP_DEG:
            frame = Frame(rgb=photograph(subject, yaw, number).rgb)
            try:
                found = choose_faces(detector.detect(frame, max_faces=1), "largest", source="ict")
            except DetectionError:
                continue
            face = one_face(found, 0)
            for method, fit in _methods(regressor, fitter, model, frame, face).items():
                rows[method]["steep_steps"].append(float(fit.iterations))
                failed = _percent(fit, face) > FAILED_PERCENT or not bool(fit.converged)
                rows[method]["steep_failed"].append(float(failed))
    return {
        method: {name: float(np.mean(values)) for name, values in row.items()}
        | {"steep_views": float(len(row["steep_steps"]))}
        for method, row in rows.items()
    }


def _methods(
    regressor: Regressor, fitter: LandmarkFitter, model: HeadModel, frame: Frame, face: Detection
) -> dict[str, FitResult]:
    assert isinstance(regressor.net, OwnNet)
    seen = observation(frame, face)
    batch = type(seen)(**{k: v[None] for k, v in vars(seen).items() if v is not None})
    focal = float(fitter.usual_focal_px(batch)[0])
    guess = guess_faces(regressor.net, frame, batched(face), focal)
    return {
        "landmark fit": one_fit(fitter.fit(batch), 0),
        "regressor": fitter.as_given(guess.params, [seen])[0],
        "fit from regressor": regressor.fit(fitter, model, frame, face, seen),
    }


def _percent(fit: FitResult, face: Detection) -> float:
    size = float(np.ptp(face.landmarks[:, :2], axis=0).mean())
    return 100 * float(fit.reprojection_error_px) / size


def _turn(before: np.ndarray, after: np.ndarray) -> torch.Tensor:
    """The rotation between two pictures of a person; expressions hardly move the whole."""
    return procrustes(torch.tensor(before), torch.tensor(after))[:3, :3].float()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weights", type=Path, help="of the own regressor")
    parser.add_argument("--heads", type=int, default=10)
    options = parser.parse_args()
    regressor = face3d.load_regressor("own", checkpoint=options.weights)
    model = face3d.load_head("open")
    net = regressor.net
    assert isinstance(net, OwnNet)
    photos = real_photos(net, model)
    for name in ("landmarks", "head"):
        each = {photo: row[name] for photo, row in photos.items()}
        worst = max(each, key=lambda photo: each[photo])
        print(
            f"{len(each)} photos, {name}: mean {np.mean(list(each.values())):.2f}% of the box, "
            f"most {each[worst]:.2f}% ({worst})"
        )
    crops = torch.rand(32, 3, INPUT_PX, INPUT_PX)
    speed = timed_ms(lambda: regressor(crops), repeats=5)["median_ms"] / len(crops)
    print(f"{speed:.1f} ms an image on {torch.get_num_threads()} threads")
    heads = on_heads(regressor, options.heads)
    for method, row in steep_views(regressor, options.heads).items():
        heads[method] |= row
    columns = (
        "turn_deg", "expression", "expression_rms", "shown_share", "landmark_percent",
        "steep_steps", "steep_failed",
    )  # fmt: skip
    print(f"{'':20}" + "".join(f"{c:>18}" for c in columns))
    for method, row in heads.items():
        print(f"{method:20}" + "".join(f"{row.get(c, float('nan')):18.3f}" for c in columns))
    write("regressor", {"photos": photos, "ms_an_image": speed, "heads": heads})


if __name__ == "__main__":
    main()
