"""The true edit succeeds even through the shipped model's codec, and editors with a known fault do not."""

import pytest
import torch
from torch import Tensor

from benchmarks.faults import FAULTS, FIRST_SEED
from eve_cli.data.world.edits import ALIGNED_TASKS, RenderedEdit, WorldEdit, render_edit, sample_edit
from eve_cli.errors import ModelError
from eve_cli.evaluation import truth
from eve_cli.models.editor import Editor

EACH = 3


@pytest.fixture(scope="module")
def edits() -> list[WorldEdit]:
    return [
        sample_edit(FIRST_SEED + 500 + number, task, held_out=None) for task in ALIGNED_TASKS for number in range(EACH)
    ]


@pytest.fixture(scope="module")
def drawn(edits: list[WorldEdit]) -> RenderedEdit:
    return render_edit(edits, 8, 64, truth=True)


def succeeds(drawn: RenderedEdit, output: Tensor) -> Tensor:
    assert drawn.after.flow is not None and drawn.after.visible is not None
    return truth.success(drawn.source, drawn.edited, output, drawn.after.flow, drawn.after.visible)


def test_the_true_edit_succeeds(drawn: RenderedEdit) -> None:
    assert succeeds(drawn, drawn.edited).all()


# Where other flakes and streaks may be as right, no measure asks where they are; see docs/experiments.md.
SELDOM = {"shifted": 0.4}


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "the true edit"])
def test_a_fault_hardly_ever_succeeds(fault: str, drawn: RenderedEdit, edits: list[WorldEdit]) -> None:
    output = FAULTS[fault](drawn, edits)
    spoilt = truth.psnr(output, drawn.edited) < 30  # a still scene may be frozen, and a plain one blurred, unseen
    assert spoilt.float().mean() > 0.5
    assert succeeds(drawn, output)[spoilt].float().mean() <= SELDOM.get(fault, 0.1)


@pytest.mark.slow
def test_the_true_edit_survives_the_codec(drawn: RenderedEdit) -> None:
    try:
        editor = Editor.load("mini")
    except ModelError as error:
        pytest.skip(str(error))
    with torch.inference_mode():
        parts = [editor.decode(editor.encode(frames)) for frames in drawn.edited.flatten(0, 1).split(56)]
    assert succeeds(drawn, torch.cat(parts).view_as(drawn.edited)).float().mean() >= 0.9
