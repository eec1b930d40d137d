"""What published regressors say, in the terms of this package: FLAME's parameters and cameras."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.types import Camera, HeadParams
from face3d.model.flame_file import EYELIDS
from face3d.model.head import HeadModel
from face3d.regress.crop_pose import HEAD_M, pose_from_place

UPRIGHT = (1.0, -1.0, -1.0)
"""From FLAME's axes (y up, z towards the camera) to a camera's (y down, z away)."""


def flame_codes(system: str, params: Any) -> dict[str, Float[Tensor, "b _"]]:
    """Codes of a system's networks by common names.

    Args:
        system: "deca", "emoca", "spectre", "smirk", "teaser" or "mica".
        params: What its network returns.

    Returns:
        Of ``shape``, ``expression``, ``jaw`` and ``head`` (axis-angles), ``cam`` (scale and
        translation of a weak perspective) and ``eyelids`` those that the system has.
    """
    if system == "mica":
        return {"shape": params}
    if system in ("smirk", "teaser"):
        return {
            "shape": params["shape_params"], "expression": params["expression_params"],
            "jaw": params["jaw_params"], "head": params["pose_params"], "cam": params["cam"],
            "eyelids": params["eyelid_params"],
        }  # fmt: skip
    return {
        "shape": params["shape"], "expression": params["exp"], "jaw": params["pose"][:, 3:],
        "head": params["pose"][:, :3], "cam": params["cam"],
    }  # fmt: skip


def heads_in_photo(
    model: HeadModel,
    codes: dict[str, Float[Tensor, "b _"]],
    photo_from_crop: Float[Tensor, "b 2 3"],
    crop_px: int,
    camera: Camera,
) -> HeadParams:
    """Heads before a photo's camera, as a weak perspective has them in crops.

    In the crop a point (x, y) of the turned head is at s (x + tx), -s (y + ty) from -1 to 1
    (SMIRK's and DECA's convention). A camera with a focal length sees the same size at the head's
    origin, and turns the head by as much as the crop lies beside the photo's middle.

    Args:
        model: The FLAME head that the system was trained on.
        codes: As ``flame_codes`` gives them; longer ones than the head has are cut.
        photo_from_crop: Where the crops lie.
        crop_px: Their side.
        camera: Of the photo, whose frame is the world.
    """
    shape = codes["shape"][:, : model.identity_count]
    expression = with_eyelids(model, codes)
    turn = matrix_from_axis_angle(codes["head"])
    # FLAME turns heads about their root joint.
    root = model.joints(shape)[:, 0]
    origin = root - (turn @ root[..., None]).squeeze(-1)
    s, tx, ty = codes["cam"].unbind(-1)
    across, down = s * (origin[:, 0] + tx), -s * (origin[:, 1] + ty)
    # The first and the last pixel are half a pixel inside the square that rasterizers draw.
    linear, offset = photo_from_crop[:, :, :2], photo_from_crop[:, :, 2]
    crop_to_photo = torch.linalg.det(linear).sqrt()
    in_crop = torch.stack([(across + 1), (down + 1)], dim=-1) * crop_px / 2 - 0.5
    centre = torch.stack([camera.cx, camera.cy], dim=-1)
    to_crop = torch.linalg.inv(linear)
    moved = (to_crop @ (centre - offset)[..., None]).squeeze(-1)
    focal = camera.fx / crop_to_photo
    crop_camera = Camera(
        fx=focal, fy=focal, cx=moved[:, 0], cy=moved[:, 1], width=crop_px, height=crop_px,
        camera_from_world=torch.eye(4).expand(len(s), 4, 4),
    )  # fmt: skip
    size = (s * HEAD_M / 2).clamp(min=1e-4).log()
    middle = 2 * in_crop / crop_px - 1
    place = torch.cat([middle, size[:, None], torch.zeros_like(size)[:, None]], dim=-1)
    flipped = torch.diag(torch.tensor(UPRIGHT)) @ turn
    zero = torch.zeros(len(s), 3)
    return HeadParams(
        shape=shape, expression=expression, neck=zero, jaw=codes["jaw"],
        eyes=torch.zeros(len(s), 2, 3),
        world_from_head=pose_from_place(flipped, place, crop_camera),
    )  # fmt: skip


def with_eyelids(
    model: HeadModel, codes: dict[str, Float[Tensor, "b _"]]
) -> Float[Tensor, "b expression"]:
    """Expression as the head takes it, with the eyelids if it has such shapes.

    Args:
        model: FLAME, perhaps with its eyelids (``face3d.model.read_flame``).
        codes: As ``flame_codes`` gives them.
    """
    names = model.data.expression_names
    own = model.expression_count - len(EYELIDS) * (EYELIDS[0] in names)
    said = codes["expression"][:, :own]
    out = said.new_zeros(len(said), model.expression_count)
    out[:, : said.shape[1]] = said
    if "eyelids" in codes and EYELIDS[0] in names:
        out[:, names.index(EYELIDS[0])] = codes["eyelids"][:, 0]
        out[:, names.index(EYELIDS[1])] = codes["eyelids"][:, 1]
    return out


def flame_vertices(
    model: HeadModel, codes: dict[str, Float[Tensor, "b _"]], *, as_published: bool = False
) -> Float[Tensor, "b vertex 3"]:
    """FLAME as a system's codes move and turn it, in FLAME's own frame, metres.

    Args:
        model: The FLAME head that the system was trained on.
        codes: As ``flame_codes`` gives them.
        as_published: Add SMIRK's eyelids after the head was turned, in the world's axes, as its
            published code does: on a turned head they then push into a wrong direction. Otherwise
            they are part of the face that turns.
    """
    shape = codes["shape"][:, : model.identity_count]
    expression = with_eyelids(model, codes)
    late = torch.zeros(())
    if as_published and EYELIDS[0] in model.data.expression_names:
        first = model.data.expression_names.index(EYELIDS[0])
        lids = model.linear_basis[model.identity_count + first :][:2].unflatten(1, (-1, 3))
        late = torch.einsum("bl,lvc->bvc", expression[:, first : first + 2], lids)
        expression[:, first : first + 2] = 0
    own = model(shape, expression, None, codes["jaw"], frame="root")
    root = model.joints(shape)[:, :1]
    turn = matrix_from_axis_angle(codes["head"])
    return (own - root) @ turn.mT + root + late
