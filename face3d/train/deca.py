"""Training of DECA's networks on photos without labels.

First the coarse head: landmarks, colours, identity, and shapes that must do for every photo of a
person. Then fine detail on a coarse head that stays as it is: shading, patches, and detail codes
that must do for every photo of a person whatever the expression, so that what belongs to the
person ends up in the code and what belongs to the expression in the decoder (Feng et al., 2021).
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from scipy.spatial import KDTree
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

from face3d.core.errors import AssetError
from face3d.model.data import HeadData
from face3d.model.head import HeadModel
from face3d.regress.flame_guess import flame_codes
from face3d.render import Maps, SphericalHarmonics, render, srgb_from_linear, vertex_normals
from face3d.render.shade import SH_SCALE
from face3d.train.coded_head import CodedHead, PosedHeads
from face3d.train.face_losses import (
    LIDS,
    LIPS,
    Embedding,
    Given,
    distance_loss,
    identity_loss,
    landmark_loss,
    patch_loss,
    photometric_loss,
    smoothness_loss,
    symmetry_loss,
    weighted,
    white_light_loss,
)  # fmt: skip
from face3d.train.loop import one_cycle
from face3d.train.photo_batches import PhotoBatch
from face3d.train.smirk import PATCH_PX

Stage = Literal["coarse", "detail"]

WEIGHTS = {
    "landmarks": 20.0, "lids": 10.0, "lips": 5.0, "colours": 2.0, "identity": 0.2,
    "swapped_landmarks": 20.0, "swapped_colours": 2.0,
    "shape": 1e-3, "expression": 1e-3, "texture": 1e-2, "white": 1.0, "light": 0.1,
    "patches": 0.1, "swapped_patches": 0.1, "symmetry": 500.0, "small": 500.0, "smooth": 500.0,
}  # fmt: skip
"""Of displacements in metres the last three: DECA's act on other units."""


class DecaTraining(LightningModule):
    """Networks, losses and the plan of learning rates.

    Args:
        net: With ``E_flame``, ``E_detail``, ``D_detail`` and ``coarse``, called as ``Deca`` is.
        model: The head.
        stage: What learns.
        steps: In all.
        rate: The highest learning rate.
        crop_px: Side of the crops.
        embed: A recognition network of the user; without it identity is not compared.

    Raises:
        AssetError: Detail is wanted of a head without texture coordinates.
    """

    def __init__(
        self,
        net: nn.Module,
        model: HeadModel,
        *,
        stage: Stage,
        steps: int,
        rate: float,
        crop_px: int = 224,
        embed: Embedding | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.coarse: Callable[[Tensor], Any] = net.coarse  # type: ignore[assignment]
        self.head = CodedHead(model, crop_px)
        self.stage, self.steps, self.rate = stage, steps, rate
        self.embed = None if embed is None else Given(embed)
        if stage == "detail":
            uv, mirror = _places(model.data)
            self.register_buffer("uv", uv, persistent=False)
            self.register_buffer("mirror", mirror, persistent=False)
        learns = ("E_flame",) if stage == "coarse" else ("E_detail", "D_detail")
        for name, part in net.named_children():
            part.requires_grad_(name in learns)

    uv: Tensor
    mirror: Tensor

    def parts(self, batch: PhotoBatch) -> dict[str, Float[Tensor, ""]]:
        """Each loss, unweighted.

        Args:
            batch: Rows 2k and 2k + 1 are photos of one person.
        """
        photo = batch.pictures
        if self.stage == "coarse":
            return self._coarse(batch, photo, self.coarse(photo))
        return self._detail(photo, self.net(photo))

    def _coarse(self, batch: PhotoBatch, photo: Tensor, said: Any) -> dict[str, Tensor]:
        codes = flame_codes("deca", said)
        posed = self.head(codes)
        seen = batch.landmarks[:, list(self.head.numbers)]
        drawn = self.head.draw(posed, said["tex"], said["light"])
        out = {
            "landmarks": landmark_loss(posed.landmarks, seen, facing=posed.facing),
            "colours": photometric_loss(drawn.rgb, photo, drawn.skin),
            "shape": said["shape"].square().mean(),
            "expression": said["exp"].square().mean(),
            "texture": said["tex"].square().mean(),
            "light": said["light"].square().mean(),
            "white": white_light_loss(said["light"]),
        }
        if len(self.head.numbers) == batch.landmarks.shape[1]:
            out["lids"] = distance_loss(posed.landmarks, batch.landmarks, LIDS)
            out["lips"] = distance_loss(posed.landmarks, batch.landmarks, LIPS)
        if self.embed is not None:
            mask = drawn.skin[:, None]
            out["identity"] = identity_loss(self.embed, drawn.rgb * mask, photo * mask)
        # The other photo's shape must do as well.
        swapped = self.head(codes | {"shape": _exchanged(codes["shape"])})
        again = self.head.draw(swapped, said["tex"], said["light"])
        out["swapped_landmarks"] = landmark_loss(swapped.landmarks, seen, facing=swapped.facing)
        out["swapped_colours"] = photometric_loss(again.rgb, photo, again.skin)
        return out

    def _detail(self, photo: Tensor, said: Any) -> dict[str, Tensor]:
        coarse = {name: value.detach() for name, value in said.items()}
        posed = self.head(flame_codes("deca", coarse))
        map_ = self._displacement(coarse, said["detail"])
        drawn, skin = self._drawn(posed, coarse, map_)
        at_vertices = self._at_vertices(map_)
        towards = -torch.nn.functional.normalize(_normals(self.head, posed), dim=-1)[..., 2]
        out = {
            "colours": photometric_loss(drawn, photo, skin),
            "patches": _patches(drawn, photo, skin),
            "small": map_.abs().mean(),
            "smooth": smoothness_loss(map_),
            "symmetry": symmetry_loss(
                at_vertices[:, None, None], at_vertices[:, self.mirror][:, None, None],
                (towards > 0.3).to(map_.dtype)[:, None],
            ),
        }  # fmt: skip
        # The person's code from the other photo, with this photo's expression.
        swapped = self._displacement(coarse, _exchanged(said["detail"]))
        again, skin = self._drawn(posed, coarse, swapped)
        out["swapped_colours"] = photometric_loss(again, photo, skin)
        out["swapped_patches"] = _patches(again, photo, skin)
        return out

    def _displacement(self, coarse: Any, detail: Tensor) -> Float[Tensor, "b 1 _ _"]:
        code = torch.cat([coarse["pose"][:, 3:], coarse["exp"], detail], dim=1)
        decoder = self.net.get_submodule("D_detail")
        return decoder(code)

    def _drawn(
        self, posed: PosedHeads, coarse: Any, displacement: Float[Tensor, "b 1 _ _"]
    ) -> tuple[Float[Tensor, "b 3 h w"], Tensor]:
        """A picture shaded with detail, and where it shows skin."""
        light = coarse["light"].clone()
        light[:, 0] += 1 / SH_SCALE[0]
        colour = srgb_from_linear(self.head.albedo(coarse["tex"]))
        picture = render(
            posed.mesh, posed.camera,
            texture=Maps(vertex_color=colour.clamp(0, 1), displacement=displacement),
            light=SphericalHarmonics(coefficients=light),
        )  # fmt: skip
        with torch.no_grad():
            skin = self.head.draw(posed, coarse["tex"], coarse["light"]).skin
        return picture[:, :3], skin

    def _at_vertices(self, map_: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b vertex"]:
        places = torch.stack([2 * self.uv[:, 0] - 1, 1 - 2 * self.uv[:, 1]], dim=-1)
        grid = places.expand(len(map_), 1, -1, 2)
        return grid_sample(map_, grid, align_corners=False)[:, 0, 0]

    def training_step(self, batch: PhotoBatch, number: int) -> torch.Tensor:
        """One batch's loss."""
        if self.stage == "detail":
            # Statistics of a network that stays as it is stay, too.
            self.net.get_submodule("E_flame").eval()
        total = weighted(self.parts(batch), WEIGHTS)
        self.log("train", total, prog_bar=True, batch_size=len(batch.crops))
        return total

    def validation_step(self, batch: PhotoBatch, number: int) -> None:
        """Log each part on held-out pictures."""
        rows = len(batch.crops)
        parts = self.parts(batch)
        self.log("held", weighted(parts, WEIGHTS), prog_bar=True, batch_size=rows)
        for name, value in parts.items():
            self.log(f"held_{name}", value, batch_size=rows)

    def configure_optimizers(self) -> Any:
        """AdamW, its rate up and down once."""
        return one_cycle(self, self.steps, self.rate)


def _exchanged(rows: Float[Tensor, "b _"]) -> Float[Tensor, "b _"]:
    """Rows 2k and 2k + 1 in each other's place; a last one alone stays."""
    order = torch.arange(len(rows))
    even = order[: len(rows) // 2 * 2]
    order[: len(even)] = even.unflatten(0, (-1, 2)).flip(1).flatten()
    return rows[order.to(rows.device)]


def _patches(drawn: Tensor, photo: Tensor, skin: Tensor) -> Float[Tensor, ""]:
    """Patches of the skin in both pictures, everything else grey; light and dark only."""
    grey = [torch.where(skin, picture.mean(1), 0.5)[:, None] for picture in (drawn, photo)]
    small = [interpolate(g, size=2 * PATCH_PX, mode="area") for g in grey]
    return patch_loss(small[0], small[1], stride=3)


def _normals(head: CodedHead, posed: PosedHeads) -> Float[Tensor, "b vertex 3"]:
    with torch.no_grad():
        return vertex_normals(posed.mesh.vertices, head.faces)


def _places(data: HeadData) -> tuple[Float[Tensor, "vertex 2"], Tensor]:
    """Texture coordinates of each vertex, and its partner on the other side of the face.

    Raises:
        AssetError: The head has no texture coordinates.
    """
    if data.uv is None or data.uv_faces is None:
        raise AssetError(f"{data.name} has no texture coordinates, on which detail is kept.")
    uv = np.zeros((len(data.v_template), 2))
    uv[data.faces.reshape(-1)] = data.uv[data.uv_faces.reshape(-1)]
    partner = data.symmetry
    if partner is None:
        partner = KDTree(data.v_template).query(data.v_template * [-1, 1, 1])[1]
    return torch.as_tensor(uv).float(), torch.as_tensor(np.asarray(partner)).long()
