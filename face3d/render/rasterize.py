"""Which face is seen at each pixel, and where on it."""

from typing import Literal

import numba
import numpy as np
import torch

from face3d.core.camera import project
from face3d.core.checks import require_finite
from face3d.core.errors import InputError
from face3d.core.types import Camera, Fragments, HeadMesh
from face3d.render.numba_kernel import rasterize_batch
from face3d.render.torch_twin import rasterize_plain

NEAR_M = 0.01
"""Faces that come nearer to the camera than this are not drawn."""


def rasterize(
    mesh: HeadMesh,
    camera: Camera,
    *,
    backend: Literal["auto", "numba", "torch"] = "auto",
    cull_back: bool = True,
) -> Fragments:
    """Find the nearest face, its barycentric coordinates and the depth at every pixel centre.

    Args:
        mesh: Surface in the world frame of ``camera``; leading axes are a batch.
        camera: One camera, or one per mesh of the batch.
        backend: "numba" is compiled and parallel, "torch" its slow plain twin; "auto" is numba.
        cull_back: Leave out faces that turn their back to the camera.

    Returns:
        Fragments of shape ``(*batch, camera.height, camera.width)``. A face with a corner nearer
        than NEAR_M, behind the camera or more than a million pixels outside is left out.

    Raises:
        InputError: Vertices are not finite, a face names a vertex that does not exist, or the
            picture has no pixels or more than 16,384 on a side.
    """
    require_finite("mesh.vertices", mesh.vertices)
    for name, size in (("height", camera.height), ("width", camera.width)):
        if not 0 < size <= 16384:
            raise InputError(f"camera.{name} is {size}; it must be between 1 and 16384 px.")
    count = mesh.vertices.shape[-2]
    faces = mesh.topology.faces
    if faces.size and (faces.min() < 0 or faces.max() >= count):
        raise InputError(f"A face names vertex {faces.max()}, but the mesh has {count} vertices.")
    points = project(camera, mesh.vertices.detach())
    batch = points.shape[:-2]
    flat = points.reshape(-1, count, 3).double()
    size = (flat.shape[0], camera.height, camera.width)
    if backend == "torch":
        each = [
            rasterize_plain(
                p,
                torch.as_tensor(faces),
                camera.height,
                camera.width,
                near_m=NEAR_M,
                cull_back=cull_back,
            )
            for p in flat
        ]
        face_index = torch.stack([e.face_index for e in each])
        barycentric = torch.stack([e.barycentric for e in each])
        depth_m = torch.stack([e.depth_m for e in each])
    else:
        face_index = torch.full(size, -1, dtype=torch.int64)
        barycentric = torch.zeros(*size, 3)
        depth_m = torch.full(size, torch.inf)
        bands = max(1, -(-numba.get_num_threads() // size[0]))
        rasterize_batch(
            flat.cpu().numpy(),
            np.ascontiguousarray(faces, dtype=np.int64),
            NEAR_M,
            cull_back,
            bands,
            face_index.numpy(),
            barycentric.numpy(),
            depth_m.numpy(),
        )
    return Fragments(
        face_index=face_index.reshape(*batch, *size[1:]),
        barycentric=barycentric.reshape(*batch, *size[1:], 3),
        depth_m=depth_m.reshape(*batch, *size[1:]),
    )
