"""The renderer: time against its plain twin, scaling with the batch, and inverse rendering.

python benchmarks/render.py
"""

import statistics
import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from machine import machine, timed_ms, write

from face3d.core import Camera, HeadMesh
from face3d.core.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from face3d.model import HeadModel
from face3d.pipeline import load_head
from face3d.render import (
    MipTexture,
    SphericalHarmonics,
    mipmapped,
    portrait_camera,
    rasterize,
    render,
)

SIZES = (224, 512)
CASES = 20
INVERSE_PX = 128
STAGES = ((3.0, 14), (1.5, 98))
"""Blur in px, and evaluations from the start at most."""
FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def soft_light() -> SphericalHarmonics:
    """Ambient light and some from one side."""
    coefficients = torch.zeros(9, 3)
    coefficients[:4] = torch.tensor([1.5, 0.2, -0.3, -0.4])[:, None]
    return SphericalHarmonics(coefficients=coefficients)


def timings(model: HeadModel) -> dict[str, object]:
    """Times in ms at 224 and 512 px; one head and a batch of 16."""
    rest = model(torch.zeros(140), torch.zeros(52)).detach()
    mesh = HeadMesh(vertices=rest, frame="world", topology=model.data.topology)
    results: dict[str, object] = {}
    for size in SIZES:
        camera = portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.3, size=size)
        results[f"rasterize {size}"] = timed_ms(partial(rasterize, mesh, camera), repeats=30)
        results[f"forward and backward {size}"] = timed_ms(
            partial(forward_and_backward, mesh, camera), repeats=10
        )
        many = replace(mesh, vertices=rest.expand(16, -1, 3).contiguous())
        results[f"rasterize {size}, batch of 16"] = timed_ms(
            partial(rasterize, many, camera), repeats=5
        )
    small = portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.3, size=SIZES[0])
    start = time.perf_counter()
    rasterize(mesh, small, backend="torch")
    results["plain twin 224"] = {"median_ms": (time.perf_counter() - start) * 1e3}
    return results


def forward_and_backward(mesh: HeadMesh, camera: Camera) -> None:
    """Gradients of a picture to vertices, a 512 px texture and the light."""
    vertices = mesh.vertices.clone().requires_grad_()
    texture = torch.full((3, 512, 512), 0.5, requires_grad=True)
    coefficients = soft_light().coefficients.requires_grad_()
    picture = render(
        replace(mesh, vertices=vertices),
        camera,
        texture=mipmapped(texture),
        light=SphericalHarmonics(coefficients=coefficients),
        linear=True,
    )
    picture.square().mean().backward()


@dataclass(frozen=True, kw_only=True)
class Case:
    """A head before a camera, and a start that is off."""

    mesh: HeadMesh  # about its own middle
    texture: MipTexture
    rotation: torch.Tensor
    place: torch.Tensor
    focal: torch.Tensor
    start_rotation: torch.Tensor  # 15 degrees off
    start_place: torch.Tensor  # 10 mm off
    start_focal: torch.Tensor  # 5% off


def random_case(model: HeadModel, seed: int) -> Case:
    """A random head with a blotchy texture, turned by up to 20 degrees about each axis."""
    rng = np.random.default_rng(seed)

    def direction() -> torch.Tensor:
        v = rng.standard_normal(3)
        return torch.tensor(v / np.linalg.norm(v)).float()

    shape = 0.7 * torch.tensor(rng.standard_normal(140)).float()
    vertices = model(shape, torch.zeros(52)).detach() - torch.tensor([0.0, 0.0, 0.05])
    coarse = torch.tensor(rng.random((1, 3, 24, 24))).float()
    texture = torch.nn.functional.interpolate(coarse, size=256, mode="bicubic")[0].clamp(0, 1)
    turn = matrix_from_axis_angle(torch.tensor(rng.uniform(-0.35, 0.35, 3)).float())
    place = torch.tensor([*rng.uniform(-0.01, 0.01, 2), rng.uniform(0.5, 0.8)]).float()
    focal = INVERSE_PX / 0.3 * place[2]
    off = matrix_from_axis_angle(direction() * np.radians(15))
    return Case(
        mesh=HeadMesh(vertices=vertices, frame="world", topology=model.data.topology),
        texture=mipmapped(0.2 + 0.6 * texture),
        rotation=FACING @ turn,
        place=place,
        focal=focal,
        start_rotation=off @ FACING @ turn,
        start_place=place + 0.01 * direction(),
        start_focal=focal * (1.05 if rng.random() < 0.5 else 0.95),
    )


def picture(case: Case, rotation: torch.Tensor, place: torch.Tensor, focal: torch.Tensor):
    """What a camera sees, linear (4, h, w)."""
    half = torch.tensor(INVERSE_PX / 2)
    camera = Camera(
        fx=focal, fy=focal, cx=half, cy=half, width=INVERSE_PX, height=INVERSE_PX,
        camera_from_world=torch.eye(4),
    )  # fmt: skip
    placed = replace(case.mesh, vertices=case.mesh.vertices @ rotation.T + place)
    return render(placed, camera, texture=case.texture, light=soft_light(), linear=True)


def blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """A Gaussian blur of (c, h, w)."""
    if sigma == 0:
        return image
    reach = int(3 * sigma)
    x = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).reshape(1, 1, 1, -1)
    rows = torch.nn.functional.conv2d(image[:, None], kernel, padding=(0, reach))
    return torch.nn.functional.conv2d(rows, kernel.mT, padding=(reach, 0))[:, 0]


def recover(case: Case) -> dict[str, float]:
    """Pose and focal length from the picture alone, by L-BFGS on its gradient, coarse to fine.

    Place and distance are kept as pixel, log scale and log focal length, each in units that
    change the picture about alike.
    """
    with torch.no_grad():
        target = picture(case, case.rotation, case.place, case.focal)
    x, y, z = case.start_place
    start = torch.stack([x / z * case.start_focal, y / z * case.start_focal])
    log_scale, log_focal = (case.start_focal / z).log(), case.start_focal.log()
    units = torch.tensor([0.06, 0.06, 0.06, 3.0, 3.0, 0.06, 0.7])
    steps = torch.zeros(7, requires_grad=True)
    evaluations = 0

    def unpacked() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        s = steps * units
        focal = (log_focal + s[6]).exp()
        depth = focal / (log_scale + s[5]).exp()
        centre = (start + s[3:5]) * depth / focal
        return (
            matrix_from_axis_angle(s[:3]) @ case.start_rotation,
            torch.cat([centre, depth[None]]),
            focal,
        )

    for sigma, until in STAGES:
        wanted = blurred(target, sigma)

        def loss_of(wanted: torch.Tensor = wanted, sigma: float = sigma) -> torch.Tensor:
            nonlocal evaluations
            evaluations += 1
            steps.grad = None
            loss = (blurred(picture(case, *unpacked()), sigma) - wanted).square().sum()
            loss.backward()
            return loss

        # Its line search gives up where the picture jumps a little; a fresh start goes on.
        while evaluations < until - 1:
            before = evaluations
            torch.optim.LBFGS(
                [steps], max_iter=100, max_eval=until - evaluations - 1, history_size=20,
                line_search_fn="strong_wolfe", tolerance_grad=1e-9, tolerance_change=1e-12,
            ).step(loss_of)  # fmt: skip
            if evaluations - before < 3:
                break
    with torch.no_grad():
        rotation, place, focal = unpacked()
        off = axis_angle_from_matrix(rotation @ case.rotation.T).norm()
        return {
            "rotation_deg": float(torch.rad2deg(off)),
            "place_mm": float((place - case.place).norm()) * 1e3,
            "focal_percent": float((focal / case.focal - 1).abs()) * 100,
            "evaluations": evaluations,
        }


def main() -> None:
    """Run, print, keep."""
    print(f"{machine()['processor']}, {machine()['torch_threads']} threads")
    model = load_head()
    results = timings(model)
    for name, value in results.items():
        print(f"{name:32s}{value['median_ms']:12.2f} ms")
    ratio = results["plain twin 224"]["median_ms"] / results["rasterize 224"]["median_ms"]
    print(f"{'faster than the plain twin':32s}{ratio:12.0f} times")
    cases = [recover(random_case(model, seed)) for seed in range(CASES)]
    good = sum(c["rotation_deg"] <= 0.2 and c["place_mm"] <= 0.5 for c in cases)
    for key in ("rotation_deg", "place_mm", "focal_percent", "evaluations"):
        values = [c[key] for c in cases]
        print(f"{key:32s}{statistics.median(values):12.3f} median {max(values):10.3f} most")
    print(f"pose recovered in {good} of {CASES} (bar {CASES})")
    write("render", {**results, "ratio_to_twin": ratio, "inverse": cases, "recovered": good})


if __name__ == "__main__":
    main()
