"""The base-colour texture of a reconstructed head: the photo, completed where it shows nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.nn.functional import interpolate as interpolate_picture

from face3d.core.landmarks import LEFT_IRIS, RIGHT_IRIS
from face3d.core.threads import one_thread
from face3d.core.types import Camera, HeadMesh
from face3d.model import HeadData
from face3d.pipeline.albedo import without_light
from face3d.pipeline.grain import grain_like
from face3d.render import (
    Baked,
    bake_photo,
    fill_over_surface,
    linear_from_srgb,
    sample_texture,
    srgb_from_linear,
    texel_fragments,
)

FULL_TRUST_COS, NO_TRUST_COS = 0.55, 0.15
"""Cosines to the viewing ray between which the photo's say fades out."""

MIRROR_TRUST = 0.25
"""How much a texel's mirror image counts where the texel itself was not seen."""

GRAZING_COS, GRAZING_RANGE = 0.5, 0.3
HUE_SPREAD, SHADE_SPREAD = 0.03, 0.5
"""Ears, neck and whatever is seen at a grazing angle must look like the cheeks to be trusted: at
the outline, a head that is a millimetre off shows background, hair or clothes."""

TEETH, GUMS = (0.87, 0.83, 0.75), (0.62, 0.34, 0.33)
TONGUE, MOUTH = (0.62, 0.32, 0.32), (0.28, 0.10, 0.10)
SKIN = (0.7, 0.5, 0.4)
BROWN_IRIS, PUPIL = (0.27, 0.17, 0.10), (0.02, 0.02, 0.02)
MOST_WHITE_OF_EYE = 0.90
GREY_CHROMA = 0.012
LEAST_IRIS_PX = 1.5


@dataclass(frozen=True, kw_only=True)
class Iris:
    """An iris in a photo."""

    centre_px: tuple[float, float]
    radius_px: float


def irises_from_landmarks(landmarks: Float[np.ndarray, "478 xyz"]) -> list[Iris]:
    """The irises of eyes that are open, from face-mesh landmarks in px."""
    found = []
    for ring, (upper, lower) in ((LEFT_IRIS, (386, 374)), (RIGHT_IRIS, (159, 145))):
        centre, rim = landmarks[ring[0], :2], landmarks[list(ring)[1:], :2]
        radius = float(np.linalg.norm(rim - centre, axis=1).mean())
        opening = float(np.linalg.norm(landmarks[upper, :2] - landmarks[lower, :2]))
        if radius >= LEAST_IRIS_PX and opening > 0.7 * radius:
            found.append(Iris(centre_px=(float(centre[0]), float(centre[1])), radius_px=radius))
    return found


def _iris_colour(photo: UInt8[np.ndarray, "h w 3"], irises: Sequence[Iris]) -> Tensor:
    """The median colour between pupil and rim, at a height where lids do not cover it."""
    colours = []
    for iris in irises:
        (u, v), r = iris.centre_px, iris.radius_px
        low = np.maximum(np.floor([u - r, v - r]).astype(int), 0)
        part = photo[low[1] : int(v + r) + 2, low[0] : int(u + r) + 2]
        rows, columns = np.mgrid[: part.shape[0], : part.shape[1]] + 0.5
        x, y = (columns + low[0] - u) / r, (rows + low[1] - v) / r
        ring = (np.hypot(x, y) > 0.5) & (np.hypot(x, y) < 0.85) & (np.abs(y) < 0.45)
        colours.append(part[ring])
    seen = np.concatenate(colours) if colours else np.zeros((0, 3))
    if len(seen) < 6:
        return torch.tensor(BROWN_IRIS)
    return torch.tensor(np.median(seen, axis=0) / 255).float()


class TexelGuide:
    """What a head's texels are: region masks, and where their mirror images lie."""

    def __init__(self, data: HeadData, size: int) -> None:
        fragments = texel_fragments(data.topology, size)
        self.size = size
        self.covered = fragments.face_index >= 0
        self._faces = fragments.face_index[self.covered]
        self._share = fragments.barycentric[self.covered]
        self._corners = torch.as_tensor(data.faces)[self._faces]
        self._data = data
        self._masks: dict[str, Tensor] = {}
        self._crisp: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}
        self.mirror_uv = self._mirror_uv(data)

    def mask(self, region: str) -> Float[Tensor, "size size"]:
        """A region's membership, interpolated between vertices; zero if the head lacks it."""
        if region not in self._masks:
            out = torch.zeros(self.size, self.size)
            if region in self._data.regions:
                member = torch.as_tensor(self._data.regions[region]).float()
                out[self.covered] = (member[self._corners] * self._share).sum(-1)
            self._masks[region] = out
        return self._masks[region]

    def paint(self, rgb: Tensor, regions: tuple[str, ...], colour: Tensor) -> None:
        """Paint regions of a flat (3, size * size) texture in place, with crisp rims."""
        if regions not in self._crisp:
            # Interpolated vertex masks have soft rims. The iris ends at its last vertices, or it
            # would be a third too wide.
            member = torch.stack([self.mask(r) for r in regions]).sum(0)
            start, steep = (0.9, 10) if {"iris", "pupil"} & set(regions) else (0.45, 8)
            share = ((member - start) * steep).clamp(0, 1).flatten()
            index = torch.nonzero(share).squeeze(-1)
            self._crisp[regions] = (index, share[index])
        index, share = self._crisp[regions]
        rgb[:, index] = rgb[:, index] * (1 - share) + colour[:, None] * share

    def _mirror_uv(self, data: HeadData) -> Float[Tensor, "texel 2"] | None:
        """Texture coordinates of the mirror image of each covered texel."""
        if data.symmetry is None or data.uv is None or data.uv_faces is None:
            return None
        of_vertex: dict[int, list[int]] = {}
        for vertex, corner in set(zip(data.faces.ravel().tolist(), data.uv_faces.ravel().tolist())):
            of_vertex.setdefault(vertex, []).append(corner)
        pairs = np.stack([data.faces.ravel(), data.uv_faces.ravel()], axis=1)
        unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
        mirrored = np.zeros((len(unique), 2))
        for k, (vertex, corner) in enumerate(unique):
            options = data.uv[sorted(of_vertex[int(data.symmetry[vertex])])]
            # On a seam a vertex has several; the right one is nearest to the flipped place.
            wanted = data.uv[corner] * [-1, 1] + [1, 0]
            mirrored[k] = options[np.linalg.norm(options - wanted, axis=1).argmin()]
        by_corner = torch.from_numpy(mirrored[inverse.reshape(-1)]).float().reshape(-1, 3, 2)
        return (by_corner[self._faces] * self._share[..., None]).sum(1)


@lru_cache(maxsize=3)
def _guide(key: int, size: int) -> TexelGuide:
    return TexelGuide(_HEADS[key], size)


_HEADS: dict[int, HeadData] = {}


def texel_guide(data: HeadData, size: int) -> TexelGuide:
    """The guide of a head, kept for the next picture; people of one head model share it."""
    _HEADS.setdefault(id(data.faces), data)
    return _guide(id(data.faces), size)


def _median_colour(rgb: Tensor, weight: Tensor, fallback: tuple[float, float, float]) -> Tensor:
    """The median colour of well-seen texels."""
    seen = weight > 0.3
    if int(seen.sum()) < 12:
        return torch.tensor(fallback)
    return rgb[:, seen].median(dim=1).values


def _likeness(rgb: Tensor, colour: Tensor) -> Tensor:
    """How much each texel looks like a colour: one for the same, towards zero for another.

    Differences in brightness count much less than differences in hue: skin is shaded.
    """
    total, wanted = rgb.sum(0).clamp(min=0.03), colour.sum()
    hue = ((rgb[:2] / total - (colour[:2] / wanted)[:, None, None]) / HUE_SPREAD).square().sum(0)
    shade = ((total / wanted).log() / SHADE_SPREAD).square()
    return torch.exp(-0.5 * (hue + shade))


def _blurred(values: Float[Tensor, "size size"], reach: int) -> Float[Tensor, "size size"]:
    """Means over squares of ``2 reach + 1`` texels."""
    coarser = max(1, values.shape[-1] // 1024)  # blurred values need no such resolution
    out, reach = avg_pool2d(values[None, None], coarser), max(1, reach // coarser)
    window = 2 * reach + 1
    for size, pad in (((window, 1), (reach, 0)), ((1, window), (0, reach))):
        out = avg_pool2d(out, size, stride=1, padding=pad, count_include_pad=False)
    return interpolate_picture(out, scale_factor=float(coarser), mode="bilinear")[0, 0]


@dataclass(frozen=True, kw_only=True)
class PhotoView:
    """A photo and the head as it stands in it."""

    photo: UInt8[np.ndarray, "h w 3"]  # sRGB
    mesh: HeadMesh  # in the world frame
    camera: Camera
    irises: Sequence[Iris] = ()
    light: Float[Tensor, "9 3"] | None = None  # to be taken out


@dataclass(frozen=True, kw_only=True)
class Painted:
    """A whole texture."""

    rgb: Float[Tensor, "3 size size"]  # sRGB in [0, 1]
    trust: Float[Tensor, "size size"]  # 0 made up, 1 seen well


def trusted(
    data: HeadData, guide: TexelGuide, view: PhotoView, *, unlit: bool = True
) -> tuple[Baked, Tensor]:
    """What a photo shows of each texel, and how far it is to be trusted, 0 to 1.

    Args:
        data: The head.
        guide: Its texels.
        view: The photo; its light is taken out of the colours where ``unlit``.
        unlit: See above.
    """
    baked = bake_photo(view.photo, view.mesh, view.camera, size=guide.size)
    lit = torch.ones_like(baked.weight)
    if unlit and view.light is not None:
        baked, lit = without_light(baked, view.mesh, view.light, guide.mask("face"))
    trust = ((baked.weight - NO_TRUST_COS) / (FULL_TRUST_COS - NO_TRUST_COS)).clamp(0, 1)
    trust = trust * guide.mask("skin") if "skin" in data.regions else trust
    trust = trust * lit
    # What hides a texel ends suddenly; trust in its neighbours fades out towards it.
    seen = (baked.weight > 0) | ~guide.covered
    trust = trust * (2 * _blurred(seen.float(), guide.size // 64) - 1).clamp(0, 1)
    skin = _median_colour(baked.rgb, baked.weight * guide.mask("cheeks"), SKIN)
    # Gradual, or the texture would show the outline of the doubt.
    grazing = ((GRAZING_COS - baked.weight) / GRAZING_RANGE + 0.5).clamp(0, 1)
    doubt = torch.maximum((guide.mask("ears") + guide.mask("neck")).clamp(0, 1), grazing)
    doubt = doubt * (1 - guide.mask("scalp")).clamp(0, 1)
    return baked, trust * (1 - doubt + doubt * _likeness(baked.rgb, skin))


def _bare_skin(guide: TexelGuide) -> Float[Tensor, "size size"]:
    """Where skin has neither hair nor another colour."""
    other = torch.stack(
        [guide.mask(r) for r in ("scalp", "brows", "lips", "eyes", "eye_sockets", "mouth_interior")]
    )
    return guide.mask("skin") * (1 - other.sum(0)).clamp(0, 1)


def _px_per_metre(view: PhotoView) -> float:
    """How large the photo shows the head."""
    depth = view.mesh.vertices @ view.camera.camera_from_world[2, :3]
    return float(view.camera.fx / (depth.median() + view.camera.camera_from_world[2, 3]))


def _blended(
    views: Sequence[PhotoView], each: Sequence[tuple[Baked, Tensor]]
) -> tuple[Baked, Tensor]:
    """Several photos' texels as one: each counts by its trust and by how large it shows the head.

    Brightness and tint are brought to the first photo's, by what both show.
    """
    (first, trust_first), sizes = each[0], [_px_per_metre(view) for view in views]
    total, colour = torch.zeros_like(trust_first), torch.zeros_like(first.rgb)
    for size, (baked, trust) in zip(sizes, each, strict=True):
        both = (trust > 0.5) & (trust_first > 0.5)
        rgb = baked.rgb
        if int(both.sum()) > 100 and baked is not first:
            ratio = linear_from_srgb(first.rgb[:, both]) / linear_from_srgb(rgb[:, both]).clamp(
                min=1e-3
            )
            gain = ratio.median(dim=1).values.clamp(0.25, 4)
            rgb = srgb_from_linear(linear_from_srgb(rgb) * gain[:, None, None])
        # Squared, so that the better view decides rather than a mean of slightly shifted pictures.
        weight = (trust * size / max(sizes)) ** 2
        colour, total = colour + weight * rgb, total + weight
    best = torch.stack([baked.weight for baked, _ in each]).amax(0)
    trust = torch.stack([trust for _, trust in each]).amax(0)
    rgb = torch.where(total > 1e-6, colour / total.clamp(min=1e-6), first.rgb)
    return Baked(rgb=rgb, weight=best), trust


@one_thread()
def photo_texture(data: HeadData, views: Sequence[PhotoView], *, size: int) -> Painted:
    """A whole texture from photos of one person.

    Skin is taken from the photos where they show it well, from the mirror image of the other side
    where that was seen, and continued smoothly, with the skin's own grain, elsewhere. Eyes get the
    first photo's iris colour on a plain eyeball, so that they can turn; teeth, gums, tongue and
    mouth get plain colours.

    Args:
        data: The head.
        views: At least one; tint and brightness are those of the first.
        size: Texels on a side, a power of two.

    Returns:
        Colours, and how far they are the photos'.
    """
    guide = texel_guide(data, size)
    each = [trusted(data, guide, view) for view in views]
    baked, trust = each[0] if len(each) == 1 else _blended(views, each)
    skin = _median_colour(baked.rgb, baked.weight * guide.mask("cheeks"), SKIN)
    photo, irises = views[0].photo, views[0].irises
    rgb, support, told = baked.rgb, trust, trust
    if guide.mirror_uv is not None:
        # Colours count by their trust, or what was not seen would bleed in at the border.
        both = torch.cat([baked.rgb * trust, trust[None]])
        other = torch.zeros_like(both)
        other[:, guide.covered] = sample_texture(both, guide.mirror_uv).T
        other[:3] /= other[3].clamp(min=1e-6)
        share = (1 - trust) * other[3] * MIRROR_TRUST
        total = (trust + share).clamp(min=1e-6)
        rgb = (baked.rgb * trust + other[:3] * share) / total
        support = (trust + 4 * share).clamp(max=1)
        told = trust + share
    out = fill_over_surface(rgb, support, data.topology)
    bare = _bare_skin(guide)
    grain = grain_like(baked.rgb, trust * bare)
    if grain is not None:
        out = out * (1 + grain * bare * (1 - 4 * told).clamp(0, 1))
    iris = _iris_colour(photo, irises)
    white = _median_colour(
        baked.rgb,
        baked.weight * (guide.mask("eyes") - guide.mask("iris") - guide.mask("pupil")),
        (0.8, 0.77, 0.75),
    )
    # Lids shade the white of the eye in the photo; what turns into view later should be lighter.
    white = white.clamp(min=0.35) * (MOST_WHITE_OF_EYE / white.max().clamp(min=0.35)) ** 0.7
    white = 0.5 * (white + white.mean())  # lids tint it, too
    # A photo without colours gets none in what is made up either.
    grey = float((baked.rgb.amax(0) - baked.rgb.amin(0))[baked.weight > 0.3].median()) < GREY_CHROMA
    out = out.clamp(0, 1).flatten(1)
    guide.paint(out, ("eye_sockets",), skin * torch.tensor([0.85, 0.6, 0.6]))
    guide.paint(out, ("eyes",), white)
    guide.paint(out, ("iris", "pupil"), iris)
    guide.paint(out, ("pupil",), torch.tensor(PUPIL))
    for region, colour in (
        ("mouth_interior", MOUTH), ("gums", GUMS), ("teeth", TEETH), ("tongue", TONGUE),
    ):  # fmt: skip
        plain = torch.tensor(colour)
        guide.paint(out, (region,), plain.mean().expand(3) if grey else plain)
    return Painted(rgb=out.reshape(3, size, size), trust=told.clamp(0, 1))
