"""face3d train."""

from pathlib import Path

import pytest

import face3d.train.synthetic
from face3d.cli import main
from face3d.train.synthetic import read_shards, write_set


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["face3d", "train", *arguments])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_synthesize_writes_a_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("face3d.train.synthetic.shards.PER_SHARD", 4)

    def inline(*args: object, workers: int, **options: object) -> int:
        assert workers == 2
        return write_set(*args, **options, inline=True)

    monkeypatch.setattr(face3d.train.synthetic, "write_set", inline)
    out = tmp_path / "faces"
    assert run(monkeypatch, "synthesize", "-o", str(out), "--count", "6", "--size", "48") == 0
    assert "8 faces of 48 px" in capsys.readouterr().out
    assert [shard.rgb.shape for shard in read_shards(out)] == [(4, 48, 48, 3)] * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["synthesize", "-o", "{}", "--count", "0"], "at least 1"),
        (["regressor", "--images", "{}", "--held", "{}", "-o", "{}/new"], "no synthetic faces"),
        (["regressor", "--images", "{}", "--held", "{}", "-o", "{}", "--batch", "5"], "multiple"),
        (["regressor", "--images", "{}", "--held", "{}", "-o", "{}", "--steps", "1"], "at least"),
        (["regressor", "--images", "{}", "-o", "{}/new"], "--held"),
        (["regressor", "--images", "{}", "-o", "{}/new", "--stage", "whole"], "one stage"),
        (["regressor", "--config", "smirk", "--images", "{}", "-o", "{}/new"], "no photos"),
        (
            ["regressor", "--config", "smirk", "--images", "{}", "-o", "{}/n", "--stage", "detail"],
            "no stage",
        ),
        (["regressor", "--config", "deca", "--images", "{}", "-o", "{}/n", "--batch", "3"], "even"),
        (["regressor", "--config", "mica", "--images", "{}", "-o", "{}/n"], "--held"),
        (
            ["regressor", "--config", "smirk", "--images", "{}", "--photos", "{}", "-o", "{}/n"],
            "--images",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert run(monkeypatch, *(a.format(tmp_path) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())
