"""Checkpoints as the original projects write them; the weights are made up."""

import pickle
import sys
import types
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from face3d.core.errors import AssetError, InputError
from face3d.regress import load_generator, load_published, read_checkpoint
from face3d.regress.deca import CODE, Deca, Emoca
from face3d.regress.mica import Mica
from face3d.regress.smirk import SmirkEncoder, SmirkGenerator
from face3d.regress.spectre import CHUNK, OVERLAP, Spectre, TemporalEncoder
from face3d.regress.teaser import TeaserEncoder, TeaserGenerator


def _under(prefix: str, net: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{prefix}{k}": v for k, v in net.state_dict().items()}


def _deca_file(net: Deca) -> dict[str, Any]:
    parts = {n: getattr(net, n).state_dict() for n in ("E_flame", "E_detail", "D_detail")}
    return {**parts, "opt": {"state": {}, "param_groups": []}, "epoch": 3}


def _mica_file(net: Mica) -> dict[str, Any]:
    flame = {f"regressor.{k}": v for k, v in net.regressor.state_dict().items()}
    flame["generator.v_template"] = torch.zeros(5023, 3)
    return {"arcface": net.arcface.state_dict(), "flameModel": flame, "global_step": 7}


def _random(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) * 0.1 + 0.01)
    return net.eval()


CASES = {
    "deca": (Deca, _deca_file),
    "emoca": (lambda: Emoca(53), lambda n: {"state_dict": _under("deca.", n), "epoch": 1}),
    "smirk": (
        SmirkEncoder,
        lambda n: _under("smirk_encoder.", n) | _under("smirk_generator.", SmirkGenerator()),
    ),
    "teaser": (TeaserEncoder, lambda n: _under("module.teaser_encoder.", n)),
    "spectre": (
        Spectre,
        lambda n: {
            "E_flame": n.E_flame.state_dict(), "E_expression": n.E_expression.state_dict()
        },
    ),
    "mica": (Mica, _mica_file),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[nn.Module, Path]]:
    folder = tmp_path_factory.mktemp("checkpoints")
    out = {}
    for name in ("smirk", "spectre"):
        build, wrap = CASES[name]
        net = _random(build())
        torch.save(wrap(net), folder / f"{name}.tar")
        out[name] = (net, folder / f"{name}.tar")
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_tensor_arrives(name: str, tmp_path: Path) -> None:
    build, wrap = CASES[name]
    net = _random(build())
    path = tmp_path / "checkpoint.tar"
    torch.save(wrap(net), path)
    loaded = load_published(name, path).state_dict()
    original = net.state_dict()
    assert loaded.keys() == original.keys()
    assert all(torch.equal(loaded[k], original[k]) for k in original)


def test_a_checkpoint_of_another_system_says_which_keys(
    files: dict[str, tuple[nn.Module, Path]],
) -> None:
    with pytest.raises(AssetError, match=r"no checkpoint of teaser.*teaser_encoder.*smirk_encoder"):
        load_published("teaser", files["smirk"][1])
    with pytest.raises(AssetError, match="arcface"):
        load_published("mica", files["spectre"][1])


def test_missing_left_over_and_misshapen_keys_are_listed(
    files: dict[str, tuple[nn.Module, Path]], tmp_path: Path
) -> None:
    state = _under("smirk_encoder.", files["smirk"][0])
    prefix = "smirk_encoder.pose_encoder."
    del state[f"{prefix}pose_cam_layers.0.bias"]
    state[f"{prefix}extra"] = torch.zeros(1)
    state[f"{prefix}pose_cam_layers.0.weight"] = torch.zeros(7, 576)
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(AssetError) as caught:
        load_published("smirk", tmp_path / "odd.pt")
    text = str(caught.value)
    assert "missing: pose_encoder.pose_cam_layers.0.bias" in text
    assert "not known: pose_encoder.extra" in text
    assert "pose_cam_layers.0.weight (7, 576) instead of (6, 576)" in text


def test_a_truncated_checkpoint_is_refused(
    files: dict[str, tuple[nn.Module, Path]], tmp_path: Path
) -> None:
    whole = files["smirk"][1].read_bytes()
    for count in (0, 100, len(whole) // 2):
        path = tmp_path / "cut.pt"
        path.write_bytes(whole[:count])
        with pytest.raises(AssetError, match="no readable checkpoint"):
            load_published("smirk", path)


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "evil.pt"
    content = {"state_dict": {"a": torch.zeros(2)}, "b": _Evil(mark)}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"b": _Evil(mark)}))
    with pytest.raises(AssetError):
        read_checkpoint(path)
    assert not mark.exists()


def test_settings_that_a_training_loop_left_are_read_as_shells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("omegaconf.dictconfig")

    class DictConfig:
        def __init__(self) -> None:
            self.content = {"lr": 1.0}

    DictConfig.__module__ = "omegaconf.dictconfig"
    DictConfig.__qualname__ = "DictConfig"
    module.DictConfig = DictConfig
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", module)
    torch.save({"hyper": DictConfig(), "state_dict": {"a": torch.ones(2)}}, tmp_path / "x.ckpt")
    found = read_checkpoint(tmp_path / "x.ckpt")
    assert torch.equal(found["state_dict"]["a"], torch.ones(2))
    assert not hasattr(found["hyper"], "content")


def test_other_things_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(AssetError, match="no readable checkpoint"):
        read_checkpoint(tmp_path / "text.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(AssetError, match="holds a Tensor"):
        read_checkpoint(tmp_path / "tensor.pt")


def test_generators_load_and_draw(tmp_path: Path) -> None:
    net = _random(SmirkGenerator())
    torch.save(_under("smirk_generator.", net), tmp_path / "g.pt")
    loaded = load_generator("smirk", tmp_path / "g.pt")
    x = torch.rand(1, 6, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(x), net(x))
    with pytest.raises(AssetError, match="no generator"):
        load_generator("teaser", tmp_path / "g.pt")


def test_codes_are_cut_in_decas_order() -> None:
    net = Deca().eval()
    with torch.no_grad():
        net.E_flame.layers[2].weight.zero_()
        net.E_flame.layers[2].bias.copy_(torch.arange(sum(CODE.values())).float())
        found = net(torch.zeros(1, 3, 64, 64))
    assert found["shape"][0, 0] == 0
    assert found["tex"][0, 0] == 100
    assert found["exp"][0, 0] == 150
    assert found["pose"][0].tolist() == [200, 201, 202, 203, 204, 205]
    assert found["cam"][0].tolist() == [206, 207, 208]
    assert found["light"][0, 1].tolist() == [212, 213, 214]


def test_the_detail_decoder_reaches_a_centimetre_at_most() -> None:
    torch.manual_seed(1)
    net = Deca().D_detail.eval()
    with torch.no_grad():
        found = net(100 * torch.randn(2, 3 + 50 + 128))
    assert found.shape == (2, 1, 256, 256)
    assert float(found.abs().max()) <= 0.01
    # The slip in the normalisations is part of the weights' meaning.
    eps = [m.eps for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert eps == [1e-5, 0.8, 0.8, 0.8, 0.8, 0.8]


def test_emocas_encoder_replaces_what_its_code_covers() -> None:
    for count in (50, 53, 56):
        net = Emoca(count).eval()
        with torch.no_grad():
            for encoder, value in ((net.E_flame, 1.0), (net.E_expression, 2.0)):
                encoder.layers[2].weight.zero_()
                encoder.layers[2].bias.fill_(value)
            found = net(torch.zeros(1, 3, 64, 64))
        assert (found["exp"] == 2).all()
        assert (
            found["pose"][0].tolist()
            == [2.0 if count == 56 else 1.0] * 3 + [2.0 if count > 50 else 1.0] * 3
        )


def test_chunks_of_a_video_meet_without_gaps() -> None:
    class Counting(TemporalEncoder):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            seen.append(frames[:, 0, 0, 0].tolist())
            return frames[:, 0, 0, :1].expand(-1, 53)

    for count in (1, 3, 50, 51, 96, 97, 143):
        net = Spectre().eval()
        net.E_expression = Counting()
        seen: list[list[float]] = []
        frames = torch.arange(count).float()[:, None, None, None].expand(count, 3, 1, 1)
        found = net._in_chunks(frames)
        assert found[:, 0].tolist() == list(range(count))
        assert all(len(part) <= CHUNK for part in seen)
        assert all(a[-OVERLAP:] == b[:OVERLAP] for a, b in pairwise(seen))


def test_the_teasers_tokens_style_its_picture() -> None:
    torch.manual_seed(0)
    net = TeaserGenerator().eval()
    x = torch.rand(1, 6, 32, 32)
    tokens = torch.randn(4, 1, 256)
    with torch.no_grad():
        a = net(x, tokens)
        for level in range(4):
            other = tokens.clone()
            other[level] += 1
            assert not torch.allclose(net(x, other), a)
    assert a.shape == (1, 3, 32, 32)
    assert ((a >= 0) & (a <= 1)).all()
