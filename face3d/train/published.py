"""Training of published systems' networks on the user's photos, by name.

What comes out is a checkpoint with the system's own keys, which ``load_regressor`` reads like one
of its authors. On FLAME its numbers mean what theirs do; on another head they mean that head's.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from face3d.core.errors import AssetError, InputError
from face3d.core.files import atomic_path
from face3d.detect import LandmarkDetector
from face3d.media import files_in
from face3d.model.head import HeadModel
from face3d.regress.deca import CODE, Deca
from face3d.regress.mica import Mica
from face3d.regress.published import load_generator, load_published
from face3d.regress.smirk import SCALE, SmirkEncoder, SmirkGenerator
from face3d.regress.spectre import Spectre
from face3d.regress.teaser import TeaserEncoder, TeaserGenerator
from face3d.train.deca import DecaTraining
from face3d.train.loop import LAST, require_device, run, steps_done
from face3d.train.mica import HeldShapes, MicaTraining, ShapeCrops
from face3d.train.photo_batches import HeldPhotos, Order, PhotoCrops, split
from face3d.train.photo_set import Progress, read_photo_set, write_photo_set
from face3d.train.smirk import SmirkTraining
from face3d.train.spectre import SpectreTraining
from face3d.train.synthetic.shards import shard_folders

System = Literal["smirk", "teaser", "deca", "spectre", "mica"]
Stage = Literal["landmarks", "coarse", "detail", "whole"]

STAGES: dict[str, tuple[Stage, ...]] = {
    "smirk": ("landmarks", "whole"),
    "teaser": ("landmarks", "whole"),
    "deca": ("coarse", "detail"),
    "spectre": ("whole",),
    "mica": ("whole",),
}
"""Of each system, in the order in which they are trained."""

SETTLED = ("pose_encoder", "shape_encoder")
"""Of SMIRK and TEASER, what the first stage has taught for good."""

NEEDS_FIRST = (("deca", "detail"), ("spectre", "whole"))
"""Stages that would learn on top of random numbers which stay as they are."""

ABOUT = "plan.json"
FACES = "faces"
"""Folder of the cut out faces, within the training's."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train.

    Attributes:
        system: Whose networks.
        stage: What of them learns; see STAGES. None is the last one.
        steps: Batches in all.
        batch: Faces in each; of spectre, frames.
        rate: The highest learning rate.
        seed: Of the weights, the order of pictures and all chance.
        first: A checkpoint of the system to begin with.
        every: Steps between looks at held-out faces, and between checkpoints.
        every_frame: Take each n-th frame of videos.
        device: "cpu", "cuda" or "auto".
    """

    system: System
    stage: Stage | None = None
    steps: int = 20_000
    batch: int = 16
    rate: float = 2e-4
    seed: int = 1
    first: Path | None = None
    every: int = 500
    every_frame: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.stage is not None and self.stage not in STAGES[self.system]:
            raise InputError(
                f"{self.system} has no stage {self.stage!r}; "
                f"it has {', '.join(STAGES[self.system])}."
            )
        require_device(self.device)
        if self.batch < 2 or (self.system == "deca" and self.batch % 2):
            raise InputError(f"The batch is {self.batch}; give 2 at least, of deca an even number.")

    @property
    def what(self) -> Stage:
        """The stage."""
        return STAGES[self.system][-1] if self.stage is None else self.stage


def train_published(
    plan: Plan,
    images: Path,
    folder: Path,
    model: HeadModel,
    detector: Callable[[], LandmarkDetector],
    *,
    held: Path | None = None,
    on_progress: Progress | None = None,
    **given: Any,
) -> tuple[Path, tuple[str, ...]]:
    """Train, or go on where a stopped training left off.

    Args:
        plan: How.
        images: Photos and videos; of mica a set of synthetic faces.
        folder: Gets the cut out faces, ``last.ckpt``, ``log.csv`` and the checkpoint.
        model: The head.
        detector: Makes what finds faces; it is asked only if there are pictures to look at.
        held: Of mica, another set to measure on. Of the others every eighth file is held out.
        on_progress: Called while faces are cut out.
        **given: Networks of the user, as the trainings take them: ``teacher``, ``embed``,
            ``reader``.

    Returns:
        The checkpoint, and which pictures were skipped and why.

    Raises:
        InputError: No faces are found, or the folder holds another training.
        AssetError: ``plan.first`` is damaged or of another system.
    """
    if plan.system == "mica" and "jawOpen" not in model.data.expression_names:
        raise InputError("mica learns from synthetic faces of the open head; leave out the head.")
    if plan.first is None and (plan.system, plan.what) in NEEDS_FIRST:
        raise InputError(
            f"{plan.system}'s stage {plan.what!r} goes on from what an earlier one has learned; "
            "give its checkpoint (--first)."
        )
    if plan.system == "mica":
        if held is None:
            raise InputError("mica needs a second set of synthetic faces to measure on (--held).")
        shard_folders(images)
    else:
        files_in(images)
    _claim(folder, {"system": plan.system, "stage": plan.what, "head": model.data.name})
    torch.manual_seed(plan.seed)
    training = _training(plan, model, given)
    skipped: tuple[str, ...] = ()
    seed = plan.seed + 1_000_003 * steps_done(folder, plan.steps)
    if plan.system == "mica":
        assert held is not None
        batches: Any = ShapeCrops(images, batch=plan.batch, seed=seed)
        looks: Any = HeldShapes(held, batch=plan.batch)
    else:
        faces_at = folder / FACES
        skipped = write_photo_set(
            images, faces_at, plan.system, detector(), every=plan.every_frame,
            on_progress=on_progress,
        )  # fmt: skip
        order: Order = {"deca": "pairs", "spectre": "clips"}.get(plan.system, "single")  # type: ignore[assignment]
        learned, unseen = split(read_photo_set(faces_at))
        batches = PhotoCrops(learned, batch=plan.batch, order=order, seed=seed)
        looks = HeldPhotos(unseen, batch=plan.batch, order=order)
    run(
        training, DataLoader(batches, batch_size=None), DataLoader(looks, batch_size=None),
        folder, steps=plan.steps, every=plan.every, device=plan.device,
    )  # fmt: skip
    out = folder / f"{plan.system}.pt"
    state = torch.load(folder / LAST, weights_only=True, map_location="cpu")["state_dict"]
    training.load_state_dict(state)
    with atomic_path(out) as partial:
        torch.save(published_state(plan.system, training), partial)
    return out, skipped


def _claim(folder: Path, wanted: dict[str, str]) -> None:
    """See that a folder is of this training and no other.

    Raises:
        InputError: It is of another one.
    """
    path = folder / ABOUT
    if path.exists():
        try:
            there = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read; train into a new folder.") from error
        if there != wanted:
            raise InputError(f"{folder} holds another training ({there}); give a new folder.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(wanted))


def published_state(system: System, training: LightningModule) -> dict[str, Tensor]:
    """The networks' weights under the keys of the system's own checkpoints."""
    out: dict[str, Tensor] = {}
    for key, value in training.state_dict().items():
        if system in ("smirk", "teaser"):
            out[key.replace("smirk_", f"{system}_", 1)] = value
        elif key.startswith("net."):
            name = key.removeprefix("net.")
            if system == "mica" and name.startswith("regressor."):
                name = f"flameModel.{name}"
            out[name] = value
    return out


def _training(plan: Plan, model: HeadModel, given: dict[str, Any]) -> LightningModule:
    common: dict[str, Any] = {"steps": plan.steps, "rate": plan.rate}
    if plan.system in ("smirk", "teaser"):
        encoder: nn.Module
        generator: nn.Module | None
        encoder, generator = (
            (SmirkEncoder(), SmirkGenerator())
            if plan.system == "smirk"
            else (TeaserEncoder(), TeaserGenerator())
        )
        if plan.first is not None:
            encoder = _ready(load_published(plan.system, plan.first))
        if plan.what == "landmarks":
            generator = None
        elif plan.first is not None:
            generator = _generator(plan.system, plan.first, generator)
        kept = SETTLED if generator is not None and plan.first is not None else ()
        return SmirkTraining(
            encoder, generator, model, seed=plan.seed, kept=kept, **common, **given
        )
    net: nn.Module = {"deca": Deca, "spectre": Spectre, "mica": Mica}[plan.system]()
    if plan.system != "mica":
        _before_the_camera(net.get_submodule("E_flame"))
    if isinstance(net, Spectre):
        # What is added to DECA's expressions begins as nothing.
        last = net.E_expression.layers[0]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(0.01)
            last.bias.zero_()
    if plan.first is not None:
        net = _begun(plan.system, plan.first, net)
    if plan.system == "deca":
        stage: Any = plan.what
        return DecaTraining(net, model, stage=stage, **common, **given)
    if plan.system == "spectre":
        return SpectreTraining(net, model, **common, **given)
    return MicaTraining(net, model, **common, **given)


def _begun(system: System, first: Path, fresh: nn.Module) -> nn.Module:
    """A system's network with a checkpoint's weights; SPECTRE's may be DECA's, which it adds to."""
    try:
        return _ready(load_published(system, first))
    except AssetError as error:
        if system != "spectre":
            raise
        try:
            deca = load_published("deca", first)
        except AssetError:
            raise error from None
        encoder = fresh.get_submodule("E_flame")
        encoder.load_state_dict(deca.get_submodule("E_flame").state_dict())
        return fresh


def _before_the_camera(encoder: nn.Module) -> None:
    """Let an untrained encoder begin with the mean head, as large as heads are in crops."""
    last = encoder.get_submodule("layers.2")
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.zero_()
        last.bias[sum(list(CODE.values())[:4])] = SCALE


def _ready(net: nn.Module) -> nn.Module:
    """To learn on."""
    return net.train().requires_grad_(True)


def _generator(system: Literal["smirk", "teaser"], first: Path, fresh: nn.Module) -> nn.Module:
    """Of the checkpoint, if it has one: after training on landmarks there is none."""
    try:
        return _ready(load_generator(system, first))
    except AssetError:
        return fresh
