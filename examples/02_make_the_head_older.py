"""Change who the head is along a named axis of the open head."""

import sys
from pathlib import Path

import torch

import face3d
from face3d.export import write_ply


def main(output: str) -> None:
    model = face3d.load_head()
    older = torch.as_tensor(model.data.identity_axes["age"]).float()
    with torch.no_grad():
        vertices = model(1.5 * older, torch.zeros(1))
    write_ply(Path(output), vertices.double().numpy(), model.data.topology)
    print(output)


if __name__ == "__main__":
    main(*sys.argv[1:2])
