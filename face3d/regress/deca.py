"""DECA's networks (Feng et al., 2021), and EMOCA's (Danecek et al., 2022), which build on them.

Key for key as in their checkpoints: ``E_flame``, ``E_detail`` and ``D_detail``, and EMOCA's
``E_expression``, whose code stands in for part of E_flame's.
"""

from typing import TypedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.regress.codes import CodeEncoder

INPUT_PX = 224
CODE = {"shape": 100, "tex": 50, "exp": 50, "pose": 6, "cam": 3, "light": 27}
"""What E_flame gives, in its order; pose is the head's axis-angle and then the jaw's."""

DETAIL = 128
FIRST_PX, FIRST_WIDTH = 8, 128
WIDTHS = (128, 64, 64, 32, 16)
LEAK = 0.2
BN_EPS = 0.8
"""Of all but the decoder's first normalisation; a slip of DECA's that its weights count on."""

LARGEST_M = 0.01
"""Displacement that the decoder's last function comes near to."""


class DecaParams(TypedDict):
    """What DECA says of each crop."""

    shape: Float[Tensor, "b 100"]
    tex: Float[Tensor, "b 50"]
    exp: Float[Tensor, "b 50"]
    pose: Float[Tensor, "b 6"]
    cam: Float[Tensor, "b 3"]  # scale and translation of the weak perspective
    light: Float[Tensor, "b 9 3"]
    detail: Float[Tensor, "b 128"]


class DetailDecoder(nn.Module):
    """A code to displacements in texture space.

    Args:
        code: Jaw pose, expression and detail together.
    """

    def __init__(self, code: int = 3 + CODE["exp"] + DETAIL) -> None:
        super().__init__()
        self.l1 = nn.Sequential(nn.Linear(code, FIRST_WIDTH * FIRST_PX**2))
        layers: list[nn.Module] = [nn.BatchNorm2d(FIRST_WIDTH)]
        before = FIRST_WIDTH
        for width in WIDTHS:
            layers += [
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.Conv2d(before, width, 3, padding=1),
                nn.BatchNorm2d(width, eps=BN_EPS),
                nn.LeakyReLU(LEAK),
            ]
            before = width
        layers += [nn.Conv2d(before, 1, 3, padding=1), nn.Tanh()]
        self.conv_blocks = nn.Sequential(*layers)

    def forward(self, code: Float[Tensor, "b code"]) -> Float[Tensor, "b 1 256 256"]:
        """Metres along the coarse surface's normals, over FLAME's texture coordinates."""
        first = self.l1(code).unflatten(1, (FIRST_WIDTH, FIRST_PX, FIRST_PX))
        return LARGEST_M * self.conv_blocks(first)


class Deca(nn.Module):
    """All of DECA's networks."""

    def __init__(self) -> None:
        super().__init__()
        self.E_flame = CodeEncoder(sum(CODE.values()))
        self.E_detail = CodeEncoder(DETAIL)
        self.D_detail = DetailDecoder()

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> DecaParams:
        """Codes.

        Args:
            images: RGB in [0, 1], 224 px, cut out as ``face3d.regress.crops`` does for "deca".
        """
        params = self.coarse(images)
        params["detail"] = self.E_detail(images)
        return params

    def coarse(self, images: Float[Tensor, "b 3 h w"]) -> DecaParams:
        """The same without the code of detail, which stays empty."""
        parts = self.E_flame(images).split(list(CODE.values()), dim=1)
        named = dict(zip(CODE, parts, strict=True))
        return DecaParams(
            shape=named["shape"], tex=named["tex"], exp=named["exp"], pose=named["pose"],
            cam=named["cam"], light=named["light"].unflatten(1, (9, 3)),
            detail=images.new_zeros(len(images), 0),
        )  # fmt: skip

    def displacement(self, params: DecaParams) -> Float[Tensor, "b 1 256 256"]:
        """Detail in metres along the normals; DECA adds a fixed map of the mean face to it."""
        code = torch.cat([params["pose"][:, 3:], params["exp"], params["detail"]], dim=1)
        return self.D_detail(code)


class Emoca(Deca):
    """DECA with an expression encoder of its own.

    Args:
        count: Numbers in its code: 50 of expression; with 3 more the jaw's pose, too, and with 6
            more the jaw's and the head's.
    """

    def __init__(self, count: int = CODE["exp"]) -> None:
        super().__init__()
        self.E_expression = CodeEncoder(count)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> DecaParams:
        """Codes, those of expression from its encoder."""
        params = super().forward(images)
        code = self.E_expression(images)
        n = CODE["exp"]
        params["exp"] = code[:, :n]
        head, jaw = params["pose"][:, :3], params["pose"][:, 3:]
        if code.shape[1] >= n + 3:
            jaw = code[:, n : n + 3]
        if code.shape[1] >= n + 6:
            head = code[:, n + 3 : n + 6]
        params["pose"] = torch.cat([head, jaw], dim=1)
        return params
