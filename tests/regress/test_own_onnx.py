"""The own regressor outside of torch."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.assets import find_asset
from face3d.cli import main
from face3d.core.errors import MissingDependencyError
from face3d.regress.own import read_own_net
from face3d.regress.own_net import PARTS, SPREADS
from face3d.regress.own_onnx import export_onnx, output_names


def test_onnxruntime_says_the_same(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    net = read_own_net(find_asset("own_regressor"))
    path = export_onnx(net, tmp_path / "own.onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        crops = torch.rand(count, 3, 128, 128, generator=torch.Generator().manual_seed(count))
        said = session.run(None, {"crops": crops.numpy()})
        with torch.inference_mode():
            found = net(crops)
        wanted = [*found.mean.values(), *found.log_sd.values()]
        assert [o.name for o in session.get_outputs()] == output_names()
        assert len(said) == len(PARTS) + len(SPREADS)
        for a, b in zip(said, wanted, strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-5)
    assert not net.training


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    net = read_own_net(find_asset("own_regressor"))
    with pytest.raises(MissingDependencyError, match="onnx"):
        export_onnx(net, tmp_path / "own.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setattr(sys, "argv", ["face3d", "train", "onnx", "-o", str(tmp_path / "a.onnx")])
    main()
    assert capsys.readouterr().out.strip() == str(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").stat().st_size > 20_000_000
    monkeypatch.setattr(sys, "argv", ["face3d", "train", "onnx", "-o", str(tmp_path / "a.txt")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert ".onnx" in capsys.readouterr().err
