"""Regressors by name: crops to parameters in one pass, photos to heads."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.assets import find_asset
from face3d.core.errors import InputError
from face3d.core.types import Camera, Detection, FitResult, Frame
from face3d.fit import LandmarkFitter, LandmarkObservations
from face3d.model import HeadModel
from face3d.pipeline.guess import guess_faces
from face3d.pipeline.heads import OPEN_HEAD
from face3d.pipeline.observe import batched, one_fit
from face3d.regress import load_published
from face3d.regress.flame_guess import flame_codes, heads_in_photo
from face3d.regress.own import read_own_net
from face3d.regress.own_net import OwnNet
from face3d.regress.published import Published
from face3d.regress.system_crops import system_crop

RegressorName = Literal["own", "deca", "emoca", "smirk", "teaser", "spectre", "mica"]

SURE = 1e4
"""Precision with which an identity that a network gives is held, where it gives nothing else."""


@dataclass(frozen=True, eq=False)
class Regressor:
    """A network with what it needs of photos.

    Attributes:
        system: Its name.
        net: The network.
    """

    system: RegressorName
    net: nn.Module

    def __call__(self, crops: Float[Tensor, "b 3 h w"]) -> Any:
        """What the network says of crops, under its own names.

        Args:
            crops: RGB in [0, 1], cut out as the system does; of MICA in [-1, 1].
        """
        with torch.inference_mode():
            return self.net(crops)

    def crop(self, frame: Frame, face: Detection) -> tuple[Tensor, Tensor]:
        """A published system's crop of a face (3, s, s), and where the photo has it (2, 3)."""
        cut = system_crop(self.system, frame.rgb, face.landmarks[:, :2])
        pixels = torch.as_tensor(cut.pixels).permute(2, 0, 1).float()
        into = (pixels - 127.5) / 127.5 if self.system == "mica" else pixels / 255
        return into, torch.as_tensor(cut.photo_from_crop).float()

    def fit(
        self,
        fitter: LandmarkFitter,
        model: HeadModel,
        frame: Frame,
        face: Detection,
        seen: LandmarkObservations,
    ) -> FitResult:
        """The head of one face as this regressor sees it.

        The own regressor's answer is where the landmark fit starts. MICA's identity is kept and
        the rest fitted to the landmarks. The others' answers stay as they are.

        Args:
            fitter: Of the head that the regressor was trained on.
            model: That head.
            frame: The photo.
            face: What was detected.
            seen: The same as the fit takes it, without a batch axis.
        """
        batch = _batch(seen)
        focal = float(fitter.usual_focal_px(batch)[0])
        if isinstance(self.net, OwnNet):
            guess = guess_faces(self.net, frame, batched(face), focal)
            return one_fit(fitter.fit(batch, start=guess.params), 0)
        crop, back = self.crop(frame, face)
        codes = flame_codes(self.system, self(crop[None]))
        codes = {name: value.clone() for name, value in codes.items()}
        if self.system == "mica":
            count = fitter.data.identity_basis.shape[-1]
            mean = codes["shape"][:, :count].double()
            trust = SURE * torch.eye(mean.shape[1], dtype=torch.float64)
            held = replace(batch, shape_trust=trust[None], shape_pull=SURE * mean)
            return one_fit(fitter.fit(held), 0)
        height, width = frame.rgb.shape[:2]
        camera = Camera(
            fx=torch.tensor([focal]), fy=torch.tensor([focal]), cx=torch.tensor([width / 2]),
            cy=torch.tensor([height / 2]), width=width, height=height,
            camera_from_world=torch.eye(4)[None],
        )  # fmt: skip
        params = heads_in_photo(model, codes, back[None], crop.shape[-1], camera)
        return fitter.as_given(params, [seen])[0]


def load_regressor(name: RegressorName, checkpoint: str | Path | None = None) -> Regressor:
    """A regressor with its weights.

    Args:
        name: "own", or a published system.
        checkpoint: The file that the system's authors publish; of "own" another one than the one
            that is installed.

    Raises:
        InputError: The name is unknown, or a published system's checkpoint is missing.
        AssetError: The checkpoint is damaged, would run code, or is of another system.

    Example:
        >>> smirk = face3d.load_regressor("smirk", checkpoint="SMIRK_em1.pt")  # doctest: +SKIP
        >>> params = smirk(torch.zeros(1, 3, 224, 224))  # doctest: +SKIP
    """
    if name == "own":
        path = find_asset("own_regressor") if checkpoint is None else Path(checkpoint)
        return Regressor("own", read_own_net(path))
    if name not in get_args(RegressorName):
        raise InputError(
            f"There is no regressor {name!r}; there are {', '.join(get_args(RegressorName))}."
        )
    if checkpoint is None:
        raise InputError(
            f"{name}'s weights are its authors'; download them and give the file (--checkpoint)."
        )
    published: Published = name
    return Regressor(name, load_published(published, Path(checkpoint)))


def require_head(system: RegressorName, head: str) -> None:
    """Refuse a head that a system's parameters do not belong to.

    Raises:
        InputError: It is another one.
    """
    if (system == "own") != (head == OPEN_HEAD):
        raise InputError(
            "The own regressor gives parameters of the open head; leave out the head."
            if system == "own"
            else f"{system} gives parameters of FLAME 2020; give that head (--head flame2020)."
        )


def _batch(seen: LandmarkObservations) -> LandmarkObservations:
    each = {k: v[None] for k, v in vars(seen).items() if v is not None}
    return LandmarkObservations(**each)
