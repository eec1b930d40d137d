"""SPECTRE's networks (Filntisis et al., 2022): DECA, and what a video adds to its expressions."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.regress.codes import CodeEncoder
from face3d.regress.deca import CODE, DecaParams
from face3d.regress.mobilenet_v2 import FEATURES, MobileNetV2

INPUT_PX = 224
HIDDEN = 256
WINDOW = 5

CHUNK, OVERLAP = 50, 4
"""Frames that are looked at together, and how many of them were in the chunk before."""


class TemporalEncoder(nn.Module):
    """Frames of a video to what is added to expression and jaw."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MobileNetV2()
        self.temporal = nn.Sequential(
            nn.Conv1d(FEATURES, HIDDEN, WINDOW, padding=WINDOW // 2),
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(),
        )
        self.layers = nn.Sequential(nn.Linear(HIDDEN, CODE["exp"] + 3))

    def forward(self, frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "t 53"]:
        """Expression, then the jaw's axis-angle, which only opens it."""
        features = self.encoder(frames).T[None]
        out = self.layers(self.temporal(features)[0].T)
        n = CODE["exp"]
        return torch.cat([out[:, :n], out[:, n : n + 1].relu(), out[:, n + 1 :]], dim=1)


class Spectre(nn.Module):
    """DECA's coarse encoder and the temporal one."""

    def __init__(self) -> None:
        super().__init__()
        self.E_flame = CodeEncoder(sum(CODE.values()))
        self.E_expression = TemporalEncoder()

    def forward(self, frames: Float[Tensor, "t 3 h w"]) -> DecaParams:
        """Codes of a video's frames, in chunks that overlap as SPECTRE's.

        Args:
            frames: RGB in [0, 1], in order, cut out as ``face3d.regress.crops`` does for "spectre".
        """
        parts = self.E_flame(frames).split(list(CODE.values()), dim=1)
        named = dict(zip(CODE, parts, strict=True))
        added = self._in_chunks(frames)
        n = CODE["exp"]
        head, jaw = named["pose"][:, :3], named["pose"][:, 3:] + added[:, n:]
        return DecaParams(
            shape=named["shape"], tex=named["tex"], exp=named["exp"] + added[:, :n],
            pose=torch.cat([head, jaw], dim=1), cam=named["cam"],
            light=named["light"].unflatten(1, (9, 3)), detail=frames.new_zeros(len(frames), 0),
        )  # fmt: skip

    def _in_chunks(self, frames: Float[Tensor, "t 3 h w"]) -> Float[Tensor, "t 53"]:
        """The temporal code; of each chunk's frames at a seam, the half nearer to its middle."""
        count, step = len(frames), CHUNK - OVERLAP
        pieces: list[Tensor] = []
        for first in range(0, max(count - OVERLAP, 1), step):
            code = self.E_expression(frames[first : first + CHUNK])
            begin = OVERLAP // 2 if first else 0
            end = len(code) - (OVERLAP // 2 if first + CHUNK < count else 0)
            pieces.append(code[begin:end])
        return torch.cat(pieces)
