"""Train the network that tells relief from colour.

    python tools/train_relief.py --out first.npz
    python tools/train_relief.py --first first.npz --seed 2 --steps 8000 --state second.pt

All skin is synthetic (tools/relief_study). Prints a line per 200 steps and can be stopped and
resumed: the state is kept beside the log. The two take about 30 and 25 minutes on one core. Run
tools/write_manifest.py afterwards.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from relief_study.patches import Patches, draw, texel_slopes
from torch import Tensor

from face3d.detail.net import ReliefNet, read_relief_net, relief_features, save_relief_net

RIM = 4
FIRST_KNEE, LAST_KNEE = 0.5, 0.04
"""Of the loss: smaller errors of slopes count by their square, larger ones by their size. With the
last from the start it would be best for long to say that all skin is smooth."""

USUAL = 0.08
"""The least slope of a patch that its errors are compared with."""

USES, KEPT = 5, 80
"""How often a batch is used, each time turned another way, and how many wait."""

ASSETS = Path(__file__).parent.parent / "flame_assets"


def loss_of(net: ReliefNet, p: Patches, knee: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean error of slopes, its share of the slopes on rough skin, and itself on smooth skin."""
    features = relief_features(p.log_rgb, p.lean, p.shade, p.seen, p.pixel_texels, p.texel_mm)
    # Four times faster where the processor multiplies matrices of this type.
    with torch.autocast("cpu", torch.bfloat16):
        found = net(features.contiguous(memory_format=torch.channels_last)).float()
    weight = (p.seen > 0.5).float()
    weight[..., :RIM, :] = weight[..., -RIM:, :] = weight[..., :RIM] = weight[..., -RIM:] = 0
    true = texel_slopes(p.height)
    size = true.norm(dim=1, keepdim=True)
    wrong = ((found - true).square().sum(1, keepdim=True) + knee**2).sqrt() - knee
    # Patches count alike, however deep their lines are.
    area = weight.sum((1, 2, 3)).clamp(min=1)
    unit = ((size * weight).square().sum((1, 2, 3)) / area).sqrt() + USUAL
    loss = ((wrong * weight).sum((1, 2, 3)) / area / unit).mean()
    error = (found - true).detach().norm(dim=1, keepdim=True) * weight
    rough, still = (size > 0.05).float() * weight, (size < 0.005).float() * weight
    share = (error * rough).sum() / (size * rough).sum().clamp(min=1e-6)
    return loss, share, (error * still).sum() / still.sum().clamp(min=1)


def turned(p: Patches, way: int) -> Patches:
    """The same skin turned or mirrored in one of eight ways."""

    def turn(values: Tensor) -> Tensor:
        if way & 1:
            values = values.transpose(-1, -2)
        flips = [axis for axis, bit in ((-1, 2), (-2, 4)) if way & bit]
        return values.flip(flips) if flips else values

    lean = turn(p.lean.flip(1) if way & 1 else p.lean)
    signs = torch.tensor([-1.0 if way & 2 else 1.0, -1.0 if way & 4 else 1.0])
    return Patches(
        log_rgb=turn(p.log_rgb),
        lean=lean * signs[:, None, None],
        shade=turn(p.shade),
        seen=turn(p.seen),
        pixel_texels=p.pixel_texels,
        texel_mm=p.texel_mm,
        height=turn(p.height),
    )


def main() -> None:
    """Train, resume, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--first", type=Path, help="weights to go on from, with the last loss")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--state", type=Path, default=Path("relief_state.pt"))
    parser.add_argument("--out", type=Path, default=ASSETS / "relief_net.npz")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    net = read_relief_net(options.first) if options.first else ReliefNet()
    net = net.requires_grad_(True).to(memory_format=torch.channels_last)
    search = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=1e-4)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        search, options.rate, total_steps=options.steps, pct_start=0.05
    )
    first = 0
    if options.state.exists():
        state = torch.load(options.state, weights_only=True)
        net.load_state_dict(state["net"])
        search.load_state_dict(state["search"])
        plan.load_state_dict(state["plan"])
        first = state["step"]
    held = [draw(10_000_000 + k, options.batch) for k in range(12)]
    begun, seen, pool = time.time(), [], []
    dice = np.random.default_rng(options.seed)
    for step in range(first, options.steps):
        if step % USES == 0 or not pool:
            pool = [*pool[-KEPT:], draw(options.seed * 1_000_000 + step, options.batch)]
        done = min(1.0, max(0.0, (step / options.steps - 0.2) / 0.4))
        done = 1.0 if options.first else done
        knee = FIRST_KNEE * (LAST_KNEE / FIRST_KNEE) ** done
        loss, *parts = loss_of(
            net, turned(pool[dice.integers(len(pool))], int(dice.integers(8))), knee
        )
        search.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        search.step()
        plan.step()
        seen.append([float(loss.detach()), *map(float, parts)])
        if (step + 1) % 200 == 0 or step + 1 == options.steps:
            with torch.no_grad():
                kept = torch.tensor(
                    [[float(x) for x in loss_of(net, p, LAST_KNEE)] for p in held]
                ).mean(0)
            mean = torch.tensor(seen).mean(0).tolist()
            print(
                f"{step + 1} train {mean[0]:.4f} lines {mean[1]:.3f} held {kept[0]:.4f} "
                f"lines {kept[1]:.3f} smooth {kept[2]:.4f} {time.time() - begun:.0f} s",
                flush=True,
            )
            seen = []
            torch.save(
                {"net": net.state_dict(), "search": search.state_dict(),
                 "plan": plan.state_dict(), "step": step + 1},
                options.state,
            )  # fmt: skip
            save_relief_net(options.out, net)


if __name__ == "__main__":
    main()
