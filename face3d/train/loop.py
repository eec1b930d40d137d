"""What trainings share: Lightning's loop, whole checkpoints, a log, going on after a stop."""

import csv
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from face3d.core.errors import InputError

Net = TypeVar("Net", bound=nn.Module)

WEIGHT_DECAY = 1e-2
LARGEST_STEP = 1.0
LOG = "log.csv"
LAST = "last.ckpt"


class _Log(Callback):
    """One line of figures after each look at the held-out pictures."""

    def __init__(self, path: Path) -> None:
        self.path, self.begun = path, time.time()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        values = {k: round(float(v), 5) for k, v in sorted(trainer.callback_metrics.items())}
        row = {"step": trainer.global_step, "seconds": round(time.time() - self.begun)} | values
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row.keys())
            if new:
                writer.writeheader()
            writer.writerow(row)


class _Keep(Callback):
    """Writes the whole state every so many steps; a stop in the middle leaves the one before."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        if trainer.global_step % self.every == 0:
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        # Of several processes one writes; the others wait until it has.
        if trainer.is_global_zero:
            partial.replace(self.path)
        trainer.strategy.barrier()


def require_device(name: str) -> None:
    """Refuse a device that is not there.

    Raises:
        InputError: It is "cuda" on a machine without.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here; use --device cpu.")


def channels_last(net: Net) -> Net:
    """Lay convolutions' weights out as processors multiply them fastest."""
    for value in net.parameters():
        if value.ndim == 4:
            value.data = value.data.contiguous(memory_format=torch.channels_last)
    return net


def one_cycle(net: nn.Module, steps: int, rate: float, decay: float = WEIGHT_DECAY) -> Any:
    """AdamW, its rate up and down once (Smith & Topin, 2018)."""
    search = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
    # Its first phase has to be longer than one step.
    rise = max(0.05, 2.5 / steps)
    plan = torch.optim.lr_scheduler.OneCycleLR(search, rate, total_steps=steps, pct_start=rise)
    return {"optimizer": search, "lr_scheduler": {"scheduler": plan, "interval": "step"}}


def steps_done(folder: Path, steps: int) -> int:
    """How far a training in this folder has come.

    Args:
        folder: Of the training.
        steps: It is to have in all; the plan of rates depends on it.

    Raises:
        InputError: Its checkpoint is damaged, or it was begun for another number of steps.
    """
    last = folder / LAST
    if not last.exists():
        return 0
    try:
        state = torch.load(last, weights_only=True, map_location="cpu")
        done, planned = int(state["global_step"]), int(state["lr_schedulers"][0]["total_steps"])
    except Exception as error:
        raise InputError(f"{last} is damaged; delete it, or train into a new folder.") from error
    if planned != steps:
        raise InputError(
            f"{last} is of a training with --steps {planned}; give the same number, or train into "
            "a new folder."
        )
    return done


def run(
    training: LightningModule,
    batches: Iterable[object],
    held: Iterable[object],
    folder: Path,
    *,
    steps: int,
    every: int,
    device: str,
) -> Path:
    """Train to ``steps`` in all, going on from the folder's checkpoint if there is one.

    Args:
        training: What to train.
        batches: Endless.
        held: Batches to measure on.
        folder: Gets ``last.ckpt`` and ``log.csv``.
        steps: Batches in all.
        every: Steps between looks at ``held``, after which a checkpoint is written.
        device: "cpu", "cuda" or "auto".

    Returns:
        The last checkpoint.
    """
    require_device(device)
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / LAST
    trainer = Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        max_steps=steps,
        val_check_interval=min(every, steps),
        check_val_every_n_epoch=None,
        limit_val_batches=None,
        num_sanity_val_steps=0,
        gradient_clip_val=LARGEST_STEP,
        logger=False,
        enable_model_summary=False,
        log_every_n_steps=50,
        enable_checkpointing=False,
        callbacks=[_Log(folder / LOG), _Keep(last, min(every, steps))],
    )
    trainer.fit(
        training, batches, held, ckpt_path=last if last.exists() else None, weights_only=True
    )
    return last


def trained_weights(checkpoint: Path, prefix: str, net: Net, what: str) -> Net:
    """A network with a checkpoint's weights.

    Args:
        checkpoint: As ``run`` writes it.
        prefix: Of the network's keys in it.
        net: The network, filled in place.
        what: What to call it in messages.

    Raises:
        InputError: The checkpoint is damaged or of another network.
    """
    try:
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
        net.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
    except Exception as error:
        raise InputError(f"{checkpoint} is no checkpoint of the {what}.") from error
    return net
