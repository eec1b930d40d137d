"""How the parts of a head reflect light."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.types import Topology

SKIN_ROUGHNESS, WET_ROUGHNESS = 0.55, 0.12
SKIN_WRAP = (0.28, 0.12, 0.07)
"""How far past the terminator red, green and blue light still leaves skin: chosen by eye."""


@dataclass(frozen=True, kw_only=True)
class Materials:
    """One row per face."""

    roughness: Float[Tensor, "face"]  # of the specular lobe; one or more has none
    wrap: Float[Tensor, "face 3"] | None = None  # how far light creeps around, by colour


def matte(topology: Topology) -> Materials:
    """Diffuse everywhere."""
    return Materials(roughness=torch.ones(len(topology.faces)))


def glossy(topology: Topology) -> Materials:
    """Skin with a broad highlight, eyes and teeth and tongue with a sharp one."""
    roughness = torch.full((len(topology.faces),), SKIN_ROUGHNESS)
    roughness[_wet(topology)] = WET_ROUGHNESS
    return Materials(roughness=roughness)


def lifelike(topology: Topology) -> Materials:
    """As ``glossy``, and light shines through skin a little; for pictures, not for fitting."""
    wrap = torch.tensor(SKIN_WRAP).repeat(len(topology.faces), 1)
    wrap[_wet(topology)] = 0.0
    return Materials(roughness=glossy(topology).roughness, wrap=wrap)


def _wet(topology: Topology) -> Tensor:
    """Faces that a film of water covers."""
    wet = torch.zeros(len(topology.faces), dtype=torch.bool)
    for name in ("eyes", "teeth", "tongue"):
        region = topology.regions.get(name)
        if region is not None:
            wet |= torch.as_tensor(region[topology.faces].all(1))
    return wet
