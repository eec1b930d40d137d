"""The head model's forward pass: a batch of 64 open heads against a plain loop in the same run.

python benchmarks/model.py
"""

import torch
from machine import machine, timed_ms, write

from face3d.pipeline import load_head

BATCH = 64


def main() -> None:
    """Time, print, keep."""
    model = load_head()
    rng = torch.Generator().manual_seed(0)
    shape = torch.randn(BATCH, model.identity_count, generator=rng)
    expression = torch.rand(BATCH, model.expression_count, generator=rng)
    pose = [0.1 * torch.randn(BATCH, *s, generator=rng) for s in ((3,), (3,), (2, 3))]
    with torch.no_grad():
        batch = timed_ms(lambda: model(shape, expression, *pose), repeats=20, warm_up=4)
        loop = timed_ms(
            lambda: [model(shape[k], expression[k], *(p[k] for p in pose)) for k in range(BATCH)],
            repeats=5,
        )
    print(f"{machine()['processor']}, {machine()['torch_threads']} threads")
    print(f"{BATCH} heads at once   {batch['median_ms']:.1f} ms (bar 30)")
    print(f"{BATCH} heads in a loop {loop['median_ms']:.1f} ms")
    write("model", {"batch_of_64": batch, "loop_of_64": loop})


if __name__ == "__main__":
    main()
