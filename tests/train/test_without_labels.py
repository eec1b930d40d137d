"""Training on photos without labels: every loop learns on faces that it was not shown."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from small_nets import SmallDeca, SmallGenerator, SmallMica, SmallSmirk, SmallSpectre

from face3d.core.rotations import matrix_from_axis_angle
from face3d.model.head import HeadModel
from face3d.regress.flame_guess import flame_codes
from face3d.train.coded_head import CodedHead
from face3d.train.deca import WEIGHTS as DECA_WEIGHTS
from face3d.train.deca import DecaTraining
from face3d.train.mica import MicaTraining, ShapeBatch
from face3d.train.photo_batches import PhotoBatch
from face3d.train.smirk import SmirkTraining, frozen, other_expressions, statistics_kept
from face3d.train.spectre import SpectreTraining
from face3d.train.synthetic import SyntheticFace

PX = 64
Photos = tuple[PhotoBatch, PhotoBatch]
Parts = Callable[[PhotoBatch], dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def photos(some: list[SyntheticFace]) -> Photos:
    """Faces to learn from and others."""
    crops = torch.stack([torch.as_tensor(face.rgb[::2, ::2].copy()) for face in some])
    points = torch.stack([torch.as_tensor(face.landmarks) for face in some]).float() / 64 - 1
    return tuple(
        PhotoBatch(crops=crops[part], landmarks=points[part])
        for part in (slice(0, 16), slice(16, 24))
    )  # type: ignore[return-value]


def _learn(
    training: LightningModule,
    parts: Parts,
    weights: dict[str, float],
    photos: Photos,
    steps: int,
    rate: float = 3e-3,
) -> tuple[dict[str, float], dict[str, float]]:
    """Held-out losses before and after some steps."""
    learned, held = photos
    search = torch.optim.Adam([p for p in training.parameters() if p.requires_grad], lr=rate)

    def look() -> dict[str, float]:
        with torch.no_grad():
            return {name: float(value) for name, value in parts(held).items()}

    before = look()
    for step in range(steps):
        rows = torch.arange(8) + 8 * (step % 2)
        batch = PhotoBatch(crops=learned.crops[rows], landmarks=learned.landmarks[rows])
        search.zero_grad()
        sum(weights[k] * v for k, v in parts(batch).items() if k in weights).backward()
        search.step()
    return before, look()


def test_codes_lie_where_a_weak_perspective_has_them(head: HeadModel) -> None:
    coded = CodedHead(head, PX)
    codes = {
        "shape": torch.randn(2, 300) * 0.3, "expression": torch.rand(2, 50) * 0.3,
        "jaw": torch.tensor([[0.1, 0, 0], [0, 0, 0.0]]),
        "head": torch.tensor([[0.1, 0.4, 0], [0, 0, 0.2]]),
        "cam": torch.tensor([[6.0, 0.01, -0.02], [7.0, 0.0, 0.03]]),
    }  # fmt: skip
    posed = coded(codes)
    s, tx, ty = codes["cam"].unbind(-1)
    own = head(codes["shape"][:, : head.identity_count], posed.expression, None, codes["jaw"])
    root = head.joints(codes["shape"][:, : head.identity_count])[:, :1]
    turned = (own - root) @ matrix_from_axis_angle(codes["head"]).mT + root
    flat = torch.stack(
        [s[:, None] * (turned[..., 0] + tx[:, None]), -s[:, None] * (turned[..., 1] + ty[:, None])],
        -1,
    )
    wanted = (flat[:, coded.corners] * coded.weights[..., None]).sum(2)
    assert torch.allclose(posed.landmarks, wanted, atol=1e-5)
    # The camera that pictures are drawn with sees them there, too, next to.
    seen = posed.mesh.vertices
    drawn = seen[..., :2] / seen[..., 2:] * posed.camera.fx[:, None, None] / (PX / 2)
    drawn = (drawn[:, coded.corners] * coded.weights[..., None]).sum(2)
    assert float((drawn - wanted).abs().max()) < 0.01
    assert float(posed.facing[0].max()) > 0.9
    picture = coded.draw(posed, torch.zeros(2, 50), torch.zeros(2, 9, 3))
    assert picture.rgb.shape == (2, 3, PX, PX)
    assert 0.05 < float(picture.skin.float().mean()) < 0.9


def test_eyelids_close_the_open_heads_eyes(head: HeadModel) -> None:
    coded = CodedHead(head, PX)
    weights = coded.weights_of(torch.zeros(1, 50), torch.tensor([[1.0, 0.5]]))
    names = list(head.data.expression_names)
    assert float(weights[0, names.index("eyeBlinkLeft")]) == 1
    assert float(weights[0, names.index("eyeBlinkRight")]) == 0.5
    over = coded.weights_of(torch.full((1, 50), 3.0))
    assert float(over.max()) == pytest.approx(1.1)


def test_smirk_begins_with_landmarks(head: HeadModel, photos: Photos) -> None:
    torch.manual_seed(0)
    training = SmirkTraining(SmallSmirk(), None, head, steps=100, rate=1e-3, crop_px=PX)
    chance = torch.Generator().manual_seed(0)
    before, after = _learn(
        training, lambda b: training.parts(b, chance),
        {"landmarks": 20.0, "lips": 5.0, "shape": 1e-2}, photos, 60,
    )  # fmt: skip
    assert after["landmarks"] < 0.95 * before["landmarks"]
    assert "picture" not in after


def test_a_teacher_of_shapes_is_followed(head: HeadModel, photos: Photos) -> None:
    torch.manual_seed(0)
    training = SmirkTraining(
        SmallSmirk(), None, head, steps=100, rate=1e-3, crop_px=PX,
        teacher=lambda crops: torch.ones(len(crops), 12),
    )  # fmt: skip
    chance = torch.Generator().manual_seed(0)
    before, after = _learn(
        training, lambda b: training.parts(b, chance), {"teacher": 10.0}, photos, 40
    )
    assert before["teacher"] == pytest.approx(1, abs=0.1)
    assert after["teacher"] < 0.1


@pytest.mark.parametrize("token", [False, True])
def test_a_generator_learns_to_finish_photos(
    head: HeadModel, photos: Photos, *, token: bool
) -> None:
    torch.manual_seed(0)
    training = SmirkTraining(
        SmallSmirk(token=token), SmallGenerator(), head, steps=100, rate=1e-3, crop_px=PX
    )

    def parts(batch: PhotoBatch) -> dict[str, torch.Tensor]:
        return training.parts(batch, torch.Generator().manual_seed(len(batch.crops)))

    weights = {"picture": 10.0, "patches": 0.1, "landmarks": 5.0, "cycle": 0.1, "token": 1.0}
    before, after = _learn(training, parts, weights, photos, 40)
    assert after["picture"] < 0.7 * before["picture"]
    assert ("token" in after) == token


def test_the_cycle_teaches_in_turn(head: HeadModel, photos: Photos) -> None:
    torch.manual_seed(0)
    training = SmirkTraining(
        SmallSmirk(token=True), SmallGenerator(), head, steps=100, rate=1e-3, crop_px=PX
    )
    batch = photos[1]
    for step, learns in ((0, "encoder"), (1, "generator")):
        training.__dict__["_fabric"] = None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(training), "global_step", step)
            training.zero_grad()
            parts = training.parts(batch, torch.Generator().manual_seed(0))
            (parts["cycle"] + parts["token"]).backward()
        told = {
            name: any(
                p.grad is not None and float(p.grad.abs().max()) > 0
                for p in training.get_submodule(f"smirk_{name}").parameters()
            )
            for name in ("encoder", "generator")
        }
        assert told == {"encoder": learns == "encoder", "generator": learns == "generator"}
    assert all(p.requires_grad for p in training.smirk_encoder.parameters())


def test_the_cycle_teaches_an_encoder_to_read_expressions(head: HeadModel, photos: Photos) -> None:
    """Of drawings it has not seen, through a generator that stays as it is: geometry itself."""
    torch.manual_seed(0)

    class Geometry(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :3]

    training = SmirkTraining(SmallSmirk(), Geometry(), head, steps=100, rate=1e-3, crop_px=PX)

    def parts(batch: PhotoBatch) -> dict[str, torch.Tensor]:
        seed = int(batch.crops[0, 0, 0, 0]) if batch is not photos[1] else 999
        return training.parts(batch, torch.Generator().manual_seed(seed))

    before, after = _learn(training, parts, {"cycle": 1.0, "landmarks": 5.0}, photos, 60)
    assert after["cycle"] < 0.95 * before["cycle"]


def test_other_expressions_are_other_and_within_bounds(head: HeadModel) -> None:
    chance = torch.Generator().manual_seed(0)
    codes = {
        "expression": torch.rand(64, 50, generator=chance) * 0.5, "jaw": torch.zeros(64, 3),
        "eyelids": torch.zeros(64, 2), "shape": torch.ones(64, 3),
    }  # fmt: skip
    out = other_expressions(codes, chance, bounded=True)
    assert torch.equal(out["shape"], codes["shape"])
    assert float(out["expression"].min()) >= 0
    assert float(out["expression"].max()) <= 1
    changed = (out["expression"] - codes["expression"]).abs().amax(1) > 0
    assert float(changed.float().mean()) > 0.9
    assert float((out["expression"].abs().amax(1) == 0).float().mean()) > 0.1, "some are at rest"


def test_deca_learns_coarse_heads(head: HeadModel, photos: Photos) -> None:
    torch.manual_seed(0)
    embed = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
    training = DecaTraining(
        SmallDeca(), head, stage="coarse", steps=100, rate=1e-3, crop_px=PX, embed=embed
    )
    before, after = _learn(training, training.parts, DECA_WEIGHTS, photos, 60)
    for name in ("landmarks", "colours", "swapped_landmarks"):
        assert after[name] < 0.92 * before[name], name
    assert "identity" in after
    assert all(p.grad is None for p in training.net.D_detail.parameters())


def test_deca_learns_detail(head: HeadModel, photos: Photos) -> None:
    """On coarse heads that stay as they are."""
    torch.manual_seed(0)
    coarse = DecaTraining(SmallDeca(), head, stage="coarse", steps=100, rate=1e-3, crop_px=PX)
    _learn(coarse, coarse.parts, DECA_WEIGHTS, photos, 30)
    training = DecaTraining(coarse.net, head, stage="detail", steps=100, rate=1e-3, crop_px=PX)
    kept = [p.detach().clone() for p in training.net.E_flame.parameters()]
    # On the same photos: with so few, what detail learns of some does not hold for others.
    both = (photos[0], photos[0])
    before, after = _learn(training, training.parts, DECA_WEIGHTS, both, 30, rate=3e-3)
    assert after["colours"] < before["colours"]
    assert after["swapped_colours"] < before["swapped_colours"]
    same = zip(kept, training.net.E_flame.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_detail_is_mirrored_where_it_is_not_seen(head: HeadModel) -> None:
    training = DecaTraining(SmallDeca(), head, stage="detail", steps=100, rate=1e-3, crop_px=PX)
    x = head.template[:, 0]
    assert float((x[training.mirror] + x).abs().max()) < 2e-3
    size = 64
    # A map that rises to the right of the texture reads the texture coordinates back.
    ramp = ((torch.arange(size) + 0.5) / size).expand(1, 1, size, size)
    at = training._at_vertices(ramp)[0]
    inside = (training.uv[:, 0] > 0.05) & (training.uv[:, 0] < 0.95)
    assert torch.allclose(at[inside], training.uv[inside, 0], atol=1e-3)


def test_spectre_makes_mouths_readable(head: HeadModel) -> None:
    """A small lip reader that sees how light each row of a mouth is, and a jaw that opens."""
    torch.manual_seed(0)

    def reader(mouths: torch.Tensor) -> torch.Tensor:
        rows = mouths.mean(1)[:, 20:80, 30:58].mean(2)
        return rows - rows.mean(1, keepdim=True)

    net = SmallSpectre()
    with torch.no_grad():
        net.E_flame.E_flame[-1].weight.zero_()  # one head for all frames, its mouth shut
        # Light from one side, or nothing would show.
        light = net.E_flame.E_flame[-1].bias[-27:].view(9, 3)
        light[1:4] = torch.tensor([0.5, -0.4, 0.3])[:, None]
    training = SpectreTraining(net, head, steps=100, rate=1e-3, crop_px=PX, reader=reader)
    frames = torch.rand(8, 3, PX, PX, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        said = net(frames)
        codes = flame_codes("spectre", said)
        jaw = torch.zeros(8, 3)
        jaw[:, 0] = torch.linspace(0.05, 0.3, 8)
        opened = training.head(codes | {"jaw": jaw})
        photo = training.head.draw(opened, said["tex"], said["light"]).rgb
        landmarks = torch.zeros(8, 478, 2)
        landmarks[:, list(training.head.numbers)] = opened.landmarks
    crops = (photo.movedim(1, -1) * 255).round().to(torch.uint8)
    batch = PhotoBatch(crops=crops, landmarks=landmarks)
    kept = [p.detach().clone() for p in net.E_flame.parameters()]
    before, after = _learn(training, training.parts, {"reading": 2.0}, (_twice(batch), batch), 40)
    assert after["reading"] < 0.5 * before["reading"]
    assert after["lips"] < before["lips"], "nothing but the reader has said so"
    assert all(torch.equal(a, b) for a, b in zip(kept, net.E_flame.parameters(), strict=True))


def _twice(batch: PhotoBatch) -> PhotoBatch:
    both = {name: torch.cat([value, value]) for name, value in vars(batch).items()}
    return PhotoBatch(**both)


def test_mica_learns_shapes(head: HeadModel, some: list[SyntheticFace]) -> None:
    torch.manual_seed(0)
    training = MicaTraining(SmallMica(), head, steps=100, rate=1e-3)
    crops = torch.stack([torch.as_tensor(face.rgb[8:120, 8:120].copy()) for face in some])
    shape = torch.stack([face.scene.params.shape for face in some])[:, : head.identity_count]
    batch = ShapeBatch(crops=crops, shape=shape)
    search = torch.optim.Adam(training.parameters(), lr=2e-3)
    with torch.no_grad():
        first = training.parts(batch)
    for _ in range(40):
        search.zero_grad()
        loss = training.parts(batch)["shape"]
        loss.backward()
        search.step()
    assert float(first["shape"]) == pytest.approx(float(first["mean"]), rel=0.1)
    assert float(loss.detach()) < 0.8 * float(first["mean"])


def test_generated_pictures_do_not_count_as_photos() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).train()
    net(torch.rand(4, 3, 8, 8))
    before = net[1].running_mean.clone()
    with statistics_kept(net):
        net(5 * torch.rand(4, 3, 8, 8))
    assert torch.equal(net[1].running_mean, before)
    net(torch.rand(4, 3, 8, 8))
    assert not torch.equal(net[1].running_mean, before)


def test_what_landmarks_have_taught_stays(head: HeadModel, photos: Photos) -> None:
    class Parted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shape_encoder, self.expression_encoder = SmallSmirk(), SmallSmirk()

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            said = self.expression_encoder(images)
            return said | {"shape_params": self.shape_encoder(images)["shape_params"]}

    training = SmirkTraining(
        Parted(), SmallGenerator(), head, steps=10, rate=1e-3, crop_px=PX, kept=("shape_encoder",)
    )
    parts = training.parts(photos[1], torch.Generator().manual_seed(0))
    sum(parts.values()).backward()
    encoder = training.smirk_encoder
    assert all(p.grad is None for p in encoder.shape_encoder.parameters())
    assert any(p.grad is not None for p in encoder.expression_encoder.parameters())


def test_frozen_networks_pass_gradients_on() -> None:
    net = torch.nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)
    with frozen(net):
        out = net(x).sum()
    out.backward()
    assert x.grad is not None
    assert net.weight.grad is None
    assert net.weight.requires_grad


def test_systems_name_their_codes_alike() -> None:
    codes = flame_codes("deca", SmallDeca()(torch.zeros(1, 3, PX, PX)))
    assert {"shape", "expression", "jaw", "head", "cam"} <= set(codes)
    assert np.isfinite(codes["cam"].detach().numpy()).all()
