"""The own regressor as an ONNX file, for programs without torch."""

import importlib.util
import warnings
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.core.errors import MissingDependencyError
from face3d.core.files import atomic_path
from face3d.regress.own_net import INPUT_PX, PARTS, SPREADS, OwnNet

INPUT = "crops"
OPSET = 17


class _Named(nn.Module):
    """Outputs one after the other: all of PARTS, then the logarithms of deviations of SPREADS."""

    def __init__(self, net: OwnNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        found = self.net(crops)
        return (*found.mean.values(), *found.log_sd.values())


def output_names() -> list[str]:
    """Of the file: the names of PARTS, and those of SPREADS with ``_log_sd`` behind them."""
    return [*PARTS, *(f"{name}_log_sd" for name in SPREADS)]


def export_onnx(net: OwnNet, path: Path) -> Path:
    """Write a network as ONNX; its input is ``crops`` (any number, 3, 128, 128), sRGB in [0, 1].

    Args:
        net: Ready for use.
        path: Of the file.

    Raises:
        MissingDependencyError: The package onnx is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingDependencyError(
            "Writing ONNX needs the package onnx; install it: pip install 'face3d[onnx]'."
        )
    names = output_names()
    free = {name: {0: "batch"} for name in (INPUT, *names)}
    with atomic_path(path) as partial, warnings.catch_warnings():
        # The newer exporter needs another package; this one warns of whatever it traces.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Named(net).eval(), (torch.zeros(2, 3, INPUT_PX, INPUT_PX),), str(partial),
            dynamo=False, input_names=[INPUT], output_names=names, dynamic_axes=free,
            opset_version=OPSET,
        )  # fmt: skip
    return path
