"""What networks are trained for on photos whose truth nobody knows.

Landmarks lie from -1 to 1 across a crop, pictures are sRGB in [0, 1]. Every function gives the mean
over a batch.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

Embedding = Callable[[Float[Tensor, "b 3 h w"]], Float[Tensor, "b feature"]]
"""Any network from pictures to features, given by the user."""

ROBUST = 0.02
"""Error of a landmark beyond which it pulls no stronger, of the crop's half."""

TURNED_AWAY = 0.15
"""Cosine to the camera's axis at which half of a landmark counts: behind it is guessed."""

LIDS = ((159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373))
LIPS = ((13, 14), (82, 87), (312, 317), (0, 17), (61, 291))
"""MediaPipe's points whose distances say how far eyes and mouth are open."""

IMPORTANT = {1: 3.0, 4: 3.0, 61: 3.0, 291: 3.0, 13: 2.0, 14: 2.0, 0: 1.5, 17: 1.5}
"""The nose's tip, the mouth's corners and its middle count more than others, as in DECA."""


def landmark_loss(
    found: Float[Tensor, "b landmark 2"],
    seen: Float[Tensor, "b landmark 2"],
    *,
    facing: Float[Tensor, "b landmark"] | None = None,
    weight: Float[Tensor, "landmark"] | None = None,
) -> Float[Tensor, ""]:
    """Distances between landmarks, robust, those on the far side left out.

    Small errors count as squares over ROBUST, large ones as lengths (Huber, 1964).

    Args:
        found: Of a head.
        seen: Detected.
        facing: Cosine between the head's skin and the camera's axis; counts for nothing in the
            gradient, or heads would turn away from what they cannot meet.
        weight: How much each counts.
    """
    length = (found - seen).square().sum(-1).clamp(min=1e-12).sqrt()
    cost = torch.where(length < ROBUST, 0.5 * length.square() / ROBUST, length - 0.5 * ROBUST)
    share = torch.ones_like(cost)
    if facing is not None:
        share = share * ((facing.detach() - TURNED_AWAY) / 0.05).sigmoid()
    if weight is not None:
        share = share * weight
    return (cost * share).sum() / share.sum().clamp(min=1e-6)


def distance_loss(
    found: Float[Tensor, "b landmark 2"],
    seen: Float[Tensor, "b landmark 2"],
    pairs: tuple[tuple[int, int], ...],
) -> Float[Tensor, ""]:
    """How far apart pairs of landmarks are: it matters to an eye or a mouth more than where it is.

    Args:
        found: All of MediaPipe's 478, in their order.
        seen: The same.
        pairs: Of numbers, such as LIDS and LIPS.
    """
    a, b = (list(side) for side in zip(*pairs, strict=True))
    return ((found[:, a] - found[:, b]) - (seen[:, a] - seen[:, b])).abs().sum(-1).mean()


def photometric_loss(
    drawn: Float[Tensor, "b 3 h w"],
    photo: Float[Tensor, "b 3 h w"],
    mask: Bool[Tensor, "b h w"] | Float[Tensor, "b h w"],
) -> Float[Tensor, ""]:
    """Differences of colours where the mask is.

    As lengths over the colours, which outliers bend less than squares would.
    """
    off = ((drawn - photo).square().sum(1) + 1e-6).sqrt()
    share = mask.to(off.dtype)
    per_photo = (off * share).sum((1, 2)) / share.sum((1, 2)).clamp(min=1)
    return per_photo.mean()


def identity_loss(
    embed: Embedding, drawn: Float[Tensor, "b 3 h w"], photo: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, ""]:
    """One minus the cosine between what a recognition network says of both pictures."""
    with torch.no_grad():
        known = embed(photo)
    return (1 - cosine_similarity(embed(drawn), known, dim=1)).mean()


def symmetry_loss(
    texture: Float[Tensor, "b channel h w"],
    mirrored: Float[Tensor, "b channel h w"],
    trust: Float[Tensor, "b h w"],
) -> Float[Tensor, ""]:
    """Differences between a map and its mirror image, where it is not seen.

    Args:
        texture: A map on the head.
        mirrored: The same for the other side of the face.
        trust: One where the photo tells the map, zero where symmetry has to.
    """
    free = 1 - trust
    off = (texture - mirrored.detach()).abs().mean(1)
    return (off * free).sum() / free.sum().clamp(min=1)


def smoothness_loss(field: Float[Tensor, "b channel h w"]) -> Float[Tensor, ""]:
    """Mean difference between neighbours, total variation (Rudin et al., 1992)."""
    across = (field[..., 1:] - field[..., :-1]).abs().mean()
    down = (field[..., 1:, :] - field[..., :-1, :]).abs().mean()
    return across + down


def white_light_loss(light: Float[Tensor, "b 9 3"]) -> Float[Tensor, ""]:
    """How coloured light is: colour belongs to skin unless a photo says otherwise."""
    return (light - light.mean(2, keepdim=True)).square().mean()


def patch_loss(
    drawn: Float[Tensor, "b channel h w"],
    photo: Float[Tensor, "b channel h w"],
    *,
    patch: int = 3,
    stride: int = 2,
    sharpness: float = 0.5,
) -> Float[Tensor, ""]:
    """Implicit diversified Markov random field of patches (Wang et al., 2018).

    Each patch of the photo must have a patch of the drawing that is like it and like no other.
    Where patches lie does not matter, so wrinkles may be a little off and still count, and a
    smooth drawing has nothing that is like a wrinkle.

    Args:
        drawn: Features of a drawing: of any network, or colours themselves.
        photo: Of the photo.
        patch: Side of the patches.
        stride: Between them.
        sharpness: Of the choice; smaller is sharper.
    """
    unfold = torch.nn.Unfold(patch, stride=stride)
    centre = photo.mean((2, 3), keepdim=True)
    v, s = (normalize(unfold(x - centre).movedim(1, 2), dim=-1) for x in (drawn, photo))
    cosine = v @ s.mT
    if cosine.shape[1] < 2:
        raise ValueError(f"{cosine.shape[1]} patches are too few; give larger pictures.")
    apart = (1 - cosine) / 2
    # Relative to the patch of the photo that is nearest to it.
    nearest = apart.amin(dim=2, keepdim=True)
    likeness = ((1 - apart / (nearest + 1e-5)) / sharpness).exp()
    likeness = likeness / likeness.sum(2, keepdim=True)
    best = likeness.amax(dim=1)
    return -(best.mean(1).clamp(min=1e-8)).log().mean()


def skull_loss(
    moved: Float[Tensor, "b vertex 3"], motions: Float[Tensor, "coordinate motion"]
) -> Float[Tensor, ""]:
    """How far an expression moves the face as a whole, mm: that is the skull's to do.

    Where it is not kept down, a network says a nod by an expression, and a take that is put on
    another head shakes it (Bednarik et al., 2024, on stabilising).

    Args:
        moved: What the expression does to vertices that lie on bone, metres.
        motions: Orthonormal motions of them as a whole, as of ``whole_motions``.
    """
    share = moved.flatten(1) @ motions
    return 1000 * (share.square().sum(1) / moved.shape[1] + 1e-12).sqrt().mean()


def whole_motions(
    points: Float[Tensor, "vertex 3"], *, growth: bool = True
) -> Float[Tensor, "coordinate motion"]:
    """Orthonormal small motions of points as a whole: along and about each axis, and growth."""
    off = points - points.mean(0)
    axes = torch.eye(3, dtype=points.dtype, device=points.device)
    moves = [axis.expand_as(points) for axis in axes]
    turns = [torch.linalg.cross(axis.expand_as(off), off) for axis in axes]
    every = torch.stack([*moves, *turns, *([off] if growth else [])]).flatten(1)
    return torch.linalg.qr(every.T)[0]


def metric_shape_loss(
    found: Float[Tensor, "b vertex 3"],
    truth: Float[Tensor, "b vertex 3"],
    weight: Float[Tensor, "vertex"],
) -> Float[Tensor, ""]:
    """Mean distance between faces at rest, mm, by region (Zielonka et al., 2022).

    Nothing is aligned: size and place count, because a metric head must have both right.
    """
    apart = (found - truth).abs().sum(-1)
    return 1000 * (apart * weight).sum() / (weight.sum() * len(found))


def mouth_crops(
    pictures: Float[Tensor, "b 3 h w"], landmarks: Float[Tensor, "b 478 2"], *, size: int = 88
) -> Float[Tensor, "b 3 size size"]:
    """The mouths in pictures, twice as wide as they are; differentiable.

    Args:
        pictures: Crops of faces.
        landmarks: Where the mouths are cut out; the same for photo and drawing.
        size: Side of what is cut out, px.
    """
    corners = landmarks[:, [61, 291, 0, 17]].detach()
    centre = corners.mean(1)
    half = (corners[:, 0] - corners[:, 1]).norm(dim=-1).clamp(min=0.05)
    line = torch.linspace(-1, 1, size, device=pictures.device)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    places = centre[:, None, None] + half[:, None, None, None] * grid
    return torch.nn.functional.grid_sample(
        pictures, places, padding_mode="border", align_corners=False
    )


def lip_reading_loss(
    reader: Embedding,
    drawn: Float[Tensor, "b 3 h w"],
    photo: Float[Tensor, "b 3 h w"],
    landmarks: Float[Tensor, "b 478 2"],
) -> Float[Tensor, ""]:
    """One minus the cosine between what a lip reader says of both mouths (SPECTRE, 2022).

    Args:
        reader: Any network from mouth crops of a video's frames, in order, to features.
        drawn: The head's frames.
        photo: The video's.
        landmarks: Detected in the video.
    """
    with torch.no_grad():
        known = reader(mouth_crops(photo, landmarks))
    said = reader(mouth_crops(drawn, landmarks))
    return (1 - cosine_similarity(said, known, dim=1)).mean()


def weighted(parts: dict[str, Float[Tensor, ""]], weights: dict[str, float]) -> Float[Tensor, ""]:
    """The weighted sum of those parts that there are."""
    return torch.stack([weights[name] * value for name, value in parts.items()]).sum()


class Given:
    """A network of the user, used as it is: it learns nothing and is no part of a checkpoint.

    Args:
        network: Any callable from pictures to features; a module is put into its state for use.
    """

    def __init__(self, network: Embedding) -> None:
        if isinstance(network, torch.nn.Module):
            network = network.eval().requires_grad_(False)
        self.network = network

    def __call__(self, pictures: Float[Tensor, "b channel h w"]) -> Float[Tensor, "b feature"]:
        """What it says of pictures, where they are."""
        if isinstance(self.network, torch.nn.Module):
            self.network.to(pictures.device)
        return self.network(pictures)
