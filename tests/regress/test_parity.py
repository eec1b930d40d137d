"""Published architectures under made-up weights give what the original modules gave.

The outputs lie in ../shared/parity with how to make the weights; they come from the original
projects' modules and hold no weights of theirs.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from face3d.regress.iresnet import IResNet100
from face3d.regress.resnet import ResNet50
from face3d.regress.smirk import SmirkEncoder, SmirkGenerator

PARITY = Path(__file__).parents[3] / "shared" / "parity"
pytestmark = pytest.mark.skipif(not PARITY.is_dir(), reason="../shared/parity is not here")

CASES = {
    "smirk_encoder": (SmirkEncoder, "smirk_encoder", (2, 3, 224, 224)),
    "smirk_generator": (SmirkGenerator, "smirk_generator", (1, 6, 224, 224)),
    "resnet50_trunk": (ResNet50, "resnet50", (2, 3, 224, 224)),
    "iresnet100": (IResNet100, "iresnet100", (1, 3, 112, 112)),
}


def _tensor(key: str, shape: list[int], gain: float) -> torch.Tensor:
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(1)
    if key.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif key.endswith("running_mean"):
        value = 0.1 * rng.standard_normal(shape)
    elif len(shape) < 2:
        value = 0.1 * rng.standard_normal(shape)
        if key.endswith("weight"):
            value = value + (0.25 if "prelu" in key else 1.0)
    else:
        value = rng.standard_normal(shape) * np.sqrt(gain / np.prod(shape[1:]))
    return torch.as_tensor(value).float()


def _filled(name: str) -> nn.Module:
    about = json.loads((PARITY / f"{name}.json").read_text())
    net = CASES[name][0]()
    shapes = {k: list(v.shape) for k, v in net.state_dict().items()}
    assert shapes == about["state_dict"]
    net.load_state_dict({k: _tensor(k, s, about["gain"]) for k, s in shapes.items()})
    return net.eval()


@pytest.mark.parametrize("name", CASES)
def test_a_network_gives_what_the_original_gave(name: str) -> None:
    _, seed, shape = CASES[name]
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    x = torch.as_tensor(rng.uniform(0, 1, shape)).float()
    if name == "iresnet100":
        x = 2 * x - 1
    with torch.no_grad():
        found = _filled(name)(x)
    expected = np.load(PARITY / f"{name}.npz")
    if name == "smirk_generator":
        found = found[..., ::8, ::8]
    if not isinstance(found, dict):
        found = {expected.files[0]: found}
    assert set(found) == set(expected.files)
    for key in expected.files:
        largest = np.abs(expected[key]).max()
        assert np.abs(found[key].numpy() - expected[key]).max() < 1e-4 * largest, key
