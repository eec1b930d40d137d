"""Networks with the interfaces of published ones, small enough to learn within a test."""

import torch
from torch import Tensor, nn

from face3d.regress.deca import CODE


def trunk(out: int, scale: float = 1.0) -> nn.Sequential:
    """Three convolutions and a linear layer whose first answers are near zero."""
    last = nn.Linear(32 * 16, out)
    nn.init.normal_(last.weight, std=1e-3 * scale)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, 4, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), last,
    )  # fmt: skip


class SmallSmirk(nn.Module):
    """As SmirkEncoder; with a token as TeaserEncoder."""

    def __init__(self, *, token: bool = False) -> None:
        super().__init__()
        self.net = trunk(6 + 20 + 52 + 2 + 3)
        self.tokens = trunk(4 * 256, 100.0) if token else None
        with torch.no_grad():
            self.net[-1].bias[3] = 7.0

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pose, shape, expression, lids, jaw = self.net(images * 2 - 1).split([6, 20, 52, 2, 3], 1)
        out = {
            "pose_params": pose[:, :3], "cam": pose[:, 3:], "shape_params": shape,
            "expression_params": expression, "eyelid_params": lids.clamp(0, 1), "jaw_params": jaw,
        }  # fmt: skip
        if self.tokens is not None:
            out["token"] = self.tokens(images).unflatten(1, (4, 256)).movedim(1, 0)
        return out


class SmallGenerator(nn.Module):
    """Of six channels to a picture; tokens tint it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(6, 16, 5, 1, 2), nn.ReLU(), nn.Conv2d(16, 16, 5, 1, 2), nn.ReLU(),
            nn.Conv2d(16, 3, 3, 1, 1),
        )  # fmt: skip
        self.tint = nn.Linear(1024, 3)

    def forward(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        out = self.net(x)
        if tokens is not None:
            out = out + self.tint(tokens.movedim(0, 1).flatten(1))[..., None, None]
        return out.sigmoid()


class SmallDeca(nn.Module):
    """As Deca."""

    def __init__(self) -> None:
        super().__init__()
        self.E_flame = trunk(sum(CODE.values()))
        self.E_detail = trunk(16, 10.0)
        self.D_detail = nn.Sequential(
            nn.Linear(3 + CODE["exp"] + 16, 64 * 64), nn.Tanh(), nn.Unflatten(1, (1, 64, 64)),
            Scaled(2e-4),
        )  # fmt: skip
        with torch.no_grad():
            start = sum(list(CODE.values())[:4])
            self.E_flame[-1].bias[start] = 7.0

    def coarse(self, images: Tensor) -> dict[str, Tensor]:
        parts = self.E_flame(images * 2 - 1).split(list(CODE.values()), dim=1)
        named = dict(zip(CODE, parts, strict=True))
        named["light"] = named["light"].unflatten(1, (9, 3))
        return named

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.coarse(images) | {"detail": self.E_detail(images * 2 - 1)}


class SmallSpectre(nn.Module):
    """As Spectre."""

    def __init__(self) -> None:
        super().__init__()
        self.E_flame = SmallDeca()
        self.E_expression = trunk(CODE["exp"] + 3)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        said = self.E_flame(frames)
        added = self.E_expression(frames * 2 - 1)
        n = CODE["exp"]
        pose = torch.cat([said["pose"][:, :3], said["pose"][:, 3:] + added[:, n:]], 1)
        return said | {"exp": said["exp"] + added[:, :n], "pose": pose}


class SmallMica(nn.Module):
    """As Mica."""

    def __init__(self) -> None:
        super().__init__()
        self.arcface = trunk(32, 100.0)
        self.regressor = nn.Linear(32, 300)
        nn.init.normal_(self.regressor.weight, std=1e-2)
        nn.init.zeros_(self.regressor.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.regressor(self.arcface(images))


class Scaled(nn.Module):
    """A number times its input."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return self.by * x
