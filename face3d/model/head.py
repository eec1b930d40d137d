"""One torch module for every head: parameters in, vertices out."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.core.checks import require_last_axis
from face3d.core.errors import InputError
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import invert_rigid, rigid_from_parts
from face3d.core.types import HeadMesh, HeadParams
from face3d.model.data import HeadData


class HeadModel(nn.Module):
    """A linear head with blend skinning (Li et al., 2017), from any file that HeadData can hold.

    The module stores no pose: parameters are arguments. Buffers are not persistent, so a state
    dict of a network that holds a head carries no head data.

    Args:
        data: The head.
        dtype: float32 or float64.
    """

    def __init__(self, data: HeadData, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.data = data
        count = data.v_template.shape[0]
        self.vertex_count = count
        self.identity_count = data.identity_basis.shape[-1]
        self.expression_count = data.expression_basis.shape[-1]
        self.joint_count = data.joint_regressor.shape[0]
        self._parents = tuple(int(p) for p in data.parents)
        names = data.joint_names
        self._joint_of = {name: names.index(name) for name in names}
        self._skull = self._parents[self._joint_of["left_eye"]]

        def buffer(name: str, value: Tensor) -> None:
            self.register_buffer(name, value.to(dtype).contiguous(), persistent=False)

        template = torch.as_tensor(data.v_template).double()
        identity = torch.as_tensor(data.identity_basis).double()
        regressor = torch.as_tensor(data.joint_regressor).double()
        linear = torch.cat([identity, torch.as_tensor(data.expression_basis).double()], dim=-1)
        buffer("template", template)
        buffer("linear_basis", linear.permute(2, 0, 1).reshape(-1, count * 3))
        pose = torch.as_tensor(data.pose_basis).double()
        self._has_pose_basis = bool((pose != 0).any())
        buffer("pose_basis", pose.permute(2, 0, 1).reshape(-1, count * 3))
        buffer("joint_template", regressor @ template)
        joint_basis = torch.einsum("jv,vci->ijc", regressor, identity)
        buffer("joint_basis", joint_basis.reshape(-1, self.joint_count * 3))
        buffer("skinning_weights", torch.as_tensor(data.skinning_weights).double())

    template: Tensor
    linear_basis: Tensor
    pose_basis: Tensor
    joint_template: Tensor
    joint_basis: Tensor
    skinning_weights: Tensor

    @property
    def skull_joint(self) -> int:
        """The joint that carries the skull: the parent of the eyes."""
        return self._skull

    @property
    def parents(self) -> tuple[int, ...]:
        """The parent of each joint, -1 for the root."""
        return self._parents

    def joints(self, shape: Float[Tensor, "*batch identity"]) -> Float[Tensor, "*batch joint 3"]:
        """Joint places at rest, in the head frame; they follow identity only."""
        moved = shape @ self.joint_basis[: shape.shape[-1]]
        return self.joint_template + moved.reshape(*shape.shape[:-1], self.joint_count, 3)

    def pose_rotations(
        self,
        neck: Float[Tensor, "*batch 3"],
        jaw: Float[Tensor, "*batch 3"],
        eyes: Float[Tensor, "*batch 2 3"],
    ) -> Float[Tensor, "*batch joint 3 3"]:
        """The rotation of each joint about its parent; the root's is the identity.

        A head without a jaw or neck joint ignores that rotation.
        """
        return matrix_from_axis_angle(self.pose_axis_angles(neck, jaw, eyes))

    def pose_axis_angles(
        self,
        neck: Float[Tensor, "*batch 3"],
        jaw: Float[Tensor, "*batch 3"],
        eyes: Float[Tensor, "*batch 2 3"],
    ) -> Float[Tensor, "*batch joint 3"]:
        """The same as axis-angle vectors, in the order of the head's joints."""
        left, right = eyes.unbind(-2)
        parts = {"neck": neck, "jaw": jaw, "left_eye": left, "right_eye": right}
        zero = torch.zeros_like(neck)
        return torch.stack([parts.get(n, zero) for n in self.data.joint_names], dim=-2)

    def skin_from_rest(
        self,
        rotations: Float[Tensor, "*batch joint 3 3"],
        joints: Float[Tensor, "*batch joint 3"],
        frame: Literal["skull", "root"] = "skull",
    ) -> Float[Tensor, "*batch joint 4 4"]:
        """The transform that each joint applies to points of the rest pose."""
        world: list[Tensor] = []
        for j, parent in enumerate(self._parents):
            rotation, place = rotations[..., j, :, :], joints[..., j, :]
            # A rotation about the joint's place, on top of what the parent does.
            local = rigid_from_parts(rotation, place - (rotation @ place[..., None]).squeeze(-1))
            world.append(local if parent < 0 else world[parent] @ local)
        stacked = torch.stack(world, dim=-3)
        if frame == "skull":
            stacked = invert_rigid(world[self._skull])[..., None, :, :] @ stacked
        return stacked

    def forward(
        self,
        shape: Float[Tensor, "*_ _"],
        expression: Float[Tensor, "*_ _"],
        neck: Float[Tensor, "*_ _"] | None = None,
        jaw: Float[Tensor, "*_ _"] | None = None,
        eyes: Float[Tensor, "*_ _ _"] | None = None,
        *,
        frame: Literal["skull", "root"] = "skull",
    ) -> Float[Tensor, "*_ vertex 3"]:
        """Vertices of the posed head.

        Args:
            shape: Identity in standard deviations; a shorter code leaves the rest at zero.
            expression: Expression weights, likewise.
            neck: Rotation of the skull on the neck, axis-angle in radians; none is zero.
            jaw: Rotation of the jaw, likewise.
            eyes: Rotations of the left and the right eye, likewise. Leading axes of all five are
                broadcast.
            frame: "skull" keeps the skull still, so that a turned neck moves the throat (the
                head frame of the records); "root" is FLAME's own frame, where it moves the skull.

        Returns:
            Metres. With a neck at rest the two frames are the same.

        Raises:
            InputError: A code is longer than the head's basis, an axis has the wrong size, or
                leading axes cannot be broadcast.
        """
        for name, code, most in (
            ("shape", shape, self.identity_count),
            ("expression", expression, self.expression_count),
        ):
            if code.shape[-1] > most:
                raise InputError(
                    f"{name} has {code.shape[-1]} entries; {self.data.name} takes at most {most}."
                )
        neck = shape.new_zeros(3) if neck is None else neck
        jaw = shape.new_zeros(3) if jaw is None else jaw
        eyes = shape.new_zeros(2, 3) if eyes is None else eyes
        require_last_axis("neck", neck, 3)
        require_last_axis("jaw", jaw, 3)
        require_last_axis("eyes", eyes, 3)
        if eyes.shape[-2:] != (2, 3):
            raise InputError(f"eyes has shape {tuple(eyes.shape)}; its last axes must be (2, 3).")
        leading = [part.shape[:-1] for part in (shape, expression, neck, jaw)] + [eyes.shape[:-2]]
        try:
            batch = torch.broadcast_shapes(*leading)
        except RuntimeError as error:
            raise InputError(
                f"The leading axes {', '.join(str(tuple(x)) for x in leading)} of shape, "
                "expression, neck, jaw and eyes do not go together; give equal ones, or one."
            ) from error
        shape = shape.expand(*batch, shape.shape[-1])
        neck, jaw = neck.expand(*batch, 3), jaw.expand(*batch, 3)
        eyes = eyes.expand(*batch, 2, 3)
        code = shape.new_zeros(*batch, self.linear_basis.shape[0])
        code[..., : shape.shape[-1]] = shape
        code[..., self.identity_count : self.identity_count + expression.shape[-1]] = expression
        rotations = self.pose_rotations(neck, jaw, eyes)
        rest = torch.addmm(
            self.template.reshape(1, -1), code.reshape(-1, code.shape[-1]), self.linear_basis
        )
        if self._has_pose_basis:
            identity = torch.eye(3, dtype=shape.dtype, device=shape.device)
            feature = (rotations[..., 1:, :, :] - identity).reshape(rest.shape[0], -1)
            rest = torch.addmm(rest, feature, self.pose_basis)
        skin = self.skin_from_rest(rotations, self.joints(shape), frame)
        blended = self.skinning_weights @ skin[..., :3, :].reshape(-1, self.joint_count, 12)
        blended = blended.reshape(-1, self.vertex_count, 3, 4)
        points = rest.reshape(-1, self.vertex_count, 3)
        moved = (blended[..., :3] * points[..., None, :]).sum(-1) + blended[..., 3]
        return moved.reshape(*batch, self.vertex_count, 3)

    def mesh(self, params: HeadParams, *, frame: Literal["head", "world"] = "head") -> HeadMesh:
        """The surface for a record of parameters, in the head frame or placed in the world."""
        vertices = self(params.shape, params.expression, params.neck, params.jaw, params.eyes)
        if frame == "world":
            placed = params.world_from_head
            vertices = vertices @ placed[..., :3, :3].mT + placed[..., None, :3, 3]
        return HeadMesh(vertices=vertices, frame=frame, topology=self.data.topology)
