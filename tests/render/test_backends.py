"""All rasterizers against the plain twin, by one set of tests."""

import dataclasses
import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import trimesh

from face3d.core import Camera, HeadMesh, InputError, MissingDependencyError, Topology
from face3d.pipeline import load_head
from face3d.render import (
    Backend,
    Maps,
    SphericalHarmonics,
    portrait_camera,
    rasterize,
    render,
)
from face3d.render.rasterize import NEAR_M, OPTIONAL_BACKENDS, backend_named
from face3d.render.torch_twin import barycentrics_at, faces_seen

CUDA = torch.cuda.is_available()


def marked(backend: str, device: str) -> object:
    """A case that is skipped, by name, where it cannot run."""
    package = OPTIONAL_BACKENDS.get(backend, ("torch",))[0]
    missing = importlib.util.find_spec(package) is None
    marks = [
        pytest.mark.skipif(missing, reason=f"{package} is not installed"),
        *([pytest.mark.gpu] if device == "cuda" else []),
        pytest.mark.skipif(device == "cuda" and not CUDA, reason="there is no CUDA device"),
    ]
    return pytest.param(backend, device, marks=marks, id=f"{backend} on {device}")


CASES = [
    marked("numba", "cpu"),
    marked("warp", "cpu"),
    marked("pytorch3d", "cpu"),
    marked("warp", "cuda"),
    marked("pytorch3d", "cuda"),
    marked("nvdiffrast", "cuda"),
]


def camera(size: int = 64) -> Camera:
    half, focal = torch.tensor(size / 2), torch.tensor(float(size))
    return Camera(fx=focal, fy=focal, cx=half, cy=half, width=size, height=size,
                  camera_from_world=torch.eye(4))  # fmt: skip


def moved(record: HeadMesh | Camera, device: str) -> HeadMesh | Camera:
    values = {k: v.to(device) for k, v in vars(record).items() if isinstance(v, torch.Tensor)}
    return dataclasses.replace(record, **values)


def ball() -> HeadMesh:
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.8)
    places = torch.tensor(np.asarray(sphere.vertices)).float() + torch.tensor([0.1, -0.2, 2.0])
    return HeadMesh(
        vertices=places, frame="world", topology=Topology(faces=np.asarray(sphere.faces))
    )


def crossing() -> HeadMesh:
    """Triangles in front of, behind and across the near plane and far outside the picture."""
    rng = np.random.default_rng(2)
    places = rng.uniform(-1, 1, (90, 3)) + np.array([0, 0, 0.6])
    places[60:] *= 1e7
    return HeadMesh(
        vertices=torch.tensor(places).float(),
        frame="world",
        topology=Topology(faces=np.arange(90).reshape(-1, 3)),
    )


@pytest.mark.parametrize("make", [ball, crossing])
@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize(("backend", "device"), CASES)
def test_agrees_with_the_plain_twin(backend: Backend, device: str, cull: bool, make):
    torch.manual_seed(0)
    pull = torch.randn(64, 64, 3), torch.randn(64, 64)
    results = []
    for name, where in (("torch", "cpu"), (backend, device)):
        mesh, view = moved(make(), where), moved(camera(), where)
        mesh.vertices.requires_grad_()
        fragments = rasterize(mesh, view, backend=name, cull_back=cull)
        results.append((mesh, moved(fragments, "cpu")))
    (plain_mesh, plain), (mesh, fast) = results
    same = plain.face_index == fast.face_index
    assert (plain.face_index >= 0).float().mean() > 0.2
    assert same.float().mean() >= 0.999
    seen = same & (plain.face_index >= 0)
    torch.testing.assert_close(
        fast.barycentric[seen], plain.barycentric[seen], atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(fast.depth_m[seen], plain.depth_m[seen], rtol=1e-4, atol=1e-4)
    assert torch.isinf(fast.depth_m[fast.face_index < 0]).all()
    gradients = []
    for one, fragments in ((plain_mesh, plain), (mesh, fast)):
        total = (fragments.barycentric * pull[0])[seen].sum()
        total = total + (fragments.depth_m * pull[1])[seen].sum()
        gradients.append(torch.autograd.grad(total, one.vertices)[0].cpu())
    off = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert off < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "device"), CASES)
def test_agrees_on_the_open_head(backend: Backend, device: str):
    model = load_head()
    rest = model(torch.zeros(140), torch.zeros(52)).detach()
    head = HeadMesh(vertices=rest, frame="world", topology=model.data.topology)
    view = portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.5, size=128)
    plain = rasterize(head, view, backend="torch")
    fast = moved(rasterize(moved(head, device), moved(view, device), backend=backend), "cpu")
    same = plain.face_index == fast.face_index
    assert same.float().mean() >= 0.999
    torch.testing.assert_close(
        fast.barycentric[same], plain.barycentric[same], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(("backend", "device"), CASES)
def test_batches_and_empty_meshes(backend: Backend, device: str):
    mesh, view = moved(ball(), device), moved(camera(24), device)
    shifted = mesh.vertices + torch.tensor([[[0.0, 0, 0]], [[0.2, 0, 0.5]]], device=device)
    together = rasterize(dataclasses.replace(mesh, vertices=shifted), view, backend=backend)
    for k in range(2):
        alone = rasterize(dataclasses.replace(mesh, vertices=shifted[k]), view, backend=backend)
        assert torch.equal(alone.face_index, together.face_index[k])
    nothing = Topology(faces=np.zeros((0, 3), dtype=np.int64))
    empty = rasterize(dataclasses.replace(mesh, topology=nothing), view, backend=backend)
    assert (empty.face_index == -1).all()


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="there is no CUDA device")
def test_pictures_on_the_gpu_are_those_of_the_cpu():
    model = load_head()
    rest = model(torch.zeros(140), torch.zeros(52)).detach()
    head = HeadMesh(vertices=rest.expand(2, -1, 3), frame="world", topology=model.data.topology)
    view = portrait_camera(torch.tensor([0.0, 0.0, 0.05]), 0.3, yaw_rad=0.5, size=96)
    texture, heights = torch.rand(3, 64, 64), 1e-3 * torch.rand(1, 64, 64)
    coefficients = torch.rand(9, 3)
    found = []
    for device in ("cpu", "cuda"):
        wanting = [
            t.to(device).clone().requires_grad_()
            for t in (head.vertices, texture, heights, coefficients)
        ]
        maps = Maps(color=wanting[1], displacement=wanting[2])
        light = SphericalHarmonics(coefficients=wanting[3])
        mesh = dataclasses.replace(head, vertices=wanting[0])
        picture = render(mesh, moved(view, device), texture=maps, light=light, linear=True)
        picture.square().mean().backward()
        found.append((picture.detach().cpu(), [w.grad.cpu() for w in wanting]))
    (cpu, cpu_gradients), (gpu, gpu_gradients) = found
    assert (cpu - gpu).abs().mean() < 1e-4
    for a, b in zip(cpu_gradients, gpu_gradients, strict=True):
        assert (a - b).norm() < 1e-2 * a.norm()


@pytest.mark.parametrize("backend", sorted(OPTIONAL_BACKENDS))
def test_a_missing_package_is_one_sentence_that_names_the_extra(backend, monkeypatch):
    package = OPTIONAL_BACKENDS[backend][0]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"face3d.render.{backend}_raster", raising=False)
    with pytest.raises(MissingDependencyError, match=rf"face3d\[{backend}\]"):
        rasterize(ball(), camera(), backend=backend)


def test_an_unknown_backend_is_refused():
    with pytest.raises(InputError, match="opengl"):
        backend_named("opengl", torch.device("cpu"))


# PyTorch3D and nvdiffrast cannot be installed from the package index. Their adapters are tried
# against stand-ins that follow the conventions of their documentation, drawn by our plain twin.


def stand_in(monkeypatch: pytest.MonkeyPatch, **modules: dict[str, object]) -> None:
    for name, content in modules.items():
        module = ModuleType(name.replace("__", "."))
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)


def pytorch3d_rasterize(meshes, image_size, cull_backfaces, z_clip_value, **_):
    height, width = image_size
    shorter = min(image_size)
    parts = []
    for number, (verts, faces) in enumerate(zip(*meshes, strict=True)):
        u, v = (width - verts[:, 0] * shorter) / 2, (height - verts[:, 1] * shorter) / 2
        z = verts[:, 2]
        corners = torch.stack([u * z, v * z, z], dim=-1)
        seen = faces_seen(corners, faces, height, width, near_m=z_clip_value,
                          cull_back=cull_backfaces)  # fmt: skip
        barycentric, depth = barycentrics_at(corners, faces, seen)
        empty = seen < 0
        parts.append((
            torch.where(empty, seen, seen + number * len(faces)),
            torch.where(empty, torch.full_like(depth, -1), depth),
            torch.where(empty[..., None], torch.full_like(barycentric, -1), barycentric),
        ))  # fmt: skip
    index, depth, barycentric = (torch.stack(p)[..., None] for p in zip(*parts, strict=True))
    return index, depth, barycentric.movedim(-1, -2), None


def nvdiffrast_rasterize(context, pos, tri, resolution, grad_db):
    height, width = resolution
    assert height % 8 == width % 8 == 0
    assert tri.dtype == torch.int32
    x, y, w = pos[0, :, 0], pos[0, :, 1], pos[0, :, 3]
    corners = torch.stack([(x + w) * width / 2, (y + w) * height / 2, w], dim=-1)
    faces = tri.long()
    seen = faces_seen(corners, faces, height, width, near_m=NEAR_M, cull_back=False)
    barycentric, _ = barycentrics_at(corners, faces, seen)
    depth = torch.zeros(height, width)
    rows = [barycentric[..., 0], barycentric[..., 1], depth, (seen + 1).float()]
    return torch.stack(rows, dim=-1)[None], None


@pytest.mark.parametrize("backend", ["pytorch3d", "nvdiffrast"])
@pytest.mark.parametrize("cull", [False, True])
def test_adapters_keep_to_the_conventions(backend, cull, monkeypatch):
    stand_in(
        monkeypatch,
        pytorch3d={}, pytorch3d__renderer={}, pytorch3d__renderer__mesh={},
        pytorch3d__renderer__mesh__rasterize_meshes={"rasterize_meshes": pytorch3d_rasterize},
        pytorch3d__structures={"Meshes": lambda verts, faces: (verts, faces)},
        nvdiffrast={},
        nvdiffrast__torch={
            "rasterize": nvdiffrast_rasterize, "RasterizeCudaContext": lambda device: device,
        },
    )  # fmt: skip
    monkeypatch.delitem(sys.modules, f"face3d.render.{backend}_raster", raising=False)
    mesh = ball()
    several = torch.stack([mesh.vertices, mesh.vertices + 0.1])
    mesh = dataclasses.replace(mesh, vertices=several)
    view = dataclasses.replace(camera(), width=50, height=37)
    expected = rasterize(mesh, view, backend="numba", cull_back=cull)
    found = rasterize(mesh, view, backend=backend, cull_back=cull)
    same = expected.face_index == found.face_index
    assert same.float().mean() >= 0.999
    torch.testing.assert_close(
        found.barycentric[same], expected.barycentric[same], atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(found.depth_m[same], expected.depth_m[same], rtol=1e-4, atol=1e-4)
    sys.modules.pop(f"face3d.render.{backend}_raster")
