"""Pictures as they were when somebody looked at them and found them good.

FACE3D_UPDATE_GOLDEN=1 python -m pytest tests/render/test_golden.py  writes them anew.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from face3d.core import HeadMesh
from face3d.pipeline import load_head
from face3d.render import Maps, portrait_camera, preview, render

GOLDEN = Path(__file__).parent / "golden"
SIZE = 128
MEAN_LEVELS, MOST_LEVELS, FEW = 0.25, 24, 0.002
"""Of 255: mean difference, and how far single values may be off in at most this share of them:
processors round differently, which moves a pixel on an edge to another face."""


def head(**weights: float) -> HeadMesh:
    model = load_head()
    names = list(model.data.expression_names)
    expression = torch.zeros(52)
    for name, weight in weights.items():
        expression[names.index(name)] = weight
    with torch.no_grad():
        vertices = model(torch.zeros(140), expression)
    return HeadMesh(vertices=vertices, frame="world", topology=model.data.topology)


def painted() -> torch.Tensor:
    """A texture of soft stripes, each channel its own way."""
    line = torch.linspace(0, 60, 256)
    return torch.stack(
        [
            0.55 + 0.25 * torch.sin(line)[None].expand(256, 256),
            0.45 + 0.25 * torch.sin(line)[:, None].expand(256, 256),
            0.5 + 0.2 * torch.sin(line[None] + line[:, None]),
        ]
    )


def bumps() -> torch.Tensor:
    """Relief of 0.3 mm, a bump every 1/32 of the texture."""
    wave = torch.sin(torch.linspace(0, 64 * torch.pi, 512))
    return 3e-4 * (wave[:, None] * wave[None])[None]


def clay() -> np.ndarray:
    view = portrait_camera(torch.tensor([0.0, 0.01, 0.02]), 0.31, yaw_rad=0.5, size=SIZE)
    return preview(head(), view)[0]


def laughing() -> np.ndarray:
    mesh = head(jawOpen=0.5, mouthSmileLeft=0.8, mouthSmileRight=0.8, eyeBlinkLeft=1.0)
    view = portrait_camera(torch.tensor([0.0, 0.0, 0.06]), 0.17, yaw_rad=-0.4, size=SIZE)
    return preview(mesh, view, texture=painted(), shading=0.8)[0]


def unlit() -> np.ndarray:
    view = portrait_camera(torch.tensor([0.0, 0.01, 0.02]), 0.31, yaw_rad=-1.3, size=SIZE)
    rgba = render(head(), view, texture=painted(), background=(1.0, 1.0, 1.0))
    return as_levels(rgba)


def relief() -> np.ndarray:
    from face3d.render.preview import studio

    view = portrait_camera(torch.tensor([0.0, 0.0, 0.06]), 0.17, yaw_rad=0.2, size=SIZE)
    rgba = render(head(), view, texture=Maps(displacement=bumps()), light=studio(view))
    return as_levels(rgba)


def as_levels(rgba: torch.Tensor) -> np.ndarray:
    return (rgba[:3].permute(1, 2, 0) * 255 + 0.5).to(torch.uint8).numpy()


@pytest.mark.parametrize("draw", [clay, laughing, unlit, relief], ids=lambda draw: draw.__name__)
def test_looks_as_it_did(draw):
    picture = draw()
    path = GOLDEN / f"{draw.__name__}.png"
    if os.environ.get("FACE3D_UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    off = np.abs(picture.astype(int) - np.asarray(Image.open(path)).astype(int))
    assert off.mean() <= MEAN_LEVELS
    assert (off > MOST_LEVELS).mean() <= FEW
