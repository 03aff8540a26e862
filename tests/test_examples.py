"""The scripts of examples/ do what they say, in small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eve_cli.cli import app
from eve_cli.models import bundle_manifest
from tests.clips import make_clip, pictures, read_clip
from tests.tiny import tiny_bundle

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((REPOSITORY / "examples").glob("*.sh"))
PARTS = ("vae", "backbone", "edit", "joint", "video", "decoder")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What makes the scripts of edits quick: a tiny model, few steps."""
    weights = tmp_path_factory.mktemp("weights")
    tiny_bundle(weights / "mini")
    return {"EVE_WEIGHTS": weights, "MORE": "--steps 1 --preserve off"}


def run(script: str, *words: object, **variables: object) -> subprocess.CompletedProcess[str]:
    """Runs a script of examples/ in the repository, with this interpreter's `eve`."""
    told = {"EVE": f"{sys.executable} -m eve_cli", **{name: str(value) for name, value in variables.items()}}
    path = REPOSITORY / "examples" / script
    return subprocess.run(
        [path, *map(str, words)], env=os.environ | told, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run_and_say_what_they_do(script: Path) -> None:
    first, second = script.read_text(encoding="utf-8").splitlines()[:2]
    assert first == "#!/bin/sh" and second.startswith("# ") and os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


@pytest.mark.slow
def test_mini_is_made_from_nothing_and_edits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"QUICK": 1, "OUT": tmp_path / "runs", "TARGET": tmp_path / "weights" / "mini"}
    made = run("train_mini.sh", **settings)
    assert made.returncode == 0, made.stderr
    bundle = Path(made.stdout.splitlines()[-1])
    assert bundle == settings["TARGET"]
    bundle_manifest.verify(bundle)
    trained = bundle_manifest.read(bundle).training
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
    assert bundle_manifest.read(tmp_path / "aligned").training["align"]["steps"] == 2


@pytest.mark.slow
def test_a_careful_edit(tmp_path: Path, tiny: dict[str, object]) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 6)
    done = run("careful.sh", CLIP=clip, OUT=tmp_path / "out", STRENGTHS="1,2", CHOICE="2", **tiny)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/out/result.mp4\n" and len(read_clip(Path(done.stdout.strip()))) == 6
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"preview.png", "preview.html"}
    assert "network calls" in done.stderr and "windows are reused from eve preview" in done.stderr


@pytest.mark.slow
def test_a_folder_and_a_loop(tmp_path: Path, tiny: dict[str, object]) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    good, bad = make_clip(clips / "good.mkv", 4), clips / "bad.mp4"
    bad.write_text("no video")
    done = run("folder.sh", CLIPS=clips, OUT=out, **tiny)
    assert done.returncode == 6 and done.stdout.startswith("1 done, 0 done before, 1 failed"), done.stderr
    looped = run("each.sh", "night", bad, good, OUT=tmp_path / "each", **tiny)
    assert looped.returncode == 6 and looped.stdout == f"{tmp_path}/each/good.mp4\n", looped.stderr
    assert "bad.mp4 cannot be read, on with the next" in looped.stderr
