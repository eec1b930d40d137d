"""Training of SMIRK's networks, and TEASER's, on photos without labels.

The encoder's head must lie on the detected landmarks; a generator that sees the head's geometry and
next to none of the face's pixels must give the photo back; and where the expression is another one,
what the encoder finds in the generator's picture must be that expression (Retsinas et al., 2024).
TEASER asks the same of its tokens of appearance (Liu et al., 2025).
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from face3d.model.head import HeadModel
from face3d.regress.flame_guess import flame_codes
from face3d.render import rasterize
from face3d.render.neural import geometry_picture, masked_photo
from face3d.train.coded_head import CodedHead, PosedHeads
from face3d.train.face_losses import (
    LIDS,
    LIPS,
    Given,
    distance_loss,
    landmark_loss,
    patch_loss,
    skull_loss,
    weighted,
    whole_motions,
)  # fmt: skip
from face3d.train.loop import one_cycle
from face3d.train.photo_batches import PhotoBatch

WEIGHTS = {
    "landmarks": 20.0, "lids": 10.0, "lips": 10.0, "picture": 10.0, "patches": 1.0, "shape": 1e-2,
    "expression": 1e-2, "jaw": 1e-2, "skull": 1e-2, "teacher": 10.0, "cycle": 1.0, "token": 5.0,
}  # fmt: skip

CYCLE = {"expression": 1.0, "jaw": 10.0, "eyelids": 10.0, "shape": 1.0}
"""How much each code counts in the cycle, as in SMIRK."""

PATCH_PX = 32
"""Side of the pictures whose patches are compared."""

Teacher = Callable[[Float[Tensor, "b 3 h w"]], Float[Tensor, "b shape"]]
"""A network that knows shapes, such as MICA: from the same crops."""


class SmirkTraining(LightningModule):
    """Encoder and generator, their losses and the plan of learning rates.

    Args:
        encoder: Of crops to ``SmirkParams``; with ``token`` among them it is TEASER's.
        generator: Of geometry and masked photo (and tokens) to a picture; None trains the encoder
            on landmarks alone, which is how SMIRK's training begins.
        model: The head.
        steps: In all.
        rate: The highest learning rate.
        crop_px: Side of the crops.
        seed: Of the random expressions.
        kept: Parts of the encoder that stay as they are: once landmarks have taught pose and shape,
            SMIRK lets only expressions learn from the generator.
        teacher: Gives the shapes that the encoder's are to be near.
    """

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module | None,
        model: HeadModel,
        *,
        steps: int,
        rate: float,
        crop_px: int = 224,
        seed: int = 0,
        kept: tuple[str, ...] = (),
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.kept = kept
        self.smirk_encoder = encoder
        self.smirk_generator = generator
        self.head = CodedHead(model, crop_px)
        self.steps, self.rate, self.seed = steps, rate, seed
        self.teacher = None if teacher is None else Given(teacher)
        basis = model.linear_basis.unflatten(1, (-1, 3))
        still = bone_vertices(model)
        self.register_buffer("still", still, persistent=False)
        self.register_buffer("moves", basis[model.identity_count :, still], persistent=False)
        self.register_buffer("motions", whole_motions(model.template[still]), persistent=False)
        for name in kept:
            encoder.get_submodule(name).requires_grad_(False)
        if generator is None and hasattr(encoder, "token_encoder"):
            # Nothing uses tokens yet, and training on several devices refuses what nothing uses.
            encoder.get_submodule("token_encoder").requires_grad_(False)

    still: Tensor
    moves: Tensor
    motions: Tensor

    def parts(self, batch: PhotoBatch, chance: torch.Generator) -> dict[str, Float[Tensor, ""]]:
        """Each loss, unweighted.

        Args:
            batch: Photos.
            chance: Of the pixels that the generator sees, and of other expressions.
        """
        photo = batch.pictures
        said = self.smirk_encoder(photo)
        codes = flame_codes("smirk", said)
        posed = self.head(codes)
        seen = batch.landmarks[:, list(self.head.numbers)]
        out = {
            "landmarks": landmark_loss(posed.landmarks, seen, facing=posed.facing),
            "shape": codes["shape"].square().mean(),
            "expression": codes["expression"].square().mean(),
            "jaw": codes["jaw"].square().mean(),
        }
        moved = torch.einsum("be,evc->bvc", posed.expression, self.moves)
        out["skull"] = skull_loss(moved, self.motions)
        if len(self.head.numbers) == batch.landmarks.shape[1]:
            out["lids"] = distance_loss(posed.landmarks, batch.landmarks, LIDS)
            out["lips"] = distance_loss(posed.landmarks, batch.landmarks, LIPS)
        if self.teacher is not None:
            with torch.no_grad():
                known = self.teacher(photo)
            count = min(known.shape[1], codes["shape"].shape[1])
            out["teacher"] = mse_loss(codes["shape"][:, :count], known[:, :count])
        if self.smirk_generator is not None:
            face = _covered(posed)
            picture = self._generated(posed, photo, face, said, chance)
            out["picture"] = l1_loss(picture, photo)
            small = [
                nn.functional.interpolate(x, size=PATCH_PX, mode="area") for x in (picture, photo)
            ]
            out["patches"] = patch_loss(small[0], small[1])
            out |= self._cycle(photo, face, said, codes, chance)
        return out

    def _generated(
        self,
        posed: PosedHeads,
        photo: Float[Tensor, "b 3 h w"],
        face: Bool[Tensor, "b h w"],
        said: Any,
        chance: torch.Generator,
    ) -> Float[Tensor, "b 3 h w"]:
        assert self.smirk_generator is not None
        geometry = geometry_picture(posed.mesh, posed.camera)
        seen = torch.cat([geometry, masked_photo(photo, face, generator=chance)], dim=1)
        if "token" in said:
            return self.smirk_generator(seen, said["token"])
        return self.smirk_generator(seen)

    def _cycle(
        self,
        photo: Float[Tensor, "b 3 h w"],
        face: Bool[Tensor, "b h w"],
        said: Any,
        codes: dict[str, Tensor],
        chance: torch.Generator,
    ) -> dict[str, Float[Tensor, ""]]:
        """Other expressions on the same faces, drawn and found again.

        In turn only the encoder or only the generator learns from it; together they would agree
        on pictures that nobody else can read.
        """
        wanted = {name: value.detach().clone() for name, value in codes.items()}
        changed = other_expressions(wanted, chance, bounded=self.head.bounded)
        with torch.no_grad():
            posed = self.head(changed)
        # The face is hidden where it was and where it will be.
        hidden = face | _covered(posed)
        token = said["token"].detach() if "token" in said else None
        extra = {} if token is None else {"token": token}
        encoder_learns = self.global_step % 2 == 0
        taught, held = self.smirk_encoder, self.smirk_generator
        if not encoder_learns:
            taught, held = held, taught
        assert isinstance(held, nn.Module)
        with frozen(held), statistics_kept(self.smirk_encoder):
            picture = self._generated(posed, photo, hidden, extra, chance)
            found = self.smirk_encoder(picture)
        again = flame_codes("smirk", found)
        cycle = [
            weight * mse_loss(again[name], changed[name])
            for name, weight in CYCLE.items()
            if name in again
        ]
        out = {"cycle": torch.stack(cycle).sum()}
        if token is not None:
            out["token"] = mse_loss(found["token"], token)
        return out

    def training_step(self, batch: PhotoBatch, number: int) -> torch.Tensor:
        """One batch's loss."""
        for name in self.kept:
            self.smirk_encoder.get_submodule(name).eval()
        chance = torch.Generator().manual_seed(self.seed + 7919 * self.global_step)
        total = weighted(self.parts(batch, chance), WEIGHTS)
        self.log("train", total, prog_bar=True, batch_size=len(batch.crops))
        return total

    def validation_step(self, batch: PhotoBatch, number: int) -> None:
        """Log each part on held-out pictures; chance is the same every time."""
        chance = torch.Generator().manual_seed(self.seed + number)
        rows = len(batch.crops)
        parts = self.parts(batch, chance)
        self.log("held", weighted(parts, WEIGHTS), prog_bar=True, batch_size=rows)
        for name, value in parts.items():
            self.log(f"held_{name}", value, batch_size=rows)

    def configure_optimizers(self) -> Any:
        """AdamW, its rate up and down once."""
        return one_cycle(self, self.steps, self.rate)


def bone_vertices(model: HeadModel) -> Bool[Tensor, "vertex"]:
    """Vertices over bone: of the face's frame those that no expression should move much.

    Where a head names its regions they are forehead, nose's root and scalp; else the least moved
    quarter of the head.
    """
    regions = model.data.regions
    if {"forehead", "scalp"} <= set(regions):
        return torch.as_tensor(regions["forehead"] | regions["scalp"])
    basis = model.linear_basis[model.identity_count :].unflatten(1, (-1, 3))
    moved = basis.square().sum((0, 2))
    return moved <= moved.quantile(0.25)


def other_expressions(
    codes: dict[str, Float[Tensor, "b _"]], chance: torch.Generator, *, bounded: bool
) -> dict[str, Float[Tensor, "b _"]]:
    """The same heads with other expressions, by chance one of four ways for each.

    Random ones, those of another row, their own made stronger or weaker by component, and none.

    Args:
        codes: Of the batch.
        chance: The random numbers.
        bounded: Whether weights run from 0 to 1.
    """
    expression, jaw = codes["expression"], codes["jaw"]
    count, width = expression.shape

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=chance).to(expression.device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance).to(expression.device)

    if bounded:
        # A few shapes at a time, as faces do.
        drawn = random(count, width) * (random(count, width) < 0.12)
    else:
        drawn = 0.8 * normal(count, width)
    order = torch.randperm(count, generator=chance).to(expression.device)
    opened = torch.zeros_like(jaw)
    opened[:, 0] = 0.25 * random(count) * (random(count) < 0.5)
    ways = (
        (drawn, opened),
        (expression[order], jaw[order]),
        (expression * 2 * random(count, width), jaw * 2 * random(count, 1)),
        (torch.zeros_like(expression), torch.zeros_like(jaw)),
    )
    way = torch.randint(len(ways), (count,), generator=chance).to(expression.device)
    out = dict(codes)
    for k, name in enumerate(("expression", "jaw")):
        out[name] = torch.stack([pair[k] for pair in ways])[way, torch.arange(count)]
    if "eyelids" in codes:
        closed = random(count, 2)
        out["eyelids"] = torch.where(random(count, 1) < 0.5, closed, codes["eyelids"])
    return out


@contextmanager
def frozen(net: nn.Module) -> Generator[None]:
    """Let gradients pass through a network without changing it."""
    kept = [(p, p.requires_grad) for p in net.parameters()]
    for p, _ in kept:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, flag in kept:
            p.requires_grad_(flag)


@contextmanager
def statistics_kept(net: nn.Module) -> Generator[None]:
    """Let a network see pictures of a generator without counting them as photos.

    Its normalisations would else be those of both, and wrong for photos, which it is for.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    kept = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 0.0
    try:
        yield
    finally:
        for m, momentum in zip(norms, kept, strict=True):
            m.momentum = momentum


def _covered(posed: PosedHeads) -> Bool[Tensor, "b h w"]:
    with torch.no_grad():
        return rasterize(posed.mesh, posed.camera).face_index >= 0
