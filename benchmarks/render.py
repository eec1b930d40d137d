"""The renderer: time against others, scaling with batch and faces, and inverse rendering.

python benchmarks/render.py

PyTorch3D, pyrender and a GPU are compared with where they are; what is missing is said.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import machine, timed_ms, write

from face3d.core import Camera, HeadMesh
from face3d.core.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from face3d.model import HeadModel
from face3d.pipeline import load_head
from face3d.render import (
    DirectionalLight,
    MipTexture,
    SphericalHarmonics,
    mipmapped,
    portrait_camera,
    rasterize,
    render,
)
from face3d.render.preview import SINGLE_LIGHTS

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


def rest_head(model: HeadModel) -> HeadMesh:
    """The mean head at rest."""
    rest = model(torch.zeros(140), torch.zeros(52)).detach()
    return HeadMesh(vertices=rest, frame="world", topology=model.data.topology)


def front(size: int, yaw_rad: float = 0.3) -> Camera:
    """The whole head, seen a little from the side."""
    return portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=yaw_rad, size=size)


def timings(model: HeadModel) -> dict[str, object]:
    """Times in ms at 224 and 512 px; one head and a batch of 16; and ratios."""
    mesh = rest_head(model)
    many = replace(mesh, vertices=mesh.vertices.expand(16, -1, 3).contiguous())
    results: dict[str, object] = {}
    for size in SIZES:
        camera = front(size)
        one = timed_ms(partial(rasterize, mesh, camera), repeats=30)
        sixteen = timed_ms(partial(rasterize, many, camera), repeats=9)
        results[f"rasterize {size}"] = one
        results[f"rasterize {size}, batch of 16"] = sixteen
        results[f"batch of 16 over one, {size}"] = sixteen["median_ms"] / one["median_ms"]
        drawing = partial(forward_and_backward, mesh, camera)
        results[f"forward and backward {size}"] = timed_ms(drawing, repeats=20)
        results[f"forward alone {size}"] = timed_ms(partial(picture_of, mesh, camera), repeats=20)
    return results


def against_others(model: HeadModel) -> dict[str, object]:
    """Ratios to the plain twin, to PyTorch3D and to pyrender, in this run."""
    mesh, results = rest_head(model), {}
    for size, backend in ((224, "torch"), (224, "pytorch3d"), (512, "pytorch3d")):
        name = "our plain twin" if backend == "torch" else f"PyTorch3D {size}"
        if backend == "pytorch3d" and importlib.util.find_spec("pytorch3d") is None:
            results[f"faster than {name}"] = "pytorch3d is not installed"
            continue
        ours = timed_ms(partial(rasterize, mesh, front(size)), repeats=30)
        start = time.perf_counter()
        rasterize(mesh, front(size), backend=backend)
        theirs = (time.perf_counter() - start) * 1e3
        results[f"faster than {name}"] = theirs / ours["median_ms"]
    results["faster than pyrender 512"] = over_pyrender(mesh)
    return results


def over_pyrender(mesh: HeadMesh) -> object:
    """How many times longer pyrender takes for a textured head in three lights that has moved."""
    try:
        from face3d.render.pyrender_preview import preview_pyrender
    except ImportError as error:
        return str(error)
    texture = torch.rand(3, 1024, 1024)
    ours = timed_ms(partial(picture_of, mesh, front(512), texture), repeats=15)
    drawing = partial(preview_pyrender, mesh, front(512), texture=texture)
    try:
        theirs = timed_ms(drawing, repeats=15)
    except (ImportError, OSError, AttributeError) as error:
        return f"pyrender has no EGL here: {error}"
    return theirs["median_ms"] / ours["median_ms"]


PYRAMIDS: dict[int, MipTexture] = {}


def picture_of(mesh: HeadMesh, camera: Camera, texture: torch.Tensor | None = None) -> torch.Tensor:
    """A textured head in soft light and three lamps, without gradients."""
    size = 512 if texture is None else texture.shape[-1]
    if size not in PYRAMIDS:
        PYRAMIDS[size] = mipmapped(torch.rand(3, size, size) if texture is None else texture)
    lamps = [
        DirectionalLight(towards=torch.tensor(direction), rgb=torch.tensor(rgb))
        for direction, rgb in SINGLE_LIGHTS
    ]
    with torch.no_grad():
        return render(mesh, camera, texture=PYRAMIDS[size], light=[soft_light(), *lamps])


PEAK = """
import sys
from pathlib import Path
import numpy as np, torch, trimesh
from face3d.core import HeadMesh, Topology
from face3d.render import portrait_camera, rasterize
ball = trimesh.creation.icosphere(subdivisions=int(sys.argv[1]), radius=0.1)
vertices = torch.tensor(np.asarray(ball.vertices)).float()
mesh = HeadMesh(vertices=vertices, frame="world", topology=Topology(faces=np.asarray(ball.faces)))
size = int(sys.argv[2])
small = portrait_camera(torch.zeros(3), 0.3, yaw_rad=0.0, size=8)
rasterize(mesh, small)
def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith(name)).split()[1])
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kilobytes("VmRSS")
rasterize(mesh, portrait_camera(torch.zeros(3), 0.3, yaw_rad=0.0, size=size))
print((kilobytes("VmHWM") - before) / 1e3)
"""


def memory() -> dict[str, float]:
    """What pictures add to the peak memory, MB, by faces and size."""
    results: dict[str, float] = {}
    if not Path("/proc/self/clear_refs").exists():
        return results
    for subdivisions, faces in ((4, 5_120), (7, 327_680)):
        for size in (256, 1024):
            done = subprocess.run(
                [sys.executable, "-c", PEAK, str(subdivisions), str(size)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            results[f"memory of {faces} faces at {size} px, MB"] = json.loads(done.stdout)
    return results


def on_the_gpu(model: HeadModel) -> dict[str, object]:
    """Forward and backward at 1024 px, batch of 16, where there is a GPU."""
    if not torch.cuda.is_available():
        return {"GPU": "there is none here"}
    mesh, camera = rest_head(model), front(1024)
    on = {k: v.cuda() for k, v in vars(camera).items() if isinstance(v, torch.Tensor)}
    many = replace(mesh, vertices=mesh.vertices.expand(16, -1, 3).contiguous().cuda())

    def both() -> None:
        forward_and_backward(many, replace(camera, **on))
        torch.cuda.synchronize()

    return {
        "GPU": torch.cuda.get_device_name(),
        "forward and backward 1024, batch of 16, GPU": timed_ms(both, repeats=10),
    }


def forward_and_backward(mesh: HeadMesh, camera: Camera) -> None:
    """Gradients of a picture to vertices, a 512 px texture and the light."""
    vertices = mesh.vertices.clone().requires_grad_()
    texture = torch.full((3, 512, 512), 0.5, device=vertices.device, requires_grad=True)
    coefficients = soft_light().coefficients.to(vertices.device).requires_grad_()
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
    # Fine samples: with one per pixel the picture jumps a little as edges pass, and line searches
    # stop at that (docs/design/renderer.md).
    return render(
        placed, camera, texture=case.texture, light=soft_light(), linear=True, supersample=2
    )


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


VIEWS, VIEW_PX, TEXELS, LIGHT_EVALUATIONS = 8, 256, 128, 100


def recover_light_and_texture(model: HeadModel) -> dict[str, float]:
    """Nine SH coefficients and a texture from eight pictures of a head that turns before a camera.

    The light stays where the camera is: a head that stands still in its light shows only the
    product of the two. Their common scale, by colour, is left open, and taken from the truth.
    """
    rng = np.random.default_rng(0)
    mesh = rest_head(model)
    camera = portrait_camera(torch.tensor([0.0, 0.01, 0.0]), 0.32, yaw_rad=0.0, size=VIEW_PX)
    turns = [
        matrix_from_axis_angle(torch.tensor([0.25 * np.sin(2 * y), y, 0.0]).float())
        for y in 2 * np.pi * np.arange(VIEWS) / VIEWS
    ]
    turned = replace(mesh, vertices=mesh.vertices @ torch.stack(turns).mT)
    blots = [
        share
        * torch.nn.functional.interpolate(
            torch.tensor(rng.random((1, 3, n, n))).float(), size=TEXELS, mode="bicubic"
        )[0]
        for n, share in ((8, 0.57), (32, 0.43))
    ]
    truth = (sum(blots) - sum(blots).min()) / (sum(blots).max() - sum(blots).min()) * 0.7 + 0.15
    light = torch.zeros(9, 3)
    light[0] = torch.tensor([1.2, 1.1, 1.0])
    light[1:4] = 0.12 * torch.tensor(rng.standard_normal((3, 3))).float()
    light[4:] = 0.04 * torch.tensor(rng.standard_normal((5, 3))).float()

    def drawn(texture: torch.Tensor, coefficients: torch.Tensor | None) -> torch.Tensor:
        lights = () if coefficients is None else SphericalHarmonics(coefficients=coefficients)
        return render(turned, camera, texture=mipmapped(texture), light=lights, linear=True)[:, :3]

    with torch.no_grad():
        target = drawn(truth, light)
    # How many pixels show each texel.
    flat = torch.zeros(3, TEXELS, TEXELS, requires_grad=True)
    drawn(flat, None).sum().backward()
    shown = flat.grad[0]
    steps = [torch.zeros_like(truth).requires_grad_(), torch.zeros(9, 3, requires_grad=True)]
    start = torch.zeros(9, 3)
    start[0] = 1.0
    evaluations = 0

    def unpacked() -> tuple[torch.Tensor, torch.Tensor]:
        return 0.5 + steps[0] / shown.clamp(min=0.05).sqrt(), start + 0.003 * steps[1]

    def loss_of() -> torch.Tensor:
        nonlocal evaluations
        evaluations += 1
        for step in steps:
            step.grad = None
        loss = (drawn(*unpacked()) - target).square().sum()
        loss.backward()
        return loss

    torch.optim.LBFGS(
        steps, max_iter=LIGHT_EVALUATIONS, max_eval=LIGHT_EVALUATIONS - 1, history_size=30,
        line_search_fn="strong_wolfe", tolerance_grad=1e-9, tolerance_change=1e-12,
    ).step(loss_of)  # fmt: skip
    with torch.no_grad():
        texture, found = unpacked()
        scale = found[0] / light[0]
        seen = shown > 0.5
        return {
            "image PSNR, dB": psnr(drawn(texture, found), target),
            "texture PSNR, dB": psnr((texture * scale[:, None, None])[:, seen], truth[:, seen]),
            "light, largest error": float((found / scale - light).abs().max()),
            "evaluations": evaluations,
        }


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of values up to one."""
    return float(-10 * torch.log10((a - b).square().mean()))


def shown(name: str, value: object) -> None:
    """Print one row."""
    if isinstance(value, dict):
        print(f"{name:44s}{value['median_ms']:12.2f} ms")
    elif isinstance(value, float | int):
        print(f"{name:44s}{value:12.4g}")
    else:
        print(f"{name:44s} {value}")


def main() -> None:
    """Run, print, keep."""
    print(f"{machine()['processor']}, {machine()['torch_threads']} threads")
    model = load_head()
    results: dict[str, object] = {}
    parts: list[Callable[[], dict[str, object]]] = [
        partial(timings, model),
        partial(against_others, model),
        memory,
        partial(on_the_gpu, model),
        partial(recover_light_and_texture, model),
    ]
    for part in parts:
        found = part()
        results |= found
        for name, value in found.items():
            shown(name, value)
    cases = [recover(random_case(model, seed)) for seed in range(CASES)]
    good = sum(c["rotation_deg"] <= 0.2 and c["place_mm"] <= 0.5 for c in cases)
    for key in ("rotation_deg", "place_mm", "focal_percent", "evaluations"):
        values = [c[key] for c in cases]
        print(f"{key:44s}{statistics.median(values):12.3g} median {max(values):10.3g} most")
    print(f"pose recovered in {good} of {CASES} (bar {CASES})")
    write("render", {**results, "inverse": cases, "recovered": good})


if __name__ == "__main__":
    main()
