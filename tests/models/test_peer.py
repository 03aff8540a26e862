"""The engine does what diffusers' own pipelines do, where the work is the same."""

import pytest
import torch
from diffusers import AnimateDiffControlNetPipeline, AnimateDiffVideoToVideoControlNetPipeline

from benchmarks import engine
from eve_cli.models.editor import Editor


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(engine.parts_of("tiny")).optimize_for_inference()


@torch.inference_mode()
@pytest.mark.parametrize("half", [False, True], ids=["from noise", "half way"])
def test_the_engine_makes_the_frames_of_a_pipeline(half: bool, editor: Editor) -> None:
    work = engine.Work.random(editor, frames=4, steps=5, scale=7.5)
    start = engine.half_way(editor, work) if half else None
    kind = AnimateDiffVideoToVideoControlNetPipeline if half else AnimateDiffControlNetPipeline
    wanted = engine.theirs(engine.pipeline(kind, "tiny", editor), work, start)
    found = engine.ours(editor, work, None, start)
    assert wanted.shape == found.shape == (4, 3, 128, 128) and wanted.std() > 0.05
    assert (wanted - found).abs().max() < 1e-3
