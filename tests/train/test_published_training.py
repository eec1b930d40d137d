"""Training published systems' networks from start to file, and what comes out of it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from small_nets import SmallDeca, SmallGenerator, SmallMica, SmallSmirk, SmallSpectre
from torch.utils.data import DataLoader

from face3d.core.errors import AssetError, InputError
from face3d.core.types import Detection, Frame
from face3d.detect import LandmarkDetector
from face3d.model.head import HeadModel
from face3d.regress import load_published
from face3d.regress.deca import Deca
from face3d.regress.flame_guess import flame_codes
from face3d.regress.mica import Mica
from face3d.regress.smirk import SmirkEncoder, SmirkGenerator
from face3d.regress.spectre import Spectre
from face3d.train.deca import DecaTraining
from face3d.train.loop import run
from face3d.train.mica import MicaTraining
from face3d.train.photo_batches import HeldPhotos, PhotoCrops, split
from face3d.train.photo_set import PhotoFaces
from face3d.train.published import Plan, _training, published_state, train_published
from face3d.train.smirk import SmirkTraining
from face3d.train.spectre import SpectreTraining
from face3d.train.synthetic import SyntheticFace

lightning = pytest.importorskip("lightning.pytorch")


@pytest.fixture
def photos(some: list[SyntheticFace], tmp_path: Path) -> Path:
    """A folder of faces."""
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for k, face in enumerate(some[:16]):
        Image.fromarray(face.rgb).save(folder / f"{k:02d}.png")
    return folder


class Knows:
    """A detector that knows the synthetic faces."""

    def __init__(self, some: list[SyntheticFace]) -> None:
        self.known = {face.rgb.tobytes(): face.landmarks for face in some}

    def detect(self, frame: Frame, *, max_faces: int) -> Detection:
        points = np.zeros((1, 478, 3))
        points[0, :, :2] = self.known[frame.rgb.tobytes()]
        return Detection(
            box_xyxy=np.zeros((1, 4)), landmarks=points, layout="mediapipe478",
            score=np.ones(1), visibility=np.ones((1, 478)),
        )  # fmt: skip


@pytest.mark.slow
def test_what_is_trained_loads_back_bit_equal(
    some: list[SyntheticFace], photos: Path, tmp_path: Path, head: HeadModel
) -> None:
    """Whole SMIRK: its encoder on landmarks; what comes out is a checkpoint of SMIRK's."""

    def detector() -> LandmarkDetector:
        return Knows(some)  # type: ignore[return-value]

    plan = Plan(system="smirk", stage="landmarks", steps=20, batch=2, every=10, device="cpu")
    out = tmp_path / "out"
    written, skipped = train_published(plan, photos, out, head, detector)
    assert written == out / "smirk.pt"
    assert skipped == ()
    net = load_published("smirk", written)
    kept = torch.load(out / "last.ckpt", weights_only=True)["state_dict"]
    for key, value in net.state_dict().items():
        assert torch.equal(value, kept[f"smirk_encoder.{key}"]), key
    # Trained on, from there; and a training of another length is refused.
    again = Plan(
        system="smirk", stage="landmarks", steps=20, batch=2, every=10, device="cpu", first=written
    )
    train_published(again, photos, tmp_path / "more", head, detector)
    with pytest.raises(InputError, match="--steps 20"):
        train_published(
            Plan(system="smirk", stage="landmarks", steps=40, batch=2), photos, out, head, detector
        )
    with pytest.raises(AssetError, match="E_flame"):
        train_published(
            Plan(system="deca", steps=20, batch=2, first=written), photos, tmp_path / "d", head,
            detector,
        )  # fmt: skip


def _faces(some: list[SyntheticFace]) -> PhotoFaces:
    return PhotoFaces(
        rgb=np.stack([face.rgb[::2, ::2] for face in some]),
        landmarks=np.stack([face.landmarks for face in some]).astype(np.float32) / 64 - 1,
        source=np.arange(len(some)), person=np.arange(len(some)) // 2,
        frame=np.arange(len(some)),
    )  # fmt: skip


@pytest.mark.parametrize("system", ["smirk", "teaser", "deca", "detail", "spectre"])
def test_every_loop_runs_and_resumes(
    system: str, some: list[SyntheticFace], head: HeadModel, tmp_path: Path
) -> None:
    """With small networks: Lightning's loop, its log, a stop and going on."""
    steps = 24

    def training() -> lightning.LightningModule:
        torch.manual_seed(0)
        common = {"steps": steps, "rate": 3e-3, "crop_px": 64}
        if system in ("smirk", "teaser"):
            net = SmallSmirk(token=system == "teaser")
            return SmirkTraining(net, SmallGenerator(), head, **common)
        if system == "spectre":
            return SpectreTraining(SmallSpectre(), head, **common)
        stage = "detail" if system == "detail" else "coarse"
        return DecaTraining(SmallDeca(), head, stage=stage, **common)

    order = {"deca": "pairs", "detail": "pairs", "spectre": "clips"}.get(system, "single")
    faces = _faces(some)
    if order == "clips":
        faces = PhotoFaces(**vars(faces) | {"source": np.arange(len(some)) // 12})
    learned, held = split(faces)

    def go(folder: Path, stop: int | None = None) -> Path:
        batches = PhotoCrops(learned, batch=4, order=order, seed=0 if stop is None else stop)
        looks = HeldPhotos(held, batch=4, order=order)
        return run(
            _stopped(training(), stop), DataLoader(batches, batch_size=None),
            DataLoader(looks, batch_size=None), folder,
            steps=steps, every=8, device="cpu",
        )  # fmt: skip

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        go(tmp_path, stop=12)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 8
    last = go(tmp_path)
    assert torch.load(last, weights_only=True)["global_step"] == steps
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [8, 16, 24]
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())


def _stopped(training: lightning.LightningModule, at: int | None) -> lightning.LightningModule:
    if at is not None:
        real = training.training_step

        def step(batch: object, batch_idx: int) -> torch.Tensor:
            if training.global_step >= at:
                raise KeyboardInterrupt
            return real(batch, batch_idx)

        training.training_step = step  # type: ignore[method-assign]
    return training


def test_keys_are_the_systems_own(head: HeadModel) -> None:
    common = {"steps": 10, "rate": 1e-3}
    small = {
        "smirk": SmirkTraining(SmallSmirk(), SmallGenerator(), head, **common),
        "teaser": SmirkTraining(SmallSmirk(token=True), SmallGenerator(), head, **common),
        "deca": DecaTraining(SmallDeca(), head, stage="coarse", **common),
        "spectre": SpectreTraining(SmallSpectre(), head, **common),
        "mica": MicaTraining(SmallMica(), head, **common),
    }
    beginnings = {
        "smirk": {"smirk_encoder", "smirk_generator"},
        "teaser": {"teaser_encoder", "teaser_generator"},
        "deca": {"E_flame", "E_detail", "D_detail"},
        "spectre": {"E_flame", "E_expression"},
        "mica": {"arcface", "flameModel"},
    }
    for system, training in small.items():
        keys = published_state(system, training)
        assert {key.split(".")[0] for key in keys} == beginnings[system]
        assert all(torch.is_tensor(value) for value in keys.values())


@pytest.mark.parametrize(
    ("system", "nets"),
    [
        ("smirk", {"smirk_encoder": SmirkEncoder, "smirk_generator": SmirkGenerator}),
        ("deca", {"": Deca}),
        ("spectre", {"": Spectre}),
        ("mica", {"": Mica}),
    ],
)
def test_published_readers_take_our_keys(system: str, nets: dict, tmp_path: Path) -> None:
    class Holder(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            for name, kind in nets.items():
                self.add_module(name or "net", kind())

    torch.manual_seed(0)
    holder = Holder()
    path = tmp_path / "own.pt"
    torch.save(published_state(system, holder), path)
    net = load_published(system, path)
    one = next(iter(holder.children()))
    for key, value in net.state_dict().items():
        assert torch.equal(value, one.state_dict()[key]), key


def test_wrong_plans_are_refused() -> None:
    with pytest.raises(InputError, match="no stage"):
        Plan(system="smirk", stage="detail")
    with pytest.raises(InputError, match="even"):
        Plan(system="deca", batch=3)
    assert Plan(system="deca").what == "detail"


def test_untrained_encoders_begin_with_a_head_of_a_usual_size(head: HeadModel) -> None:
    training = _training(Plan(system="deca", stage="coarse"), head, {})
    net = training.get_submodule("net").eval()
    said = net.coarse(torch.rand(2, 3, 64, 64))
    assert torch.allclose(said["cam"][:, 0], torch.tensor(7.0), atol=0.5)
    posed = training.head(flame_codes("deca", said))
    assert 0.3 < float(posed.landmarks[0].detach().abs().amax()) < 1.5


def test_spectre_begins_with_decas_encoder(head: HeadModel, tmp_path: Path) -> None:
    torch.manual_seed(0)
    deca = DecaTraining(Deca(), head, stage="coarse", steps=10, rate=1e-3)
    torch.save(published_state("deca", deca), tmp_path / "deca.pt")
    training = _training(Plan(system="spectre", first=tmp_path / "deca.pt"), head, {})
    kept = torch.load(tmp_path / "deca.pt", weights_only=True)
    for key, value in training.get_submodule("net.E_flame").state_dict().items():
        assert torch.equal(value, kept[f"E_flame.{key}"]), key
    net = training.get_submodule("net").eval()
    assert float(net.E_expression(torch.rand(3, 3, 64, 64)).detach().abs().max()) < 0.02
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(AssetError, match="spectre"):
        _training(Plan(system="spectre", first=tmp_path / "other.pt"), head, {})


def test_networks_of_the_user_learn_nothing(head: HeadModel) -> None:
    reader = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 88 * 88, 4))
    training = SpectreTraining(SmallSpectre(), head, steps=10, rate=1e-3, reader=reader)
    assert not any("reader" in key for key in training.state_dict())
    assert not any(p.requires_grad for p in reader.parameters())
    assert not reader.training
    learned = {id(p) for p in training.parameters()}
    assert not any(id(p) in learned for p in reader.parameters())


def test_a_folder_is_of_one_training(
    some: list[SyntheticFace], photos: Path, tmp_path: Path, head: HeadModel
) -> None:
    def detector() -> LandmarkDetector:
        raise AssertionError("nothing is looked at")

    def train(out: str, **plan: object) -> None:
        train_published(Plan(steps=20, batch=2, **plan), photos, tmp_path / out, head, detector)

    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "plan.json").write_text('{"system": "deca"}')
    with pytest.raises(InputError, match="another training"):
        train("o", system="smirk", stage="landmarks")
    with pytest.raises(InputError, match="--first"):
        train("new", system="deca")
    with pytest.raises(InputError, match="--first"):
        train("new", system="spectre")
    assert not (tmp_path / "new").exists()
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA"):
            Plan(system="smirk", device="cuda")
