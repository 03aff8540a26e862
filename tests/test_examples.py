"""The scripts of examples/ do what they say, in small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eve_cli.cli import app
from eve_cli.models import folder
from tests.clips import make_clip, pictures, read_clip

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((REPOSITORY / "examples").glob("*.sh"))
PARTS = ("codec", "backbone", "edit", "joint", "video", "decoder")


def run(script: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Runs a script of examples/ in the repository, with this interpreter's `eve`."""
    told = {"EVE": f"{sys.executable} -m eve_cli", **{name: str(value) for name, value in variables.items()}}
    path = REPOSITORY / "examples" / script
    return subprocess.run([path], env=os.environ | told, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run_and_say_what_they_do(script: Path) -> None:
    first, second = script.read_text(encoding="utf-8").splitlines()[:2]
    assert first == "#!/bin/sh" and second.startswith("# ") and os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_mini_is_made_from_nothing_and_edits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"QUICK": 1, "OUT": tmp_path / "runs", "TARGET": tmp_path / "weights" / "mini"}
    made = run("train_mini.sh", **settings)
    assert made.returncode == 0, made.stderr
    bundle = Path(made.stdout.splitlines()[-1])
    assert bundle == settings["TARGET"]
    folder.verify(bundle)
    trained = folder.read(bundle).training
    assert set(trained) == set(PARTS) and all(row["steps"] == 2 for row in trained.values())

    again = run("train_mini.sh", **settings)
    assert again.returncode == 0 and again.stderr.count("done before") == len(PARTS)

    clip, result = make_clip(tmp_path / "clip.mkv", pictures(6, 72, 64)), tmp_path / "out.mkv"
    words = ["edit", str(clip), "make it snowy", "--model", str(bundle), "--seed", "1", "--steps", "2"]
    assert app.run([*words, "-o", str(result), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == str(result)
    assert read_clip(result).shape == (6, 3, 64, 72)

    aligned = run("align_mini.sh", QUICK=1, OUT=tmp_path / "align", MODEL=bundle, TARGET=tmp_path / "aligned")
    assert aligned.returncode == 0, aligned.stderr
    assert "| seed0 |" in aligned.stdout and Path(aligned.stdout.splitlines()[-1]) == tmp_path / "aligned"
    assert folder.read(tmp_path / "aligned").training["align"]["steps"] == 2
