"""Weights of the project's own networks: arrays by name, in half precision, without pickles."""

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from face3d.core.errors import AssetError
from face3d.core.npz import NpzError, read_npz

Net = TypeVar("Net", bound=nn.Module)


def read_weights(path: Path, net: Net, what: str) -> Net:
    """Fill a network from a file and make it ready for use.

    Args:
        path: As ``save_weights`` writes it.
        net: The network, filled in place.
        what: What to call it in messages, such as "regressor".

    Raises:
        AssetError: The file is missing, damaged or of another network.
    """
    try:
        arrays = read_npz(path)
        net.load_state_dict({k: torch.tensor(np.asarray(v)).float() for k, v in arrays.items()})
    except FileNotFoundError as error:
        raise AssetError(f"The {what} {path} is missing; reinstall face3d.") from error
    except (NpzError, RuntimeError, TypeError, ValueError) as error:
        raise AssetError(f"{path} is not a readable {what}; reinstall face3d.") from error
    return net.eval().requires_grad_(False)


def save_weights(path: Path, net: nn.Module) -> None:
    """Write a network's weights; floats in half precision, counts as they are."""
    arrays = {
        name: (value.half() if value.is_floating_point() else value).detach().numpy()
        for name, value in net.state_dict().items()
    }
    np.savez_compressed(path, **arrays)
