"""A head reduced to its landmarks, with analytic derivatives: what the landmark fit iterates on."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.core.errors import AssetError
from face3d.core.rotations import left_jacobian, matrix_from_axis_angle, skew_from_vector
from face3d.model.data import HeadData

MOVING_JOINTS = ("jaw", "left_eye", "right_eye")
"""Joints that move landmarks in the skull frame; the neck moves only the throat."""


@dataclass(frozen=True, kw_only=True)
class LandmarkPose:
    """Landmarks of a posed head and what their derivatives are made of, head frame, metres."""

    points: Float[Tensor, "*batch landmark 3"]
    blend: Float[Tensor, "*batch landmark 3 3"]  # d(point)/d(rest point)
    dragged: Float[Tensor, "*batch joint 3 identity"]  # motion of the joints' places, turned
    by_joint: Float[Tensor, "*batch moving 3 angle"]  # three angles for each of MOVING_JOINTS


class LandmarkHead:
    """The landmarks of one layout on one head, as a small linear head with blend skinning.

    Each landmark is treated as one vertex whose basis and weights are the barycentric means of its
    corners'. For corners with equal skinning weights that is exact; where they differ, at the
    lips under a turned jaw, it is off by well under a tenth of a millimetre.

    Args:
        data: The head.
        layout: Landmark layout with an embedding in the head.
        chosen: Positions in the embedding of the landmarks to take; all by default.
        dtype: float32 is enough where the normal equations are solved in double precision.

    Raises:
        AssetError: The head has no embedding for the layout.
    """

    def __init__(
        self,
        data: HeadData,
        layout: str,
        *,
        chosen: Int[Tensor, "_"] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if layout not in data.embeddings:
            raise AssetError(
                f"The head {data.name!r} has no landmark embedding for {layout}; give a head that "
                "has one (for FLAME put mediapipe_landmark_embedding.npz next to its file)."
            )
        embedding = data.embeddings[layout]
        picked = np.arange(len(embedding.indices)) if chosen is None else chosen.numpy()
        basis = data.identity_basis
        corners = torch.as_tensor(data.faces[embedding.face_index[picked]])
        weight = torch.as_tensor(embedding.barycentric[picked]).to(dtype)

        def at_landmarks(values: Float[Tensor, "vertex ..."]) -> Float[Tensor, "landmark ..."]:
            return torch.einsum("lk,lk...->l...", weight, values.to(dtype)[corners])

        self.indices = torch.as_tensor(embedding.indices[picked])
        self.template = at_landmarks(torch.as_tensor(data.v_template))
        self.identity = at_landmarks(torch.as_tensor(basis))
        self.expression = at_landmarks(torch.as_tensor(data.expression_basis))
        pose = torch.as_tensor(data.pose_basis)
        self._columns = [
            slice(9 * (data.joint_names.index(n) - 1), 9 * data.joint_names.index(n))
            for n in MOVING_JOINTS
        ]
        self._pose = torch.stack([at_landmarks(pose[..., c]) for c in self._columns], dim=2)
        joints = [data.joint_names.index(n) for n in MOVING_JOINTS]
        self._weights = at_landmarks(torch.as_tensor(data.skinning_weights)[:, joints])
        self._corrected = torch.nonzero((self._pose != 0).any(-1).any(0).any(0)).flatten().tolist()
        moves = (self._weights > 0).any(-1) | (self._pose != 0).flatten(1).any(-1)
        self._moving = torch.nonzero(moves).squeeze(-1)
        parts = [self.identity, self.expression, self._pose.flatten(2)]
        self._linear = torch.cat(parts, dim=-1).flatten(0, 1)
        self._code = torch.cat(parts[:2], dim=-1)
        regressor = torch.as_tensor(data.joint_regressor)[joints].to(dtype)
        self._joint_template = regressor @ torch.as_tensor(data.v_template).to(dtype)
        self._joint_identity = torch.einsum(
            "jv,vci->jci", regressor, torch.as_tensor(basis).to(dtype)
        )

    def _rest(self, shape: Tensor, expression: Tensor, turn: Tensor) -> Tensor:
        """Landmarks before skinning, correctives included."""
        code = torch.cat([shape, expression, turn.flatten(-3)], dim=-1)
        flat = code @ self._linear.mT
        return self.template + flat.reshape(*code.shape[:-1], *self.template.shape)

    def points(
        self,
        shape: Float[Tensor, "*batch identity"],
        expression: Float[Tensor, "*batch expression"],
        joints: Float[Tensor, "*batch 3 3"],
    ) -> Float[Tensor, "*batch landmark 3"]:
        """Landmarks alone, for when no derivative is needed."""
        eye = torch.eye(3, dtype=shape.dtype, device=shape.device)
        turn = matrix_from_axis_angle(joints) - eye
        rest = self._rest(shape, expression, turn)
        places = self._places(shape)
        # v = x + sum_j w_j (R_j - I) (x - J_j): blend skinning with the skull at rest.
        offset = rest[..., None, :, :] - places[..., :, None, :]
        swung = offset @ turn.mT
        return rest + (self._weights.mT[..., None] * swung).sum(-3)

    def _places(self, shape: Tensor) -> Tensor:
        return self._joint_template + torch.einsum("jci,...i->...jc", self._joint_identity, shape)

    def pose(
        self,
        shape: Float[Tensor, "*batch identity"],
        expression: Float[Tensor, "*batch expression"],
        joints: Float[Tensor, "*batch 3 3"],
    ) -> LandmarkPose:
        """Landmarks and derivatives for jaw, left-eye and right-eye rotations ``joints``."""
        rotation = matrix_from_axis_angle(joints)
        eye = torch.eye(3, dtype=shape.dtype, device=shape.device)
        turn = rotation - eye
        rest = self._rest(shape, expression, turn)
        offset = rest[..., :, None, :] - self._places(shape)[..., None, :, :]
        swung = torch.einsum("...jab,...ljb->...lja", turn, offset)
        points = rest + torch.einsum("lj,...lja->...la", self._weights, swung)
        blend = eye + torch.einsum("lj,...jab->...lab", self._weights, turn)
        dragged = torch.einsum("...jab,jbi->...jai", turn, self._joint_identity)
        some, weight = self._moving, self._weights[self._moving]
        jacobian = left_jacobian(joints)
        turned = torch.einsum("...jab,...ljb->...lja", rotation, offset[..., some, :, :])
        # d(R p)/da_k = (J(a) e_k) x (R p), for the columns of the Jacobian.
        axes = jacobian.mT[..., None, :, :, :]
        swing = torch.linalg.cross(axes, turned[..., None, :])
        by_joint = weight[..., None, None] * swing
        # d(R)/da_k = [J(a) e_k]_x R moves the pose feature, and with it the corrective.
        for joint in self._corrected:
            spin = (
                skew_from_vector(jacobian[..., joint, :, :].mT) @ rotation[..., joint, None, :, :]
            )
            at_rest = torch.einsum(
                "lcq,...kq->...lkc", self._pose[some, :, joint], spin.flatten(-2)
            )
            by_joint[..., joint, :, :] += at_rest @ blend[..., some, :, :].mT
        return LandmarkPose(
            points=points, blend=blend, dragged=dragged, by_joint=by_joint.flatten(-3, -2).mT
        )

    def by_joints(
        self, pose: LandmarkPose, rows: Float[Tensor, "*batch landmark row 3"]
    ) -> Float[Tensor, "*batch landmark row angle"]:
        """Derivatives of ``rows @ point`` by the axis-angles of MOVING_JOINTS, in this order."""
        out = rows.new_zeros(*rows.shape[:-1], pose.by_joint.shape[-1])
        out[..., self._moving, :, :] = rows[..., self._moving, :, :] @ pose.by_joint
        return out

    def by_code(
        self, pose: LandmarkPose, rows: Float[Tensor, "*batch landmark row 3"]
    ) -> Float[Tensor, "*batch landmark row code"]:
        """Derivatives of ``rows @ point`` by identity and expression, in this order."""
        turned = rows @ pose.blend
        # Written out over the axes: many small matrix products would be far slower.
        out = turned[..., 0, None] * self._code[:, None, 0]
        for axis in (1, 2):
            out.addcmul_(turned[..., axis, None], self._code[:, None, axis])
        # Joints follow identity; what hangs on a turned joint is dragged along.
        weighted = self._weights[:, None, :, None] * rows[..., None, :]
        identity = pose.dragged.shape[-1]
        out[..., :identity] -= weighted.flatten(-2) @ pose.dragged.flatten(-3, -2)[..., None, :, :]
        return out


def thinned_landmarks(
    points: Float[Tensor, "landmark 3"], mirror: Int[Tensor, "landmark"]
) -> Int[Tensor, "kept"]:
    """About every second landmark, as densely spread as all of them and on both sides alike.

    A detector's neighbouring landmarks err together, so half of them say nearly as much.

    Args:
        points: The landmarks on the mean head.
        mirror: Mirror partner of each landmark.
    """
    distance = torch.cdist(points, points)
    undecided = torch.ones(len(points), dtype=torch.bool)
    kept: list[int] = []
    for k in range(len(points)):
        if not undecided[k]:
            continue
        pair = {k, int(mirror[k])}
        undecided[list(pair)] = False
        kept += sorted(pair)
        if undecided.any():
            near = torch.where(undecided, distance[k], torch.inf).argmin()
            undecided[[int(near), int(mirror[near])]] = False
    return torch.tensor(sorted(set(kept)))
