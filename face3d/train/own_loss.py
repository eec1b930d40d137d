"""What the own regressor is trained for, on pictures whose truth is known."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from face3d.model.head import HeadModel
from face3d.regress.crop_pose import rotation_from_six
from face3d.regress.own_net import Regressed
from face3d.train.face_losses import LIDS, LIPS, distance_loss, whole_motions
from face3d.train.own_photo_loss import OwnPhotoLoss

WEIGHTS = {
    "landmarks": 20.0, "reprojected": 20.0, "lids": 40.0, "lips": 15.0, "shape": 0.3, "form": 0.5,
    "points": 0.1, "expression": 40.0, "jaw": 4.0, "neck": 1.0, "eyes": 3.0, "rotation": 4.0,
    "place": 4.0, "light": 0.3,
}  # fmt: skip
"""So that all parts pull about alike while they are learned."""

SPREAD_WEIGHT = 0.05
HIDDEN_WEIGHT = 0.3
"""Of landmarks that something hides: where they must be follows from the rest."""


class OwnLoss(nn.Module):
    """Errors of parameters, and of the surfaces they make.

    Parameters are trained for their means alone, and standard deviations for the errors that are
    left: together they would give up on what is hard to see (Seitzer et al., 2022).

    Args:
        model: The head; its face region measures the form. Components beyond the network's are
            form that it cannot say.
    """

    def __init__(self, model: HeadModel) -> None:
        super().__init__()
        data = model.data
        face = torch.as_tensor(data.regions["face"])
        count = model.identity_count
        basis = model.linear_basis.unflatten(1, (-1, 3)) * 1000
        of_face = basis[:count, face].flatten(1).double()
        # What moves, turns or scales the face as a whole is no form.
        whole = whole_motions(model.template[face].double())
        of_face = of_face - (of_face @ whole) @ whole.T
        gram = of_face @ of_face.T / int(face.sum())
        embedding = data.embeddings["mediapipe478"]
        corners = torch.as_tensor(data.faces[embedding.face_index])
        weights = torch.as_tensor(embedding.barycentric).float()
        points = (basis[:, corners] * weights[..., None]).sum(2)
        self.register_buffer("gram", gram.float(), persistent=False)
        self.register_buffer("points", points.flatten(1), persistent=False)
        self.projected = OwnPhotoLoss(model)

    gram: Tensor
    points: Tensor

    def forward(
        self, found: Regressed, truth: dict[str, Float[Tensor, "b ..."]]
    ) -> dict[str, Float[Tensor, ""]]:
        """Each part's loss, unweighted, and "spread", how honest the deviations are.

        "reprojected" is the error of the head's landmarks where the crop shows them, "lids" and
        "lips" of how far they are apart. "form" is the error of the neutral face's form in mm (root
        of mean square; what would be gone after moving, turning and scaling the face is not
        counted), "points" that of the landmarks on the surface, at rest on the skull, by shape and
        expression.
        """
        mean = found.mean
        by_point = (mean["landmarks"] - truth["landmarks"]).unflatten(1, (-1, 2))
        seen = HIDDEN_WEIGHT + (1 - HIDDEN_WEIGHT) * truth["visible"]
        out = {"landmarks": (by_point.abs().sum(-1) / 2 * seen).sum() / seen.sum()}
        # What the network does not say of finer form, it says is average.
        said, told = mean["shape"], truth["shape"]
        count = len(self.gram)
        off = pad(said, (0, count - said.shape[1])) - pad(told, (0, count - told.shape[1]))
        named = off[:, : said.shape[1]]
        out["shape"] = named.square().mean()
        # Squares too large for half precision: not under autocast.
        out["form"] = torch.einsum("bi,ij,bj->b", off, self.gram, off).clamp(min=1e-6).sqrt().mean()
        both = torch.cat([off, mean["expression"] - truth["expression"]], dim=1)
        out["points"] = (both @ self.points).unflatten(1, (-1, 3)).norm(dim=-1).mean()
        # Most weights are zero most of the time: what is nearest in the mean absolute is zero, too.
        out["expression"] = (mean["expression"] - truth["expression"]).square().mean()
        head = self.projected.head_landmarks(found)
        points = truth["landmarks"].unflatten(1, (-1, 2))
        out["reprojected"] = ((head - points).abs().sum(-1) / 2 * seen).sum() / seen.sum()
        out["lids"], out["lips"] = (distance_loss(head, points, p) for p in (LIDS, LIPS))
        for name in ("jaw", "neck", "eyes", "place", "light"):
            out[name] = (mean[name] - truth[name]).abs().mean()
        turn = rotation_from_six(mean["rotation"]) - truth["rotation"]
        # Half the Frobenius norm is the angle, nearly, over the root of two.
        angle = (turn.square().sum((1, 2)) / 2 + 1e-8).sqrt()
        out["rotation"] = angle.mean()
        errors = {
            "landmarks": by_point.square().mean(-1),
            "shape": named.square(),
            "rotation": angle[:, None].square(),
            "light": (mean["light"] - truth["light"]).square().mean(1, keepdim=True),
        } | {
            name: (mean[name] - truth[name]).square()
            for name in ("expression", "jaw", "neck", "eyes", "place")
        }
        spread = [
            (0.5 * error.detach() * (-2 * found.log_sd[name]).exp() + found.log_sd[name]).mean()
            for name, error in errors.items()
        ]
        out["spread"] = torch.stack(spread).sum()
        return out


def total_loss(parts: dict[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """The weighted sum."""
    weighted = [weight * parts[name] for name, weight in WEIGHTS.items()]
    return torch.stack(weighted).sum() + SPREAD_WEIGHT * parts["spread"]
