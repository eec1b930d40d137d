"""What one photo says of fine relief: the network's answer, texel by texel."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from face3d.core.types import Camera, Fragments, HeadMesh
from face3d.detail.net import ReliefNet, relief_features
from face3d.detail.strain import metric
from face3d.render import Baked, interpolate, linear_from_srgb, sh_basis
from face3d.render.detail import normals_of_relief, texel_axes, texel_normals
from face3d.render.rows import index_tensor

DARK = 0.01
"""Added to linear colours before the logarithm, as in training."""

USUAL_SKIN = 0.25
"""Linear brightness of skin in training, to which photos are brought."""

QUIET, LOUD = 0.012, 0.035
"""Slopes of relief: below the first it is noise and left out, above the second it is kept whole."""

LONGEST_MM = 25.0
"""Waves of relief; longer ones are the head's form."""

MOST_LEAN, LEAST_SHADE, MOST_SHADE = 3.0, -3.0, 0.5
RIM_MM = 3.0
"""Over which trust fades out towards what is not seen."""


@dataclass(frozen=True, kw_only=True)
class PhotoRelief:
    """Heights in metres; zero where nothing is known."""

    height: Float[Tensor, "size size"]
    trust: Float[Tensor, "size size"]


@dataclass(frozen=True, kw_only=True)
class Texels:
    """Where a head's texels are, and which of them are skin."""

    fragments: Fragments
    skin: Float[Tensor, "size size"]
    box: tuple[int, int, int, int]  # first and last row, first and last column of skin


def relief_of_photo(
    net: ReliefNet,
    baked: Baked,
    texels: Texels,
    mesh: HeadMesh,
    camera: Camera,
    light: Float[Tensor, "9 3"],
    trust: Float[Tensor, "size size"],
) -> PhotoRelief:
    """Fine relief that one photo shows.

    Args:
        net: Trained.
        baked: The photo's colours at the texels.
        texels: Of the head.
        mesh: The posed surface in the world frame.
        camera: Of the photo.
        light: Irradiance as coefficients of sh_basis in the world's axes, up to a factor.
        trust: How far each texel's colours are the skin's there, 0 to 1.
    """
    covered = texels.fragments.face_index >= 0
    size = covered.shape[-1]
    normal = texel_normals(mesh, texels.fragments)
    axes = texel_axes(mesh, texels.fragments)
    texel_m = _texel_size(axes, texels.skin[covered], size)
    lean, shade = _leans(normal, axes, light)
    lean = (lean * size * texel_m).clamp(-MOST_LEAN, MOST_LEAN)
    pixel = _pixel_sizes(mesh, camera, texels.fragments, baked.weight[covered]) / texel_m
    seen = trust * texels.skin
    seen = seen * _away_from_rim(seen, max(1, round(RIM_MM * 1e-3 / float(texel_m))))

    def picture(values: Float[Tensor, "channel texel"], empty: float = 0.0) -> Tensor:
        out = torch.full((len(values), size, size), empty)
        out[:, covered] = values
        return out

    linear = linear_from_srgb(baked.rgb)
    linear = linear * (USUAL_SKIN / linear.mean(0)[seen > 0.5].median().nan_to_num(1).clamp(1e-3))
    top, bottom, left, right = texels.box
    cut = (..., slice(top, bottom), slice(left, right))
    features = relief_features(
        (linear[cut] + DARK).log(),
        picture(lean)[cut],
        picture(shade[None])[cut],
        seen[None][cut],
        picture(pixel[None], 1.0)[cut],
        texel_m * 1e3,
    )
    with torch.no_grad():
        batch = features[None].contiguous(memory_format=torch.channels_last)
        found = _without_noise(net(batch)[0]) * seen[None][cut]
    height = torch.zeros(size, size)
    height[cut] = heights_of_slopes(found, LONGEST_MM * 1e-3 / float(texel_m)) * texel_m
    return PhotoRelief(height=height, trust=seen)


def _texel_size(axes: Tensor, skin: Tensor, size: int) -> Float[Tensor, ""]:
    """Side of a typical texel of skin, metres."""
    area = metric(axes).determinant.sqrt()
    return area[skin > 0.5].median().sqrt() / size


def _leans(
    normal: Float[Tensor, "texel 3"], axes: Float[Tensor, "texel 6"], light: Float[Tensor, "9 3"]
) -> tuple[Float[Tensor, "2 texel"], Float[Tensor, "texel"]]:
    """How the logarithm of light changes with a slope of one metre per texture unit, by u and down.

    The second is the logarithm of light over the most that any direction gets.
    """
    grey = light.mean(1)
    directions = normalize(torch.randn(400, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    white = (sh_basis(directions) @ grey).amax().clamp(min=1e-6)
    with torch.enable_grad():  # the caller may have no use for gradients
        slope = torch.zeros(len(normal), 2, requires_grad=True)
        level = sh_basis(normals_of_relief(normal, axes, slope)) @ grey
        (by_slope,) = torch.autograd.grad(level.sum(), slope)
    level = level.detach().clamp(min=float(0.04 * white))
    lean_u, lean_v = (by_slope / level[:, None]).unbind(-1)
    shade = (level / white).log().clamp(LEAST_SHADE, MOST_SHADE)
    return torch.stack([lean_u, -lean_v]), shade  # rows run down, v up


def _pixel_sizes(
    mesh: HeadMesh, camera: Camera, fragments: Fragments, facing: Tensor
) -> Float[Tensor, "texel"]:
    """Metres of skin that a pixel of the photo covers."""
    faces = index_tensor(mesh.topology.faces)
    place = interpolate(fragments, mesh.vertices, faces)[fragments.face_index >= 0]
    view = camera.camera_from_world
    depth = (place @ view[2, :3] + view[2, 3]).clamp(min=0.01)
    return depth / camera.fx / facing.clamp(min=0.2).sqrt()


def _away_from_rim(seen: Tensor, texels: int) -> Tensor:
    """One inside of what is seen, zero at its rim and outside."""
    window = 2 * texels + 1
    inside = avg_pool2d(
        (seen > 0.2).float()[None, None], window, stride=1, padding=texels, count_include_pad=False
    )[0, 0]
    return (2 * inside - 1).clamp(0, 1)


def _without_noise(slope: Float[Tensor, "2 h w"]) -> Float[Tensor, "2 h w"]:
    """Relief that is too faint to be told from noise is none."""
    power = avg_pool2d(slope.square().sum(0)[None, None], 9, stride=1, padding=4)[0]
    share = ((power.sqrt() - QUIET) / (LOUD - QUIET)).clamp(0, 1)
    return slope * share * share * (3 - 2 * share)


def heights_of_slopes(slope: Float[Tensor, "2 h w"], longest: float) -> Float[Tensor, "h w"]:
    """The surface whose slopes are nearest to given ones (Frankot & Chellappa, 1988).

    Args:
        slope: Rise per column and per row.
        longest: Waves longer than this are left out more and more, pixels.
    """
    h, w = slope.shape[1:]
    # Room around it, or it would go on at the opposite side.
    room = int(min(longest, 64))
    padded = torch.nn.functional.pad(slope, (0, room, 0, room))
    fx = 2 * torch.pi * torch.fft.rfftfreq(w + room)[None, :]
    fy = 2 * torch.pi * torch.fft.fftfreq(h + room)[:, None]
    by_x, by_y = torch.fft.rfft2(padded)
    # Of central differences, as slopes are taken elsewhere.
    sx, sy = fx.sin(), fy.sin()
    power = sx**2 + sy**2
    least = (2 * torch.pi / longest) ** 2
    wave = (-1j) * (sx * by_x + sy * by_y) / (power + least * least / (power + least))
    # The highest waves have no central difference.
    wave = torch.where(torch.maximum(fx.abs(), fy.abs()) > 0.9 * torch.pi, 0, wave)
    return torch.fft.irfft2(wave, s=(h + room, w + room))[:h, :w]


def make_texels(fragments: Fragments, skin: Float[Tensor, "size size"]) -> Texels:
    """Texels with the box around skin, whose sides are multiples of eight."""
    rows, columns = (torch.nonzero(skin.amax(axis) > 0).flatten() for axis in (1, 0))
    size = skin.shape[-1]
    top, bottom = _eights(rows, size)
    left, right = _eights(columns, size)
    return Texels(fragments=fragments, skin=skin, box=(top, bottom, left, right))


def _eights(places: Int[Tensor, "_"], size: int) -> tuple[int, int]:
    return int(places[0]) // 8 * 8, min(size, (int(places[-1]) // 8 + 1) * 8)
