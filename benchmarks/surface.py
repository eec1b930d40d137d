"""Form: distance of fitted heads to true surfaces, against the mean head, on heads of other makers.

    python benchmarks/surface.py

Subjects come from ../shared/real/scans: random heads of ICT-FaceKit (a model made from scans that
the open head's prior has not seen), painted by chance, and one laser scan of a real face with its
photographic texture. Each is rendered, detected and fitted like any photo; the focal length is not
told. The two surfaces are then aligned and the median distance taken over the face.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from machine import write
from matplotlib.path import Path as Polygon
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull, cKDTree

import face3d
from face3d.core import Camera, HeadMesh, Topology
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import procrustes, rigid_from_parts, transform_points
from face3d.model import HeadModel, read_ict
from face3d.render import (
    interpolate,
    linear_from_srgb,
    rasterize,
    sh_basis,
    srgb_from_linear,
    vertex_normals,
)

SCANS = Path(__file__).parents[2] / "shared/real/scans"
SIZE = 512
FOCAL_PX = 1100.0
DISTANCE_M = 0.65
ICT_HEADS = 20
YAWS_DEG = (0, 25)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A true surface with the look of a person."""

    name: str
    vertices: np.ndarray  # (v, 3) metres, x to the subject's left, y up, z ahead
    faces: np.ndarray
    linear_rgb: np.ndarray  # (v, 3)
    painted: bool  # and neutral: the fit's neutral surface is compared, else the posed one


def ict_subject(model: HeadModel, seed: int) -> Subject:
    """A random head of ICT-FaceKit with painted skin, lips, brows, eyes and hair."""
    rng = np.random.default_rng(seed)
    data = model.data
    shape = torch.tensor(rng.standard_normal(model.identity_count)).float()
    vertices = model(shape, torch.zeros(model.expression_count)).detach().numpy()
    mean, regions = data.v_template, data.regions
    hidden = [n for n in regions if any(p in n for p in ("lacrimal", "blend", "occlusion", "lash"))]
    drop = np.any([regions[n] for n in hidden], axis=0)
    mouth = mean[ict_landmarks()[48:60]]
    eye = mean[regions["left_iris"]].mean(0)
    along = (np.abs(mean[:, 0]) - (eye[0] - 0.021)) / 0.047
    arc = eye[1] + 0.0175 + 0.005 * (1 - ((along - 0.6) / 0.6) ** 2)
    thick = 0.0045 * (1.1 - 0.7 * along) + 1e-4
    brow = np.clip(1.5 - np.abs(mean[:, 1] - arc) / thick, 0, 1) * (along > 0) * (along < 1)
    brow *= regions["face"] * (mean[:, 2] > 0.03)
    lips = Polygon(mouth[:, :2]).contains_points(mean[:, :2]) & regions["face"]
    lips &= mean[:, 2] > mouth[:, 2].min() - 0.012
    hair = (mean[:, 1] > eye[1] + 0.062) | ((mean[:, 2] < 0) & (mean[:, 1] > -0.02))
    tone = rng.beta(1.3, 1.3)
    skin = np.array([0.82, 0.62, 0.52]) * (1 - tone) + np.array([0.24, 0.15, 0.11]) * tone
    dark = np.array([0.1, 0.07, 0.05])
    colour = np.tile(skin, (len(mean), 1))
    colour[lips] = skin * [0.95, 0.6, 0.62]
    colour = colour * (1 - 0.8 * brow[:, None]) + 0.8 * brow[:, None] * dark
    colour[hair & ~regions["face"]] = dark
    for side in ("left", "right"):
        centre = mean[regions[f"{side}_iris"]].mean(0)
        ball = regions[f"{side}_sclera"] | regions[f"{side}_iris"]
        off = np.linalg.norm(mean[:, :2] - centre[:2], axis=1)
        for radius, paint in (
            (1.0, [0.85] * 3),
            (0.0058, [0.25, 0.15, 0.08]),
            (0.0022, [0.02] * 3),
        ):
            colour[ball & (off < radius)] = paint
    colour[regions["teeth"]] = [0.88, 0.84, 0.74]
    colour[regions["gums_and_tongue"] | regions["mouth_socket"]] = [0.4, 0.15, 0.15]
    return Subject(
        name=f"ict {seed}",
        vertices=vertices,
        faces=data.faces[~drop[data.faces].any(1)],
        linear_rgb=linear_from_srgb(torch.tensor(colour)).numpy(),
        painted=True,
    )


def ict_landmarks() -> np.ndarray:
    """ICT-FaceKit's vertices at the 68 landmarks."""
    names = json.loads((SCANS / "ict/vertex_indices.json").read_text())
    return np.array(names["idx_to_landmark_verts"])


def scan_subject() -> Subject:
    """The laser scan; its file turns it away and its faces inside out."""
    mesh = trimesh.load(SCANS / "fran_cut/fran_cut.obj", process=False)
    picture = np.array(Image.open(SCANS / "fran_cut/fran_cut.png").convert("RGB")) / 255.0
    uv = np.asarray(mesh.visual.uv)
    rows = ((1 - uv[:, 1]) * picture.shape[0] - 0.5).round().astype(int)
    columns = (uv[:, 0] * picture.shape[1] - 0.5).round().astype(int)
    turn = matrix_from_axis_angle(torch.tensor([0.0, np.radians(240.0), 0.0])).numpy()
    points = np.asarray(mesh.vertices)
    return Subject(
        name="laser scan",
        vertices=(points - points.mean(0)) @ turn.T,
        faces=np.asarray(mesh.faces)[:, ::-1].copy(),
        linear_rgb=linear_from_srgb(torch.tensor(picture[rows, columns])).numpy(),
        painted=False,
    )


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A picture and what it shows."""

    rgb: np.ndarray  # (h, w, 3) uint8
    surface: np.ndarray  # (h, w, 3) the point that each pixel shows, NaN beside the subject


def photograph(subject: Subject, yaw_deg: float, seed: int) -> Photograph:
    """Render a subject at a distance of DISTANCE_M."""
    rng = np.random.default_rng(seed)
    turn = matrix_from_axis_angle(torch.tensor([0.0, np.radians(yaw_deg), 0.0]))
    rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)) @ turn
    vertices = torch.tensor(subject.vertices).double()
    face = vertices[vertices[:, 2] > vertices[:, 2].quantile(0.8)].mean(0)
    place = torch.tensor([0.0, 0.0, DISTANCE_M], dtype=torch.float64) - rotation @ face
    world = transform_points(rigid_from_parts(rotation, place), vertices).float()
    camera = studio_camera()
    mesh = HeadMesh(vertices=world, frame="world", topology=Topology(faces=subject.faces))
    fragments = rasterize(mesh, camera)
    faces, seen = torch.as_tensor(subject.faces), fragments.face_index >= 0
    normal = interpolate(fragments, vertex_normals(world, faces), faces)[seen]
    albedo = interpolate(fragments, torch.tensor(subject.linear_rgb).float(), faces)[seen]
    shade = torch.ones(1)
    if subject.painted:  # a photographic texture has its own light
        basis = sh_basis(torch.nn.functional.normalize(normal, dim=-1))
        shade = (basis @ random_light(rng)).clamp(min=0.02)
    picture = torch.full((SIZE, SIZE, 3), 0.5)
    picture[seen] = srgb_from_linear((albedo * shade).clamp(0, 1))
    soft = gaussian_filter(picture.numpy(), (0.6, 0.6, 0))
    surface = torch.full((SIZE, SIZE, 3), torch.nan)
    surface[seen] = interpolate(fragments, world, faces)[seen]
    return Photograph(
        rgb=(np.clip(soft, 0, 1) * 255 + 0.5).astype(np.uint8),
        surface=surface.numpy(),
    )


def random_light(rng: np.random.Generator) -> torch.Tensor:
    """Nine SH coefficients in the camera's axes: ambient and a key light from above."""
    towards = np.array([rng.normal(0, 0.7), -abs(rng.normal(0.3, 0.5)), -1.0])
    key = sh_basis(torch.tensor(towards / np.linalg.norm(towards))) * rng.uniform(0.3, 1.0)
    key[0] += rng.uniform(0.9, 1.8)
    return key.float()[:, None]


def studio_camera() -> Camera:
    """The camera of all pictures, at the world's origin."""
    half, focal = torch.tensor(SIZE / 2), torch.tensor(FOCAL_PX)
    return Camera(
        fx=focal, fy=focal, cx=half, cy=half, width=SIZE, height=SIZE,
        camera_from_world=torch.eye(4),
    )  # fmt: skip


def face_points(photo: Photograph, landmarks_px: np.ndarray) -> np.ndarray:
    """Points of the subject (n, 3) that every third pixel shows within the detected face."""
    rows, columns = (c.ravel() for c in np.mgrid[1:SIZE:3, 1:SIZE:3])
    hull = Polygon(landmarks_px[ConvexHull(landmarks_px).vertices])
    points = photo.surface[rows, columns]
    inside = hull.contains_points(np.stack([columns, rows], axis=1) + 0.5)
    return points[inside & np.isfinite(points).all(1)]


def distance_mm(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, *, scale: bool
) -> float:
    """Median distance of true points to a mesh, after point-to-plane alignment of the mesh.

    Args:
        points: (n, 3) metres.
        vertices: (v, 3) of the mesh, roughly in place.
        faces: Faces of the part that may be matched.
        scale: Whether the mesh may be scaled, too.
    """
    used = np.unique(faces)
    moved = vertices.astype(np.float64)
    centre = points.mean(0)
    points, moved = points - centre, moved - centre
    for _ in range(30):
        normals = vertex_normals(torch.tensor(moved), torch.as_tensor(faces)).numpy()
        far, nearest = cKDTree(moved[used]).query(points)
        at = used[nearest]
        rows = [np.cross(moved[at], normals[at]), normals[at]]
        if scale:
            rows.append((moved[at] * normals[at]).sum(1, keepdims=True))
        offset = ((points - moved[at]) * normals[at]).sum(1)
        keep = far < np.quantile(far, 0.97)
        step = np.linalg.lstsq(np.concatenate(rows, 1)[keep], offset[keep], rcond=None)[0]
        rotation = matrix_from_axis_angle(torch.tensor(step[:3])).numpy()
        moved = (1 + (step[6] if scale else 0)) * moved @ rotation.T + step[3:6]
        if np.abs(step).max() < 1e-6:
            break
    normals = vertex_normals(torch.tensor(moved), torch.as_tensor(faces)).numpy()
    at = used[cKDTree(moved[used]).query(points)[1]]
    return float(np.median(np.abs(((points - moved[at]) * normals[at]).sum(1)))) * 1e3


def compare(subject: Subject, yaw_deg: float, seed: int) -> dict[str, object]:
    """Distances of the fit and of the mean head, in mm, with and without true size."""
    photo = photograph(subject, yaw_deg, seed)
    head = face3d.reconstruct(photo.rgb, fast=True)
    model, params, data = head.model, head.params, head.model.data
    seen_px = head.detection.landmarks[:, :2]
    points = face_points(photo, seen_px)
    column, row = seen_px.astype(int).clip(0, SIZE - 1).T
    hits = torch.tensor(photo.surface[row, column]).double()
    faces = data.faces[data.regions["face"][data.faces].all(1)]
    embedding = data.embeddings["mediapipe478"]
    known = torch.isfinite(hits).all(-1)[embedding.indices]
    expression = torch.zeros_like(params.expression) if subject.painted else params.expression
    out: dict[str, object] = {"subject": subject.name, "yaw_deg": yaw_deg}
    for name, shape in (("fit", params.shape), ("mean", torch.zeros_like(params.shape))):
        own = model(shape, expression).detach().double()
        corners = own[torch.as_tensor(data.faces[embedding.face_index])]
        landmarks = (corners * torch.tensor(embedding.barycentric)[..., None]).sum(1)
        for label, scale in (("any size", True), ("true size", False)):
            # What the detector saw on the subject brings the two near; the surfaces do the rest.
            start = procrustes(landmarks[known], hits[embedding.indices][known], scale=scale)
            placed = transform_points(start, own).numpy()
            out[f"{name}, {label}"] = distance_mm(points, placed, faces, scale=scale)
    return out


def main() -> None:
    """Run, print, keep."""
    model = HeadModel(read_ict(SCANS / "ict"))
    jobs = [(ict_subject(model, k), yaw, k) for k in range(ICT_HEADS) for yaw in YAWS_DEG]
    jobs += [(scan_subject(), yaw, 0) for yaw in (-15, 0, 15)]
    rows = [compare(*job) for job in jobs]
    columns = ["fit, any size", "mean, any size", "fit, true size", "mean, true size"]
    results: dict[str, object] = {"rows": rows}
    print(f"{'median distance, mm':20s}" + "".join(f"{c:>18s}" for c in columns))
    for group in ("ict", "laser"):
        part = [r for r in rows if str(r["subject"]).startswith(group)]
        means = {c: float(np.mean([r[c] for r in part])) for c in columns}
        results[group] = means
        print(
            f"{group + f' ({len(part)} pictures)':20s}"
            + "".join(f"{means[c]:18.2f}" for c in columns)
        )
    write("surface", results)


if __name__ == "__main__":
    main()
