"""Editors with a known fault: each is caught by a column of its own, and the true edit by none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.faults import FAULTS, FIRST_SEED
from eve_cli.data.world.edits import RenderedEdit, WorldEdit, render_edit, sample_edit
from eve_cli.evaluation.metrics.base import EditClip
from eve_cli.evaluation.metrics.truth import Truth
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.truth import SUCCESS

TASKS = ("local", "texture", "background", "local")  # edits with one right answer
TRUE = "the true edit"
# The column that tells each fault, and on which side of its bounds.
BOUNDS = SUCCESS | {"bg_ssim": (0.97, 1.0)}
CAUGHT = {
    "the input copied": ("edit_acc", -1),
    "half the edit": ("edit_amount", -1),
    "half of the frames": ("edit_amount", -1),
    "a wrong answer": ("edit_colour", 1),
    "the rest repainted": ("colour_bias", 1),
    "flicker": ("warp_excess_true", 1),
    "the first frame frozen": ("motion_ratio", -1),
    "blur": ("detail_ratio", -1),
    "shifted": ("bg_ssim", -1),
}
Drawn = tuple[list[WorldEdit], RenderedEdit]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    edits = [sample_edit(FIRST_SEED + number, task, held_out=None) for number, task in enumerate(TASKS)]
    return edits, render_edit(edits, 8, 64, truth=True)


def values(drawn: Drawn, fault: str) -> dict[str, list[float]]:
    """Each column of the truth for every edit that an editor with this fault makes."""
    edits, rendered = drawn
    made = FAULTS[fault](rendered, edits)
    assert rendered.after.flow is not None and rendered.after.visible is not None
    found: dict[str, list[float]] = {}
    for i, edit in enumerate(edits):
        clip = EditClip(
            Pair(str(i), str(i), edit.task, Path("s"), Path("e"), reference=Path("r")),
            edited=as_bytes(made[i]),
            source=as_bytes(rendered.source[i]),
            reference=as_bytes(rendered.edited[i]),
            world={"flow": rendered.after.flow[i], "visible": rendered.after.visible[i]},
        )
        for name, value in Truth().score(clip).items():
            found.setdefault(name, []).append(value)
    return found


def as_bytes(frames: torch.Tensor) -> torch.Tensor:
    return (frames.clamp(0, 1) * 255).round().byte()


def test_the_true_edit_is_a_success(drawn: Drawn) -> None:
    assert set(values(drawn, TRUE)["success"]) == {1.0}


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != TRUE])
def test_each_fault_is_caught_by_its_column(drawn: Drawn, fault: str) -> None:
    found, (column, side) = values(drawn, fault), CAUGHT[fault]
    low, high = BOUNDS[column.replace("_true", "")]
    low, high = (low * 1e3, high * 1e3) if column.startswith("warp") else (low, high)
    caught = [value < low if side < 0 else value > high for value in found[column]]
    assert sum(caught) > len(TASKS) / 2, found[column]
    assert sum(found["success"]) < len(TASKS)
