"""Small pieces of skin as photos show them, with their relief.

Everything is drawn at random: wrinkles, folds, pores and bumps; blood, melanin, freckles, hair and
pencil strokes; lights, gloss, light under the skin, sharpness and noise; and how wrong the light is
that a fit would have found. Half of the patches have hardly any relief, because most skin has none
that a photo shows, and the network must say so.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, normalize

SIZE = 96
LINES = 7


@dataclass(frozen=True, kw_only=True)
class Patches:
    """A batch."""

    log_rgb: Tensor  # (b, 3, h, w)
    lean: Tensor  # (b, 2, h, w)
    shade: Tensor  # (b, 1, h, w)
    seen: Tensor  # (b, 1, h, w)
    pixel_texels: Tensor  # (b, 1, h, w)
    texel_mm: Tensor  # (b,)
    height: Tensor  # (b, 1, h, w), texels


class Dice:
    """Random numbers of a seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def even(self, low: float, high: float, *shape: int) -> Tensor:
        """Between two numbers."""
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def log(self, low: float, high: float, *shape: int) -> Tensor:
        """Between two numbers, evenly by ratio."""
        return low * (high / low) ** self.even(0, 1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(*shape, generator=self.generator)

    def chance(self, share: float, *shape: int) -> Tensor:
        """One with a probability, else zero."""
        return (torch.rand(*shape, generator=self.generator) < share).float()


def _column(values: Tensor) -> Tensor:
    """Of each patch, to multiply pictures."""
    return values.reshape(-1, 1, 1, 1)


def noise(dice: Dice, count: int, channels: int, cell: int, size: int = SIZE) -> Tensor:
    """Smooth noise of unit variance or so; ``cell`` texels between its knots."""
    knots = size // cell + 3
    small = dice.normal(count, channels, knots, knots)
    big = interpolate(small, size=(knots * cell,) * 2, mode="bicubic", align_corners=False)
    shift = int(dice.even(0, cell, 1))
    return big[..., shift : shift + size, shift : shift + size]


def blurred(values: Tensor, texels: Tensor) -> Tensor:
    """Blur each picture by its own standard deviation, at most 4 texels."""
    radius = 8
    at = torch.arange(-radius, radius + 1).float()
    kernel = torch.exp(-0.5 * (at / texels.reshape(-1, 1).clamp(min=0.2)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    b, c, h, w = values.shape
    flat = values.reshape(1, b * c, h, w)
    k = kernel.repeat_interleave(c, 0)
    pad = torch.nn.functional.pad(flat, (radius, radius, radius, radius), mode="replicate")
    out = torch.nn.functional.conv2d(pad, k.reshape(b * c, 1, 1, -1), groups=b * c)
    out = torch.nn.functional.conv2d(out, k.reshape(b * c, 1, -1, 1), groups=b * c)
    return out.reshape(b, c, h, w)


def _grid(texel_mm: Tensor, squeeze: Tensor) -> tuple[Tensor, Tensor]:
    """Places in mm, of charts that are longer in one direction."""
    at = torch.arange(SIZE).float() - SIZE / 2
    x = at[None, None, :] * (texel_mm * squeeze)[:, None, None]
    y = at[None, :, None] * (texel_mm / squeeze)[:, None, None]
    return x.expand(-1, SIZE, -1), y.expand(-1, -1, SIZE)


def strokes(dice: Dice, x: Tensor, y: Tensor, reach_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Distances to bent lines (b, LINES, h, w), mm, and how far along each one is drawn, 0 to 1.

    Half of the patches have their lines side by side.
    """
    b = len(x)
    side = dice.chance(0.5, b, 1)
    common = dice.even(0, 3.1416, b, 1)
    turn = side * (common + 0.12 * dice.normal(b, LINES)) + (1 - side) * dice.even(
        0, 3.1416, b, LINES
    )
    c, s = turn.cos()[..., None, None], turn.sin()[..., None, None]
    across = c * x[:, None] + s * y[:, None]
    along = -s * x[:, None] + c * y[:, None]
    half = (SIZE / 2) * reach_mm
    bend = dice.normal(b, LINES, 1, 1) * 0.012
    wave = dice.even(0, 1.0, b, LINES, 1, 1) * torch.sin(
        along * dice.even(0.15, 0.8, b, LINES, 1, 1) + dice.even(0, 6.3, b, LINES, 1, 1)
    )
    place = dice.even(-1, 1, b, LINES, 1, 1) * half[:, None, None, None]
    distance = across + bend * along**2 + wave - place
    middle = dice.even(-1, 1, b, LINES, 1, 1) * half[:, None, None, None]
    length = dice.log(2.0, 40.0, b, LINES, 1, 1)
    drawn = torch.sigmoid((length - (along - middle).abs()) / (0.15 * length + 0.3))
    return distance, drawn


def relief(dice: Dice, texel_mm: Tensor, squeeze: Tensor) -> Tensor:
    """Heights in mm, (b, 1, h, w)."""
    b = len(texel_mm)
    x, y = _grid(texel_mm, squeeze)
    distance, drawn = strokes(dice, x, y, texel_mm)
    width = dice.log(0.45, 2.6, b, LINES, 1, 1)
    # Deep lines are wide ones, mostly.
    depth = dice.log(0.08, 1.1, b, LINES, 1, 1).minimum(0.75 * width)
    power = dice.even(1.1, 2.3, b, LINES, 1, 1)
    exists = dice.chance(0.55, b, 1, 1, 1) * dice.chance(0.6, b, LINES, 1, 1)
    ridge = dice.chance(0.15, b, LINES, 1, 1)
    profile = torch.exp(-((distance.abs() / width + 1e-4) ** power))
    # What is pushed down in a fold is pushed up beside it.
    swell = dice.even(0, 0.5, b, LINES, 1, 1) * torch.exp(-((distance / (2.5 * width)) ** 2))
    height = (exists * depth * drawn * (2 * ridge - 1) * (profile - swell)).sum(1, keepdim=True)
    # Pores, and the net of fine lines between them.
    cell = int(dice.even(2, 5, 1))
    pits = noise(dice, b, 1, cell).clamp(min=0.6) - 0.6
    height = height - pits * _column(dice.chance(0.45, b) * dice.log(0.01, 0.12, b))
    # Pimples, moles, scars.
    for _ in range(2):
        px, py = (dice.even(-1, 1, b, 1, 1) * SIZE / 2 * texel_mm[:, None, None] for _ in range(2))
        spread = dice.log(0.5, 2.5, b, 1, 1)
        bump = torch.exp(-(((x - px) ** 2 + (y - py) ** 2) / spread**2))
        size = dice.normal(b, 1, 1) * 0.25 * spread * dice.chance(0.2, b, 1, 1)
        height = height + (bump * size)[:, None]
    return height


def pigment(dice: Dice, texel_mm: Tensor, squeeze: Tensor) -> Tensor:
    """Logarithms of albedo (b, 3, h, w)."""
    b = len(texel_mm)
    x, y = _grid(texel_mm, squeeze)
    melanin = torch.tensor([0.55, 0.85, 1.15]).reshape(1, 3, 1, 1)
    blood = torch.tensor([0.08, 1.0, 0.75]).reshape(1, 3, 1, 1)
    tone = dice.even(0.25, 0.9, b)
    base = torch.stack([tone, tone * dice.even(0.55, 0.85, b)], 1)
    base = torch.cat([base, base[:, 1:] * dice.even(0.6, 0.95, b, 1)], 1).log()
    out = base.reshape(b, 3, 1, 1).expand(b, 3, SIZE, SIZE)
    for cell, spread in ((2, 0.015), (4, 0.02), (9, 0.04), (24, 0.1)):
        size = spread * _column(dice.log(0.15, 2.0, b))
        out = out + size * noise(dice, b, 1, cell) * melanin
        out = out + size * noise(dice, b, 1, cell) * blood
    spots = (noise(dice, b, 1, int(dice.even(3, 8, 1))) - 1.3).clamp(0, 0.7)
    out = out - spots * melanin * _column(dice.chance(0.25, b) * dice.even(0.2, 1.2, b))
    # Veins, pencil, hair: dark lines without any depth.
    distance, drawn = strokes(dice, x, y, texel_mm)
    width = dice.log(0.15, 1.8, b, LINES, 1, 1)
    dark = dice.log(0.02, 0.4, b, LINES, 1, 1) * dice.chance(0.5, b, LINES, 1, 1)
    line = (dark * drawn * torch.exp(-((distance / width) ** 2))).sum(1, keepdim=True)
    kind = dice.even(0, 1, b, 1, 1, 1)
    ink = torch.where(kind < 0.4, torch.ones(1, 3, 1, 1), torch.where(kind < 0.7, melanin, blood))
    # Rarer than wrinkles, or no dark line would be believed to be one.
    out = out - line * ink * _column(dice.chance(0.12, b))
    # Lips, brows, make-up: another colour begins.
    edge = noise(dice, b, 1, 24) - 0.5 + 0.15 * noise(dice, b, 1, 8)
    other = torch.sigmoid(edge / _column(dice.log(0.01, 0.15, b)))
    tint = blood * _column(dice.even(-0.1, 0.5, b)) + melanin * _column(dice.even(-0.2, 0.5, b))
    out = out - other * tint * _column(dice.chance(0.25, b))
    # Beards and brows: many thin hairs one way.
    turn, wild = dice.even(0, 3.1416, b, 1, 1), dice.even(1.5, 5.0, b, 1, 1)
    across = turn.cos() * x + turn.sin() * y + 0.6 * noise(dice, b, 1, 8)[:, 0]
    hair = (torch.sin(across * wild * 2.2 + 2 * noise(dice, b, 1, 6)[:, 0]) - 0.2).clamp(min=0)
    where = (noise(dice, b, 1, 24)[:, 0] + 0.3).clamp(0, 1)
    return out - (hair * where)[:, None] * _column(dice.chance(0.15, b) * dice.even(0.1, 1.0, b))


@dataclass(frozen=True, kw_only=True)
class Lights:
    """Some far lights and an even one, of each patch."""

    towards: Tensor  # (b, k, 3)
    colour: Tensor  # (b, k, 3)
    even: Tensor  # (b, 3)
    hard: Tensor  # (b,), 1 is Lambert's cosine, 0 its first nine spherical harmonics

    def on(self, normal: Tensor) -> Tensor:
        """Light (b, 3, h, w) on unit normals (b, 3, h, w)."""
        cosine = torch.einsum("bkc,bchw->bkhw", self.towards, normal)
        soft = 0.25 + 0.5 * cosine + 0.15625 * (3 * cosine**2 - 1)
        share = _column(self.hard)
        each = (share * cosine.clamp(min=0) + (1 - share) * soft).clamp(min=0)
        return torch.einsum("bkhw,bkc->bchw", each, self.colour) + self.even[:, :, None, None]


def lights(dice: Dice, b: int) -> Lights:
    """Lights of a room or a sky."""
    count = 3
    towards = normalize(dice.normal(b, count, 3) + torch.tensor([0.0, 0.0, 0.7]), dim=-1)
    strong = dice.log(0.08, 1.0, b, count, 1) * dice.chance(0.75, b, count, 1)
    tint = 1 + 0.12 * dice.normal(b, count, 3)
    even = dice.log(0.05, 0.7, b, 1) * (1 + 0.08 * dice.normal(b, 3))
    return Lights(
        towards=towards, colour=strong * tint.clamp(min=0.3), even=even, hard=dice.even(0, 1, b)
    )


def _misjudged(dice: Dice, true: Lights) -> Lights:
    """The light that a fit would have found: nine coefficients without colour, and off."""
    b = len(true.even)
    off = _column(dice.chance(0.8, b) * dice.log(0.03, 0.4, b))[..., 0]
    towards = normalize(true.towards + off * dice.normal(b, 3, 3), dim=-1)
    grey = true.colour.mean(-1, keepdim=True) * torch.exp(0.6 * off * dice.normal(b, 3, 1))
    even = true.even.mean(-1, keepdim=True) * torch.exp(off[..., 0] * dice.normal(b, 1))
    return Lights(
        towards=towards, colour=grey.expand(-1, -1, 3), even=even.expand(-1, 3),
        hard=torch.zeros(b),
    )  # fmt: skip


def _normals(slope: Tensor) -> Tensor:
    """Unit normals (b, 3, h, w) of slopes by column and by row."""
    return normalize(torch.cat([-slope, torch.ones_like(slope[:, :1])], 1), dim=1)


def texel_slopes(height: Tensor) -> Tensor:
    """Central differences by column and by row, (b, 2, h, w)."""
    p = torch.nn.functional.pad(height, (1, 1, 1, 1), mode="replicate")
    return torch.cat(
        [(p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2, (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2], 1
    )


def _hollows(dice: Dice, height: Tensor) -> Tensor:
    """Logarithm of how much less of an even light reaches hollows; a third of the patches has none.

    Heights in texels.
    """
    b = len(height)
    out = torch.zeros_like(height)
    for reach in (2, 5, 11):
        mean = avg_pool2d(height, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
        out = out - (mean - height).clamp(min=0) / reach
    return out * _column(dice.chance(0.65, b) * dice.even(0.1, 1.2, b))


def draw(seed: int, count: int) -> Patches:
    """A batch of patches."""
    dice = Dice(seed)
    texel_mm = dice.log(0.16, 0.65, 1).expand(count) * dice.even(0.9, 1.1, count)
    squeeze = dice.log(0.75, 1.33, count)
    mm = relief(dice, texel_mm, squeeze)
    height = mm / _column(texel_mm)
    # The chart's texels are not square; slopes by column and row are what light sees.
    stretch = torch.stack([1 / squeeze, squeeze], 1)[..., None, None]
    at = (torch.arange(SIZE).float() / SIZE - 0.5) * SIZE
    # The head itself bends under the relief.
    lie = 0.45 * dice.normal(count, 2, 1, 1)
    bend = dice.normal(count, 2, 2, 1, 1) * 0.008 * _column(texel_mm)[..., None]
    ground = lie + bend[:, 0] * at[None, None, None, :] + bend[:, 1] * at[None, None, :, None]
    # Nose, lips and lids bend sharply, and the fitted head has them a little beside their place.
    form = noise(dice, count, 2, int(dice.even(8, 24, 1))) * _column(
        dice.chance(0.4, count) * dice.log(0.03, 0.5, count)
    )
    beside = [int(x) for x in dice.even(-4, 5, 2) * dice.chance(0.6, 1)]
    slope = texel_slopes(height) * stretch
    true = lights(dice, count)
    normal = _normals(ground + torch.roll(form, beside, (-2, -1)) + slope)
    ground = ground + form
    light = true.on(normal)
    hollow = _hollows(dice, height)
    light = light * hollow.exp() + 1e-3
    # Light that has been under the skin comes out elsewhere, red the farthest.
    under = dice.chance(0.6, count) * dice.log(0.2, 1.0, count) / texel_mm
    light = torch.cat(
        [blurred(light[:, k : k + 1], under * s) for k, s in enumerate((1.0, 0.5, 0.3))], 1
    )
    gloss = _gloss(dice, true, normal) * hollow.exp()
    exposure = dice.log(0.35, 1.4, count) / light.mean((1, 2, 3))
    colours = (pigment(dice, texel_mm, squeeze).exp() * light + gloss) * _column(exposure)
    pixel = dice.log(0.5, 4.0, count)
    grain = blurred(dice.normal(count, 3, SIZE, SIZE), 0.4 * pixel) * _column(pixel.clamp(min=1))
    colours = blurred(colours, 0.45 * pixel) * (1 + _column(dice.log(0.002, 0.03, count)) * grain)
    found = _misjudged(dice, true)
    lean, shade = leans(found, ground, stretch)
    hole = (noise(dice, count, 1, 24) + 1.6 - 2.2 * _column(dice.chance(0.3, count))).clamp(0, 1)
    return Patches(
        log_rgb=(colours.clamp(0, 1) + 0.01).log(),
        lean=lean,
        shade=shade,
        seen=hole,
        pixel_texels=_column(pixel).expand(-1, 1, SIZE, SIZE),
        texel_mm=texel_mm,
        height=height,
    )


def leans(found: Lights, ground: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
    """As the network takes them, from a light and the slopes without relief."""
    step = 0.05
    parts = []
    for k in range(2):
        by = torch.zeros(1, 2, 1, 1)
        by[:, k] = step
        ahead = found.on(_normals(ground + by * stretch)).mean(1, keepdim=True)
        behind = found.on(_normals(ground - by * stretch)).mean(1, keepdim=True)
        parts.append((ahead.clamp(min=1e-3).log() - behind.clamp(min=1e-3).log()) / (2 * step))
    level = found.on(_normals(ground)).mean(1, keepdim=True).clamp(min=1e-3)
    white = (found.colour.sum(1).mean(1) + found.even.mean(1)).reshape(-1, 1, 1, 1)
    return torch.cat(parts, 1).clamp(-3, 3), (level / white).log().clamp(-3, 0.5)


def _gloss(dice: Dice, true: Lights, normal: Tensor) -> Tensor:
    """Highlights of the lights seen from above; a third of the patches has some."""
    b = len(normal)
    view = normalize(0.35 * dice.normal(b, 1, 3) + torch.tensor([0.0, 0.0, 1.0]), dim=-1)
    half = normalize(true.towards + view, dim=-1)
    rough = _column(dice.log(8.0, 60.0, b))
    shine = torch.einsum("bkc,bchw->bkhw", half, normal).clamp(min=0) ** rough
    share = _column(dice.chance(0.35, b) * dice.log(0.02, 0.4, b))
    return share * torch.einsum("bkhw,bkc->bchw", shine, true.colour)
