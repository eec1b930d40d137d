"""Which face is seen at each pixel, and where on it."""

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.core.camera import homogeneous_pixels
from face3d.core.checks import require_finite
from face3d.core.errors import InputError, MissingDependencyError
from face3d.core.types import Camera, Fragments, HeadMesh
from face3d.render.autograd import first_order
from face3d.render.memory import scratch
from face3d.render.numba_raster import pull_back_batch, rasterize_batch
from face3d.render.rows import index_array
from face3d.render.torch_twin import barycentrics_at, faces_seen

Backend = Literal["auto", "numba", "torch", "warp", "pytorch3d", "nvdiffrast"]

NEAR_M = 0.01
"""Faces are cut off where they come nearer to the camera than this."""

MAX_PX = 16384

MAX_PIXELS = 2**27
"""Of all pictures of a batch together."""

FAR_M = 1e9
"""Vertices farther out are refused: squares of their coordinates would leave single precision."""


@dataclass(frozen=True, kw_only=True)
class RasterJob:
    """What every back end gets: a flat batch that shares its faces."""

    corners: Float[Tensor, "batch vertex 3"]  # homogeneous pixels (u z, v z, z)
    faces: Int[np.ndarray, "face 3"]  # int64, contiguous, in range
    height: int
    width: int
    cull_back: bool


RasterResult = tuple[Tensor, Tensor, Tensor]
"""Face index (b, h, w), barycentrics (b, h, w, 3), depth (b, h, w)."""


def rasterize(
    mesh: HeadMesh | Sequence[HeadMesh],
    camera: Camera,
    *,
    backend: Backend = "auto",
    cull_back: bool = True,
) -> Fragments:
    """Find the nearest face, its barycentric coordinates and the depth at every pixel centre.

    Coverage follows the top-left rule on corners snapped to 1/256 px, so neighbouring faces leave
    no crack and share no pixel. Barycentrics and depth are exact at the pixel's centre and
    differentiable with respect to the vertices and the camera; the face index is not.

    Args:
        mesh: Surface in the world frame of ``camera``; leading axes are a batch. Or several single
            meshes of different topologies, which become the batch.
        camera: One camera, or one per mesh of the batch.
        backend: "numba" is compiled for the CPU and parallel, "warp" for CUDA, "torch" their slow
            plain twin; "pytorch3d" and "nvdiffrast" are other people's. "auto" is numba on the CPU
            and warp on a GPU.
        cull_back: Leave out faces that turn their back to the camera.

    Returns:
        Fragments of shape ``(*batch, camera.height, camera.width)``. What is nearer than NEAR_M is
        cut away.

    Raises:
        InputError: Vertices are not finite or farther than FAR_M, a face names a vertex that does
            not exist, or the picture has no pixels, more than 16,384 on a side or more than
            MAX_PIXELS in all.
        MissingDependencyError: The back end's package is not installed.
    """
    for name, size in (("height", camera.height), ("width", camera.width)):
        if not 0 < size <= MAX_PX:
            raise InputError(f"camera.{name} is {size}; it must be between 1 and {MAX_PX} px.")
    if not isinstance(mesh, HeadMesh):
        if not len(mesh):
            raise InputError("There is no mesh to draw; give at least one.")
        pairs = zip(mesh, _cameras(camera, len(mesh)), strict=True)
        return _stacked([rasterize(m, c, backend=backend, cull_back=cull_back) for m, c in pairs])
    require_finite("mesh.vertices", mesh.vertices)
    if mesh.vertices.numel() and float(mesh.vertices.detach().abs().max()) > FAR_M:
        raise InputError(f"mesh.vertices reach beyond {FAR_M:g} m; check the unit.")
    count = mesh.vertices.shape[-2]
    faces = mesh.topology.faces
    if faces.size and (faces.min() < 0 or faces.max() >= count):
        worst = faces.min() if faces.min() < 0 else faces.max()
        raise InputError(f"A face names vertex {worst}, but the mesh has {count} vertices.")
    corners = homogeneous_pixels(camera, mesh.vertices)
    batch = corners.shape[:-2]
    pixels = math.prod(batch) * camera.height * camera.width
    if pixels > MAX_PIXELS:
        raise InputError(
            f"{math.prod(batch)} pictures of {camera.width} by {camera.height} px are {pixels} "
            f"pixels; draw at most {MAX_PIXELS} at once."
        )
    job = RasterJob(
        corners=corners.reshape(math.prod(batch), count, 3),
        faces=index_array(faces),
        height=camera.height,
        width=camera.width,
        cull_back=cull_back,
    )
    seen, barycentric, depth = backend_named(backend, corners.device)(job)
    size = (*batch, camera.height, camera.width)
    return Fragments(
        face_index=seen.reshape(size),
        barycentric=barycentric.reshape(*size, 3),
        depth_m=depth.reshape(size),
    )


def _cameras(camera: Camera, count: int) -> list[Camera]:
    """One camera for each of several meshes."""
    names = {"fx": 0, "fy": 0, "cx": 0, "cy": 0, "camera_from_world": 2}
    values = {name: getattr(camera, name) for name in names}
    sizes = {len(v) for name, v in values.items() if v.ndim > names[name]}
    if sizes - {count}:
        raise InputError(f"{max(sizes)} cameras for {count} meshes; give one, or one for each.")

    def of(k: int) -> dict[str, Tensor]:
        return {n: v[k] if v.ndim > names[n] else v for n, v in values.items()}

    return [replace(camera, **of(k)) for k in range(count)]


def _stacked(each: list[Fragments]) -> Fragments:
    return Fragments(
        face_index=torch.stack([e.face_index for e in each]),
        barycentric=torch.stack([e.barycentric for e in each]),
        depth_m=torch.stack([e.depth_m for e in each]),
    )


class _Numba(torch.autograd.Function):
    """The compiled loops as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, corners: Tensor, job: RasterJob) -> RasterResult:
        """Rasterize ``corners``; the job's own are not used."""
        size = (len(corners), job.height, job.width)
        seen = scratch(size, torch.int64)
        barycentric, depth = scratch((*size, 3), corners.dtype), scratch(size, corners.dtype)
        exact = corners.detach().double().contiguous().numpy()
        bands = max(1, -(-numba.get_num_threads() // max(1, len(corners))))
        rasterize_batch(
            exact, job.faces, NEAR_M, job.cull_back, bands,
            seen.numpy(), barycentric.numpy(), depth.numpy(),
        )  # fmt: skip
        ctx.job, ctx.exact, ctx.bands = job, exact, bands
        ctx.save_for_backward(seen, barycentric)
        ctx.mark_non_differentiable(seen)
        return seen, barycentric, depth

    @staticmethod
    @first_order
    def backward(ctx: Any, *by_output: Tensor) -> tuple[Tensor, None]:
        """Derivatives by the corners."""
        seen, barycentric = ctx.saved_tensors
        _, by_barycentric, by_depth = by_output
        pulled = pull_back_batch(
            ctx.exact, ctx.job.faces, ctx.bands, seen.numpy(), barycentric.numpy(),
            by_barycentric.contiguous().numpy(), by_depth.contiguous().numpy(),
        )  # fmt: skip
        return torch.from_numpy(pulled).to(barycentric.dtype), None


def _rasterize_numba(job: RasterJob) -> RasterResult:
    return _Numba.apply(job.corners, job)  # type: ignore[no-any-return]


def _rasterize_plain(job: RasterJob) -> RasterResult:
    faces = torch.as_tensor(job.faces)
    seen = [
        faces_seen(c, faces, job.height, job.width, near_m=NEAR_M, cull_back=job.cull_back)
        for c in job.corners
    ]
    each = [barycentrics_at(c, faces, s) for c, s in zip(job.corners, seen, strict=True)]
    return torch.stack(seen), torch.stack([e[0] for e in each]), torch.stack([e[1] for e in each])


_BACKENDS: dict[str, Callable[[RasterJob], RasterResult]] = {
    "numba": _rasterize_numba,
    "torch": _rasterize_plain,
}

OPTIONAL_BACKENDS = {
    "warp": ("warp", "pip install 'face3d[warp]'"),
    "pytorch3d": ("pytorch3d", "build it as its INSTALL.md says (the extra 'face3d[pytorch3d]')"),
    "nvdiffrast": (
        "nvdiffrast",
        "build it as its site says, for non-commercial use (the extra 'face3d[nvdiffrast]')",
    ),
}
"""The package that each needs, and how it is installed."""


def backend_named(name: str, device: torch.device) -> Callable[[RasterJob], RasterResult]:
    """The function of a back end, imported only when asked for."""
    if name == "auto":
        name = "numba" if device.type == "cpu" else "warp"
    if name == "numba" and device.type != "cpu":
        raise InputError(
            f"The mesh is on {device}, but backend 'numba' draws on the CPU; use 'auto'."
        )
    if name in _BACKENDS:
        return _BACKENDS[name]
    if name not in OPTIONAL_BACKENDS:
        known = ", ".join(["auto", *_BACKENDS, *OPTIONAL_BACKENDS])
        raise InputError(f"There is no backend {name!r}; use one of {known}.")
    package, how = OPTIONAL_BACKENDS[name]
    try:
        module = importlib.import_module(f"face3d.render.{name}_raster")
    except ImportError as error:
        raise MissingDependencyError(
            f"The backend {name!r} needs {package}, which is not installed: {how}."
        ) from error
    return getattr(module, f"rasterize_{name}")  # type: ignore[no-any-return]
