"""Parameter files of trackers and regressors to files that artists' tools open."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.errors import InputError
from face3d.core.transforms import invert_rigid, rigid_from_parts
from face3d.core.types import HeadParams
from face3d.export import (
    GlbAnimation,
    GlbCharacter,
    Material,
    SavedParams,
    write_glb,
    write_obj,
    write_params,
)
from face3d.model import HeadModel
from face3d.model.flame_file import EYELIDS
from face3d.pipeline.heads import OPEN_HEAD, load_head
from face3d.pipeline.regressed import is_regressed, read_regressed, regressed_params
from face3d.regress.tracked import USUAL_FPS, TrackedHead, read_tracked

FLAME = "flame2020"
SKIN_SRGB = (0.8, 0.65, 0.57)


def convert(
    source: str | Path, output: str | Path, *, head: str = FLAME, fps: float = USUAL_FPS
) -> Path:
    """Write what a tracker or regressor of FLAME has found as an animated head.

    Args:
        source: Parameter file or folder, as ``read_tracked`` takes it; or what ``face3d regress``
            has written, whose faces become one take of one person.
        output: ``.glb`` (skinned, one morph for each expression component, with the take), ``.npz``
            (parameters) or ``.obj`` (the first picture).
        head: Name or file of the FLAME model that the parameters belong to; the own regressor's
            belong to the open head.
        fps: Pictures per second of the take, where the file does not say.

    Returns:
        The path.

    Raises:
        InputError: A name or option has no meaning, or the parameters do not fit the head.
        AssetError: The file is damaged, or the head is not installed.
    """
    target = Path(output)
    if target.suffix.lower() not in (".glb", ".npz", ".obj"):
        raise InputError(f"Cannot write {target.name!r}: use a name that ends in .glb, .npz, .obj.")
    if not 0 < fps <= 240:
        raise InputError(f"The frame rate is {fps}; give at most 240 pictures a second.")
    if is_regressed(Path(source)):
        found = read_regressed(Path(source))
        if found.system == "own":
            head = OPEN_HEAD
        model = load_head(head)
        params, eyelids, offsets = regressed_params(model, found), None, None
        times = found.times_s
    else:
        tracked = read_tracked(Path(source))
        model = load_head(head)
        params = head_params(model, tracked)
        eyelids, offsets, times = tracked.eyelids, tracked.offsets, None
    if times is None:
        times = np.arange(len(params.expression)) / fps
    if target.suffix.lower() == ".npz":
        arrays = {"times_s": times}
        if eyelids is not None:
            arrays["eyelids"] = eyelids.numpy()
        write_params(target, SavedParams(head=head, params=params, arrays=arrays))
        return target
    rest = _rest(model, params.shape[0], offsets)
    material = Material(
        name="skin", faces=np.ones(len(model.data.faces), bool), base_color_srgb=SKIN_SRGB
    )
    if target.suffix.lower() == ".obj":
        first = HeadParams(**{name: value[0] for name, value in vars(params).items()})
        with torch.no_grad():
            mesh = model.mesh(first).vertices + (rest - model(first.shape, 0 * first.expression))
        write_obj(
            target, mesh.numpy().astype(np.float64), model.data.topology, materials=(material,),
            licence=model.data.licence,
        )  # fmt: skip
        return target
    write_glb(
        target, _character(model, params, rest, material), animation=_take(model, params, times)
    )
    return target


def head_params(model: HeadModel, tracked: TrackedHead) -> HeadParams:
    """A take in this package's terms: the skull's place in the world, the neck turned under it.

    Args:
        model: The FLAME head.
        tracked: The take.

    Raises:
        InputError: The codes are longer than the head's.
    """
    count = len(tracked.expression)
    for name, code, most in (
        ("shape", tracked.shape, model.identity_count),
        ("expression", tracked.expression[0], model.expression_count),
    ):
        if len(code) > most:
            raise InputError(
                f"The file's {name} has {len(code)} numbers and {model.data.name} takes {most}; "
                "give the head that it was made with (--head)."
            )
    shape = torch.zeros(model.identity_count)
    shape[: len(tracked.shape)] = tracked.shape
    expression = torch.zeros(count, model.expression_count)
    expression[:, : tracked.expression.shape[1]] = tracked.expression
    names = model.data.expression_names
    if tracked.eyelids is not None and EYELIDS[0] in names:
        expression[:, [names.index(name) for name in EYELIDS]] = tracked.eyelids
    root = torch.zeros(3) if tracked.about_origin else model.joints(shape)[0]
    turned = (tracked.rotation @ root[:, None])[..., 0]
    placed = rigid_from_parts(tracked.rotation, tracked.translation + root - turned)
    params = HeadParams(
        shape=shape.expand(count, -1).clone(), expression=expression, neck=tracked.neck,
        jaw=tracked.jaw, eyes=tracked.eyes, world_from_head=placed,
    )  # fmt: skip
    return replace(params, world_from_head=placed @ _skull_from_rest(model, params))


def _skull_from_rest(model: HeadModel, params: HeadParams) -> Float[Tensor, "time 4 4"]:
    """What the neck does to the skull, in the root's frame."""
    with torch.no_grad():
        turns = model.pose_rotations(params.neck, params.jaw, params.eyes)
        return model.skin_from_rest(turns, model.joints(params.shape), "root")[:, model.skull_joint]


def _rest(
    model: HeadModel, shape: Float[Tensor, "identity"], offsets: Float[Tensor, "added 3"] | None
) -> Float[Tensor, "vertex 3"]:
    """The person at rest, with what the tracker added to the template."""
    with torch.no_grad():
        rest = model(shape, torch.zeros(model.expression_count))
    if offsets is not None:
        if len(offsets) < len(rest):
            raise InputError(
                f"The file's offsets are of {len(offsets)} vertices and {model.data.name} "
                f"has {len(rest)}; give the head that it was made with (--head)."
            )
        # VHAP's vertices beyond FLAME's own are its teeth.
        rest = rest + offsets[: len(rest)]
    return rest


def _character(
    model: HeadModel, params: HeadParams, rest: Tensor, material: Material
) -> GlbCharacter:
    data = model.data
    with torch.no_grad():
        places = model.joints(params.shape[0])
    return GlbCharacter(
        name=data.name,
        vertices=rest.numpy().astype(np.float64),
        topology=data.topology,
        materials=(material,),
        joint_names=data.joint_names,
        joint_parents=data.parents,
        joint_places=places.numpy().astype(np.float64),
        skinning_weights=data.skinning_weights,
        morph_names=data.expression_names,
        morph_deltas=np.moveaxis(data.expression_basis, -1, 0),
        licence=data.licence,
    )


def _take(model: HeadModel, params: HeadParams, times: Float[np.ndarray, "time"]) -> GlbAnimation:
    turns = model.pose_axis_angles(params.neck, params.jaw, params.eyes)
    # In a file the neck's joint moves the skull, and the rig stands where the root does.
    root = params.world_from_head @ invert_rigid(_skull_from_rest(model, params))
    return GlbAnimation(
        times_s=times,
        morph_weights=params.expression.numpy().astype(np.float64),
        joint_rotations=turns.numpy().astype(np.float64),
        world_from_head=root.numpy().astype(np.float64),
        extras={"fps": 1 / float(np.median(np.diff(times))) if len(times) > 1 else USUAL_FPS},
    )
