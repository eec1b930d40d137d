"""Training of the network that moves detected landmarks to the surface's."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from face3d.core.files import atomic_path
from face3d.fit.corrective import correctable
from face3d.model.head import HeadModel
from face3d.model.open_head_file import read_open_head
from face3d.regress.flat_face import flat_places
from face3d.regress.surface_net import LOG_SPREAD, SurfaceNet, save_surface_net
from face3d.train.loop import channels_last, one_cycle, run, steps_done, trained_weights
from face3d.train.surface_batches import FlatBatch, FlatFaces, HeldFlatFaces
from face3d.train.synthetic.scene import landmark_points

HIDDEN = 0.3
"""What a landmark that cannot be seen counts."""

MEMORY = 0.998
"""Of the weights' running mean, which is what is kept in the end."""

SPREADS_WEIGHT = 0.03
LOSS_SCALE = 10.0
DECAY = 2e-2


def surface_losses(
    found: Float[Tensor, "b 478 3"],
    wanted: Float[Tensor, "b 478 2"],
    visible: Float[Tensor, "b 478"],
) -> dict[str, Tensor]:
    """Parts of the loss, frame's units.

    ``offsets`` and ``form`` are mean absolute errors of places, the latter with the shift of the
    whole face taken out, which says nothing of its form; ``spreads`` is the negative log likelihood
    of Laplace distributions about what is found.
    """
    weight = (HIDDEN + (1 - HIDDEN) * visible)[..., None]
    error = found[..., :2] - wanted
    shift = (error * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)

    def mean(value: Tensor) -> Tensor:
        return (value.abs() * weight).sum(-1).mean()

    log_spread = found[..., 2].clamp(*LOG_SPREAD)
    far = error.abs().sum(-1).detach()
    likelihood = far * (-log_spread).exp() + 2 * log_spread
    return {
        "offsets": mean(error), "form": mean(error - shift), "spreads": likelihood.mean()
    }  # fmt: skip


class SurfaceTraining(LightningModule):
    """The network, the running mean of its weights, and its plan of learning rates.

    Args:
        net: The network.
        steps: In all.
        rate: The highest learning rate.
    """

    def __init__(self, net: SurfaceNet, *, steps: int, rate: float) -> None:
        super().__init__()
        self.net = channels_last(net)
        self.average = AveragedModel(
            self.net, multi_avg_fn=get_ema_multi_avg_fn(MEMORY), use_buffers=True
        )
        self.steps, self.rate = steps, rate

    def _losses(self, net: torch.nn.Module, batch: FlatBatch) -> dict[str, Tensor]:
        # Twice to four times faster where the processor multiplies matrices of this type.
        with torch.autocast(self.device.type, torch.bfloat16):
            found = net(batch.pictures, batch.places)
        return surface_losses(found.float(), batch.wanted, batch.visible)

    def training_step(self, batch: FlatBatch, _number: int) -> Tensor:
        """One batch's loss."""
        parts = self._losses(self.net, batch)
        self.log("train", parts["form"], prog_bar=True)
        places = parts["offsets"] + parts["form"]
        return LOSS_SCALE * places + SPREADS_WEIGHT * parts["spreads"]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Follow the weights; early on closely, so that the first ones do not linger."""
        self.average.multi_avg_fn = get_ema_multi_avg_fn(
            min(MEMORY, (self.global_step + 1) / (self.global_step + 20))
        )
        self.average.update_parameters(self.net)

    def validation_step(self, batch: FlatBatch, _number: int) -> None:
        """Log each part on held-out pictures, with the mean weights."""
        self.average.eval()
        for name, value in self._losses(self.average, batch).items():
            self.log(f"held_{name}", value, batch_size=len(batch.wanted), prog_bar=name == "form")
        # What it would be if detections stayed where they are.
        idle = batch.wanted.new_zeros(*batch.wanted.shape[:2], 3)
        found = surface_losses(idle, batch.wanted, batch.visible)
        self.log("held_detected", found["form"], batch_size=len(batch.wanted))

    def configure_optimizers(self) -> Any:
        """One cycle of rates."""
        return one_cycle(self.net, self.steps, self.rate, DECAY)


def train_surface(
    images: list[Path],
    held: Path,
    folder: Path,
    head: Path,
    *,
    steps: int = 4_500,
    batch: int = 48,
    rate: float = 2e-3,
    seed: int = 1,
    every: int = 250,
    device: str = "cpu",
) -> Path:
    """Train, or go on where a stopped training left off.

    Args:
        images: Sets of synthetic faces in which a detector has looked (``detect_in_set``).
        held: Another one, to measure on.
        folder: Gets ``last.ckpt``, which a later call goes on from, and ``log.csv``.
        head: The open head's file.
        steps: Batches in all.
        batch: Faces in each, a multiple of 8.
        rate: The highest learning rate.
        seed: Of the weights and the order of pictures.
        every: Steps between looks at ``held``, after which a checkpoint is written.
        device: "cpu", "cuda" or "auto".

    Returns:
        The last checkpoint.

    Raises:
        InputError: A set is missing or damaged, or the detector found no face in it.
    """
    torch.manual_seed(seed)
    model = HeadModel(correctable(read_open_head(head)))
    mean = landmark_points(model, model.template).numpy()
    net = SurfaceNet(flat_places(mean))
    begun = steps_done(folder, steps)
    batches = FlatFaces(images, net.flat, batch=batch, seed=seed + 1_000_003 * begun)
    measured = HeldFlatFaces(held, net.flat)
    return run(
        SurfaceTraining(net, steps=steps, rate=rate),
        DataLoader(batches, batch_size=None, num_workers=0),
        DataLoader(measured, batch_size=None),
        folder, steps=steps, every=every, device=device,
    )  # fmt: skip


def export_surface(checkpoint: Path, path: Path) -> Path:
    """Write the mean weights of a checkpoint as a file of its own, in half precision.

    Returns:
        The file.

    Raises:
        InputError: The checkpoint is damaged or of another network.
    """
    net = SurfaceNet()
    trained_weights(checkpoint, "average.module.", net, "landmark network")
    with atomic_path(path) as partial:
        save_surface_net(partial, net)
    return path
