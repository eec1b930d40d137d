"""Training of the own regressor."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import face3d
from face3d.core.camera import project
from face3d.core.errors import AssetError, InputError
from face3d.core.types import Camera
from face3d.fit.corrective import correctable
from face3d.model.head import HeadModel
from face3d.regress.crop_pose import place_from_pose, pose_from_place, rotation_from_six, turned_to
from face3d.regress.own import guess_heads, read_own_net, save_own_net
from face3d.regress.own_net import PARTS, SPREADS, OwnNet, Regressed
from face3d.train.crops import (
    FaceBatch,
    HeldCrops,
    SyntheticCrops,
    make_batch,
    moved_crop,
    moved_truth,
)
from face3d.train.face_losses import weighted
from face3d.train.own_loss import WEIGHTS, OwnLoss
from face3d.train.own_photo_loss import PHOTO_WEIGHTS, OwnPhotoLoss
from face3d.train.photo_batches import PhotoBatch
from face3d.train.synthetic import read_shards

HEAD = Path(face3d.__file__).parent.parent / "flame_assets" / "open_head.npz"
EYE = torch.eye(4).double()


def _pose(seed: int, count: int) -> tuple[torch.Tensor, Camera]:
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))[0]
    turn = turn * torch.linalg.det(turn)[:, None, None]
    pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    pose[:, :3, :3] = turn
    pose[:, :3, 3] = torch.randn(count, 3, generator=generator) * 0.2 + torch.tensor([0, 0, 1.0])
    camera = Camera(
        fx=torch.rand(count, generator=generator).double() * 300 + 200,
        fy=torch.ones(count).double(),
        cx=torch.randn(count, generator=generator).double() * 100 + 64,
        cy=torch.randn(count, generator=generator).double() * 100 + 64,
        width=128, height=128, camera_from_world=EYE.expand(count, 4, 4),
    )  # fmt: skip
    return pose, replace(camera, fy=camera.fx)


def test_a_place_in_a_crop_is_a_pose() -> None:
    pose, camera = _pose(0, 20)
    rotation, place = place_from_pose(pose, camera)
    assert torch.allclose(pose_from_place(rotation, place, camera), pose, atol=1e-9)
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).double(), atol=1e-9)


def test_a_crops_pose_does_not_depend_on_where_the_photo_shows_the_face() -> None:
    """Turning a camera about its centre changes no labels."""
    pose, _ = _pose(1, 1)
    pose[:, :3, 3] = torch.tensor([0.0, 0, 1.0])
    one = torch.ones(1).double()
    straight = Camera(
        fx=500 * one, fy=500 * one, cx=64 * one, cy=64 * one, width=128, height=128,
        camera_from_world=EYE[None],
    )  # fmt: skip
    ray = torch.tensor([[0.3, -0.2, 1.0]], dtype=torch.float64)
    back = torch.eye(4).double()[None]
    back[:, :3, :3] = turned_to(ray).mT
    beside = Camera(
        fx=500 * one / ray.norm(), fy=500 * one / ray.norm(), cx=64 - 500 * 0.3 / ray.norm() * one,
        cy=64 + 500 * 0.2 / ray.norm() * one, width=128, height=128,
        camera_from_world=EYE[None],
    )  # fmt: skip
    a, b = place_from_pose(pose, straight), place_from_pose(back @ pose, beside)
    assert torch.allclose(a[0], b[0], atol=1e-9)
    assert torch.allclose(a[1], b[1], atol=1e-9)


def test_the_smallest_rotation_meets_the_axis() -> None:
    ray = torch.tensor([[0.4, -0.3, 2.0], [0.0, 0.0, 1.0]]).double()
    turn = turned_to(ray)
    axis = (turn @ (ray / ray.norm(dim=-1, keepdim=True))[..., None]).squeeze(-1)
    assert torch.allclose(axis, torch.tensor([0, 0, 1.0]).double().expand(2, 3))
    assert torch.allclose(torch.linalg.det(turn), torch.ones(2).double())


def test_labels_follow_a_crop_that_is_turned_and_scaled(small_set: Path, head: HeadModel) -> None:
    """The truth after a move still projects the head to the moved landmarks."""
    shard = next(iter(read_shards(small_set)))
    rng = np.random.default_rng(0)
    maps = np.stack([moved_crop(rng, 64) for _ in range(len(shard.rgb))]).astype(np.float32)
    truth = moved_truth(shard.labels, maps)
    # What a perfect network would say, put through what a user's photo goes through.
    k = 4
    photo_from_crop = np.linalg.inv(np.vstack([maps[k], [0, 0, 1]]))[:2]
    net = OwnNet()
    log_sd = {name: torch.zeros(1, size) for name, size in SPREADS.items()}
    mean = {name: truth[name][k : k + 1].flatten(1)[:, :size] for name, size in PARTS.items()}
    mean["rotation"] = truth["rotation"][k : k + 1, :, :2].mT.flatten(1)
    net.forward = lambda _: Regressed(mean=mean, log_sd=log_sd)  # type: ignore[method-assign]
    f, cx, cy = (torch.tensor(float(v)) for v in shard.labels["camera"][k])
    camera = Camera(fx=f, fy=f, cx=cx, cy=cy, width=64, height=64, camera_from_world=torch.eye(4))
    guess = guess_heads(
        net, torch.zeros(1, 3, 128, 128), torch.as_tensor(photo_from_crop).float()[None], camera
    )
    assert np.allclose(guess.landmarks_px[0], shard.labels["landmarks"][k], atol=1e-2)
    pose = torch.as_tensor(shard.labels["world_from_head"][k])
    assert torch.allclose(guess.params.world_from_head[0], pose, atol=1e-4)
    assert torch.allclose(
        project(camera, guess.params.world_from_head[:, :3, 3])[0, :2],
        project(camera, pose[None, :3, 3])[0, :2], atol=1e-2,
    )  # fmt: skip


def _said(batch: FaceBatch) -> FaceBatch:
    """The same people without form that the network cannot say."""
    return replace(batch, truth=batch.truth | {"shape": batch.truth["shape"][:, :140]})


def _perfect(batch_truth: dict[str, torch.Tensor]) -> Regressed:
    count = len(batch_truth["shape"])
    mean = {k: batch_truth[k].clone() for k in PARTS if k != "rotation"}
    mean["rotation"] = batch_truth["rotation"][:, :, :2].mT.flatten(1).clone()
    return Regressed(mean=mean, log_sd={k: torch.zeros(count, n) for k, n in SPREADS.items()})


def test_the_truth_has_no_loss_and_each_part_feels_its_own(
    small_set: Path, head: HeadModel
) -> None:
    shard = next(iter(read_shards(small_set)))
    batch = _said(make_batch([(shard, np.arange(8))], None))
    loss = OwnLoss(head)
    found = _perfect(batch.truth)
    assert torch.allclose(
        rotation_from_six(found.mean["rotation"]), batch.truth["rotation"], atol=1e-5
    )
    none = loss(found, batch.truth)
    seen = {"reprojected", "lids", "lips"}  # with form that the network cannot say
    assert all(float(none[name]) < (3e-2 if name in seen else 2e-3) for name in WEIGHTS)
    felt = {"shape": {"form", "points"} | seen, "expression": {"points"} | seen}
    felt |= {"jaw": seen, "eyes": seen, "rotation": seen, "place": seen}
    for name in PARTS:
        off = _perfect(batch.truth)
        off.mean[name] = off.mean[name] + 0.1 * torch.ones_like(off.mean[name]).cumsum(1).cos()
        parts = loss(off, batch.truth)
        grown = {k for k in WEIGHTS if float(parts[k]) > float(none[k]) + 1e-3}
        assert name in grown
        assert grown <= felt.get(name, set()) | {name}
        if name in ("expression", "rotation", "place"):
            assert "reprojected" in grown


def test_deviations_settle_at_the_size_of_errors(small_set: Path, head: HeadModel) -> None:
    shard = next(iter(read_shards(small_set)))
    batch = _said(make_batch([(shard, np.arange(16))], None))
    loss = OwnLoss(head)
    found = _perfect(batch.truth)
    found.mean["shape"] = found.mean["shape"] + 0.3
    values = {}
    for sd in (0.15, 0.3, 0.6):
        found.log_sd["shape"] = torch.full((16, 140), float(np.log(sd)))
        values[sd] = float(loss(found, batch.truth)["spread"])
    assert values[0.3] < values[0.15]
    assert values[0.3] < values[0.6]


def test_weights_survive_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = OwnNet().eval()
    assert sum(p.numel() for p in net.parameters()) <= 8_000_000
    save_own_net(tmp_path / "own.npz", net)
    assert (tmp_path / "own.npz").stat().st_size <= 16e6
    again = read_own_net(tmp_path / "own.npz")
    for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a.half().float() if a.is_floating_point() else a, b)
    with pytest.raises(AssetError, match="missing"):
        read_own_net(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(AssetError, match="not a readable"):
        read_own_net(tmp_path / "bad.npz")


def test_batches_come_from_a_set_in_an_order_of_their_seed(small_set: Path) -> None:
    a, b, c = (next(iter(SyntheticCrops(small_set, batch=16, seed=s))) for s in (1, 1, 2))
    assert torch.equal(a.crops, b.crops)
    assert not torch.equal(a.crops, c.crops)
    held = HeldCrops(small_set, batch=20)
    assert [len(batch.crops) for batch in (held[0], held[1])] == [20, 12]
    assert len(held) == 2


def test_the_shortest_plan_of_rates_has_no_empty_phase() -> None:
    pytest.importorskip("lightning")
    from face3d.train.loop import one_cycle

    net = torch.nn.Linear(1, 1)
    plan = one_cycle(net, 20, 1e-3)
    for _ in range(20):
        plan["optimizer"].step()
        plan["lr_scheduler"]["scheduler"].step()


@pytest.mark.slow
def test_training_learns_resumes_and_survives_a_stop(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning")
    from face3d.train.own import train_own

    def train(folder: Path, steps: int) -> Path:
        return train_own(small_set, small_set, folder, HEAD, steps=steps, batch=16, every=10)[0]

    train(tmp_path / "whole", 40)
    with (tmp_path / "whole" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [10, 20, 30, 40]
    assert float(rows[-1]["held_landmarks"]) < 0.8 * float(rows[0]["held_landmarks"])

    # Stopped while its second checkpoint is written: the first one is still there.
    real = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        if Path(target).exists():
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path / "parts", 40)
    monkeypatch.undo()
    kept = torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 10
    last = train(tmp_path / "parts", 40)
    assert torch.load(last, weights_only=True)["global_step"] == 40
    with (tmp_path / "parts" / "log.csv").open() as file:
        again = list(csv.DictReader(file))
    assert float(again[-1]["held_landmarks"]) < float(rows[0]["held_landmarks"])
    (tmp_path / "parts" / "last.ckpt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        train(tmp_path / "parts", 40)


def test_form_is_what_moving_turning_and_growing_leave(small_set: Path, head: HeadModel) -> None:
    """Of a form that the network cannot say all is missed; of larger heads, next to nothing."""
    wider = HeadModel(correctable(head.data))
    loss = OwnLoss(wider)
    shard = next(iter(read_shards(small_set)))
    batch = make_batch([(shard, np.arange(8))], None)
    found = _perfect(_said(batch).truth)
    offsets = batch.truth["shape"][:, 140:] @ wider.linear_basis[140:180]
    face = torch.as_tensor(head.data.regions["face"])
    size = 1000 * offsets.unflatten(1, (-1, 3))[:, face].square().sum(-1).mean(1).sqrt().mean()
    missed = float(loss(found, batch.truth)["form"])
    assert 0.5 * float(size) < missed <= float(size) * 1.001
    growth = 0.03 * (wider.template - wider.template.mean(0)).reshape(-1, 1)
    grown = torch.linalg.lstsq(wider.linear_basis[:140].mT, growth).solution[:, 0]
    truth = _said(batch).truth
    larger = _perfect(truth)
    larger.mean["shape"] = larger.mean["shape"] + grown
    parts = loss(larger, truth)
    # The identity components cannot say growth alone.
    assert float(parts["form"]) < 0.35 * float(parts["points"])


def test_photos_without_labels_pull_the_head_onto_their_landmarks(
    small_set: Path, head: HeadModel
) -> None:
    """A network's numbers, made free: the head follows what was detected."""
    shard = next(iter(read_shards(small_set)))
    batch = _said(make_batch([(shard, np.arange(8))], None))
    loss = OwnPhotoLoss(head)
    seen = PhotoBatch(crops=batch.crops, landmarks=batch.truth["landmarks"].unflatten(1, (-1, 2)))
    found = _perfect(batch.truth)
    assert float(loss(found, seen)["head"]) < 0.02
    free = {k: v.clone() for k, v in found.mean.items()}
    free["expression"] = torch.full_like(free["expression"], 0.05)
    free["place"] = free["place"] + 0.05
    free = {k: v.requires_grad_() for k, v in free.items()}
    search = torch.optim.Adam(free.values(), lr=1e-2)
    values: list[float] = []
    for _ in range(60):
        search.zero_grad()
        parts = loss(Regressed(mean=free, log_sd=found.log_sd), seen)
        weighted(parts, PHOTO_WEIGHTS).backward()
        search.step()
        values.append(float(parts["head"].detach()))
    assert values[-1] < 0.4 * values[0]
    off = free["expression"].detach() - batch.truth["expression"]
    column = list(head.data.expression_names).index("jawOpen")
    assert float(off[:, column].abs().mean()) < float(
        (0.05 - batch.truth["expression"][:, column]).abs().mean()
    )
