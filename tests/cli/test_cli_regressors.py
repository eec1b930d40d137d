"""--regressor and convert from the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures

from face3d.regress.smirk import SmirkEncoder


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "portrait.png"
    Image.fromarray(pictures.astronaut()).save(path)
    return path


def refused(result: tuple[int, str, str], said: str) -> None:
    code, _, error = result
    assert code == 2
    assert error.startswith("face3d: ")
    assert error.count("\n") == 1
    assert said in error


def test_a_regressor_that_cannot_be_used_is_one_sentence(run, portrait, tmp_path) -> None:
    out = tmp_path / "out" / "head.npz"
    smirk = tmp_path / "SMIRK.pt"
    state = {f"smirk_encoder.{k}": v for k, v in SmirkEncoder().state_dict().items()}
    torch.save(state, smirk)

    def call(*options: object) -> tuple[int, str, str]:
        return run("reconstruct", portrait, "-o", out, *options)

    refused(call("--regressor", "smirk"), "--checkpoint")
    refused(call("--checkpoint", smirk), "--regressor")
    refused(call("--regressor", "smirk", "--checkpoint", tmp_path / "no.pt"), "does not exist")
    refused(call("--regressor", "deca", "--checkpoint", smirk), "no checkpoint of deca")
    refused(call("--regressor", "smirk", "--checkpoint", smirk), "FLAME 2020")
    missing = ("--head", "flame2020")
    refused(call("--regressor", "smirk", "--checkpoint", smirk, *missing), "flame2020")
    refused(call("--regressor", "smirk", "--checkpoint", smirk, "--face", "all"), "--face")
    half = smirk.read_bytes()[: smirk.stat().st_size // 2]
    (tmp_path / "half.pt").write_bytes(half)
    refused(call("--regressor", "smirk", "--checkpoint", tmp_path / "half.pt"), "no readable")
    assert not out.exists()


def test_convert_writes_a_take_and_refuses_what_it_is_not(run, tmp_path) -> None:
    rng = np.random.default_rng(0)
    still = np.zeros((4, 3))
    np.savez(
        tmp_path / "tracked.npz", rotation=still, translation=still, neck_pose=still,
        jaw_pose=still, eyes_pose=np.zeros((4, 6)), shape=rng.normal(size=20),
        expr=rng.uniform(0, 0.4, (4, 10)),
    )  # fmt: skip
    out = tmp_path / "take.glb"
    code, said, _ = run("convert", tmp_path / "tracked.npz", "-o", out, "--head", "open")
    assert code == 0
    assert str(out) in said
    assert out.read_bytes()[:4] == b"glTF"
    refused(run("convert", tmp_path / "tracked.npz", "-o", tmp_path / "b.glb"), "flame2020")
    refused(run("convert", tmp_path, "-o", tmp_path / "b.glb", "--head", "open"), "holds no")
    assert not (tmp_path / "b.glb").exists()
