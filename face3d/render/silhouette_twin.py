"""Finding silhouettes once more, in plain torch: the compiled loops' reference, and what GPUs run.

All pairs of pixels walk at once, a face at a time; see face3d.render.numba_silhouette.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MAX_FACES = 64


def find_silhouettes_plain(
    points: Float[Tensor, "b vertex 2"],
    depth: Float[Tensor, "b vertex"],
    faces: Int[Tensor, "face 3"],
    across: Int[Tensor, "face 3"],
    near_m: float,
    seen: Int[Tensor, "b h w"],
    pixel_depth: Float[Tensor, "b h w"],
) -> tuple[Int[Tensor, "b h w 2 2"], Bool[Tensor, "b h w 2"]]:
    """The silhouette edge between each pixel and its right (0) and its lower neighbour (1)."""
    edges = torch.full((*seen.shape, 2, 2), -1, dtype=torch.int32, device=seen.device)
    towards = torch.zeros(*seen.shape, 2, dtype=torch.bool, device=seen.device)
    for axis in range(2):
        here = seen[:, :-1] if axis else seen[:, :, :-1]
        there = seen[:, 1:] if axis else seen[:, :, 1:]
        image, row, column = torch.nonzero(here != there, as_tuple=True)
        if not len(image):
            continue
        walk = _Walk(points, depth, faces, across, near_m, image)
        first, second = here[image, row, column], there[image, row, column]
        nearer = pixel_depth[image, row + axis, column + 1 - axis] < pixel_depth[image, row, column]
        swap = (first < 0) | ((second >= 0) & nearer)
        start = torch.where(swap, second, first)
        place = torch.stack([column, row], dim=-1).double() + 0.5
        step = place.new_tensor([1 - axis, axis]).expand_as(place)
        place = torch.where(swap[:, None], place + step, place)
        found = walk.ends(start, place, torch.where(swap[:, None], -step, step))
        both = (first >= 0) & (second >= 0)
        goes_on = both & walk.goes_on(first.clamp(min=0), second.clamp(min=0))
        met = (found[:, 0] >= 0) & ~goes_on
        ends = points[image[:, None], found.clamp(min=0)]
        run = (ends[:, 1] - ends[:, 0]).abs()
        met &= run.amax(-1) > 0
        met &= (run[:, 1] >= run[:, 0]) == (axis == 0)
        at = (image[met], row[met], column[met], torch.full_like(row[met], axis))
        edges[at] = found[met].int()
        towards[at] = swap[met]
    return edges, towards


class _Walk:
    """Ways over the faces of several pictures."""

    def __init__(
        self,
        points: Tensor,
        depth: Tensor,
        faces: Tensor,
        across: Tensor,
        near_m: float,
        image: Tensor,
    ) -> None:
        self.points, self.depth, self.faces = points.double(), depth.double(), faces
        self.across, self.near_m, self.image = across, near_m, image

    def corners(self, face: Tensor) -> Float[Tensor, "way 3 2"]:
        """Pixels of the corners of one face for each way."""
        return self.points[self.image[:, None], self.faces[face]]

    def double_area(self, face: Tensor) -> Float[Tensor, "way"]:
        """Twice the signed area in the picture."""
        a, b, c = self.corners(face).unbind(1)
        return _cross(b - a, c - a)

    def goes_on(self, face: Tensor, other: Tensor) -> Bool[Tensor, "way"]:
        """Whether two faces share an edge and turn the same way."""
        adjoin = (self.across[face] == other[:, None]).any(-1)
        return adjoin & (self.double_area(face) * self.double_area(other) > 0)

    def ends(
        self, face: Tensor, place: Float[Tensor, "way 2"], step: Float[Tensor, "way 2"]
    ) -> Int[Tensor, "way 2"]:
        """The edge behind which nothing goes on, or -1 where there is none within a step."""
        sign = torch.where(self.double_area(face) > 0, 1.0, -1.0).double()
        at = torch.zeros_like(sign)
        entered = torch.full_like(face, -1)
        found = torch.full((len(face), 2), -1, dtype=torch.int64, device=face.device)
        going = torch.ones_like(face, dtype=torch.bool)
        ring = torch.arange(3, device=face.device)
        for _ in range(MAX_FACES):
            corners = self.corners(face)
            a, b = corners.roll(-1, 1), corners.roll(-2, 1)
            near = self.depth[self.image[:, None], self.faces[face]] < self.near_m
            going &= ~near.any(-1)
            start = sign[:, None] * _cross(b - a, place[:, None] - a)
            end = sign[:, None] * _cross(b - a, (place + step)[:, None] - a)
            way = torch.where(end < start, start / (start - end), torch.inf).maximum(at[:, None])
            way = torch.where(ring == entered[:, None], torch.inf, way)
            best, leaving = way.min(-1)
            going &= best < 1
            following = self.across[face, leaving]
            beyond = torch.where(following < 0, face, following)
            last = (following < 0) | (sign * self.double_area(beyond) <= 0)
            pair = torch.stack(
                [self.faces[face, (leaving + 1) % 3], self.faces[face, (leaving + 2) % 3]], -1
            )
            found = torch.where((going & last)[:, None], pair, found)
            going &= ~last
            if not going.any():
                break
            theirs = self.faces[beyond]
            p, q = theirs.roll(-1, 1), theirs.roll(-2, 1)
            first, second = pair[:, :1], pair[:, 1:]
            same = ((p == first) & (q == second)) | ((p == second) & (q == first))
            entered = torch.where(going, same.int().argmax(-1), entered)
            face, at = torch.where(going, beyond, face), torch.where(going, best, at)
        return found


def _cross(a: Float[Tensor, "*n 2"], b: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
