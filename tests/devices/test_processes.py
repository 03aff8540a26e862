"""Two and three real processes on CPUs (gloo): preparation, gradients, and resuming with another number of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import tiny_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = {
    "global-batch": 6,
    "batch": 1,
    "points": 12,
    "rank": 2,
    "teacher-steps": 1,
    "adversarial-start": 1,
    "discriminator-frames": 2,
    "decay-fraction": 0,
    "save-every": 1,
    "sample-every": 1,
    "precision": "no",
    "prefetch": 0,
    "on-policy-weight": 0,
    "ema": 0,
    "warmup": 1,
}


def align(home: Path, name: str, processes: int, *flags: str) -> Path:
    """Aligns the tiny model with some processes; each run has a folder of points of its own."""
    options = [f"--{name}={value}" for name, value in FLAGS.items()] + ["--quiet", "--no-one-step-gradient"]
    places = [f"--model={home / 'tiny'}", f"--out={home / name}", f"--cache={home / name / 'points'}"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [
        sys.executable,
        *(launcher if processes > 1 else ()),
        "-m",
        "eve_cli",
        "align",
        *places,
        *options,
        *flags,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return home / name


def points_of(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {file.name: load_file(file) for file in sorted((run / "points").glob("*.safetensors"))}


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "align" / "pytorch_lora_weights.safetensors")


def check_same(rows: Sequence[dict[str, torch.Tensor]], tolerance: float) -> None:
    assert rows[0].keys() == rows[1].keys()
    for name, value in rows[0].items():
        torch.testing.assert_close(rows[1][name], value, rtol=tolerance, atol=tolerance / 100)


@pytest.mark.slow
def test_more_processes_prepare_and_learn_what_one_does_and_may_take_over(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    alone = align(tmp_path, "alone", 1, "--steps=2")
    align(tmp_path, "changing", 2, "--steps=1")
    changing = align(tmp_path, "changing", 3, "--steps=2", "--resume")
    one, several = points_of(alone), points_of(changing)
    assert one.keys() == several.keys() and len(one) > 16  # more than one group of each kind
    for name, tensors in one.items():
        check_same((tensors, several[name]), 1e-3)
    check_same((weights_of(alone), weights_of(changing)), 2e-2)
