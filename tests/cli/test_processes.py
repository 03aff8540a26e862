"""One edit by two processes, as `accelerate launch` starts them: the frames of one process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eve_cli.cli.app import run
from eve_cli.models import bundle
from eve_cli.models.parts import BundleSettings
from tests.clips import make_clip, read_clip
from tests.tiny import randomized, tiny_parts

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.mark.slow
def test_two_processes_make_the_frames_of_one(tmp_path: Path) -> None:
    settings = BundleSettings(name="tiny", steps=2, frames=4, guidance_scale=2.0)
    bundle.save(randomized(tiny_parts(settings=settings)), tmp_path / "model")
    make_clip(tmp_path / "clip.mkv", 21)
    words = ["edit", str(tmp_path / "clip.mkv"), "make it snowy", "--model", str(tmp_path / "model"), "--seed", "1"]
    words += ["--long", "joint", "--span", "16", "--size", "model", "--preserve", "on", "--codec", "ffv1", "-q", "-o"]
    assert run([*words, str(tmp_path / "one.mkv")]) == 0
    command = [sys.executable, *LAUNCH, "-m", "eve_cli", *words, str(tmp_path / "two.mkv")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "two.mkv")
    one, two = (read_clip(tmp_path / f"{name}.mkv").astype(int) for name in ("one", "two"))
    assert np.abs(one - two).max() <= 1 and (one != two).mean() < 1e-3 and one.std() > 1
