"""Tune-A-Video: a clip that was learned comes back from its noise, and attention is sparse and causal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from eve_cli.methods.base import Guidance
from eve_cli.methods.finetune import finetuned, sparsely
from eve_cli.methods.options import TuneAVideoOptions
from eve_cli.methods.tune_a_video import TuneAVideo
from eve_cli.models import attention
from eve_cli.models.editor import Editor
from tests.tiny import randomized, tiny_clip, tiny_parts

CAR = "a red car"


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(randomized(tiny_parts()))


def asked(caption: str, **options: float) -> Guidance:
    told = TuneAVideoOptions(CAR, **options)  # type: ignore[arg-type]
    return Guidance("", caption, None, steps=8, guidance_scale=1.0, image_guidance_scale=1.0, seed=1, options=told)


@pytest.mark.slow
@torch.no_grad()
def test_the_source_s_own_caption_returns_the_source_learned_or_not(
    editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVE_CACHE", str(tmp_path))
    for steps in (0, 3):
        same = TuneAVideo().edit(editor, tiny_clip(), asked(CAR, tune_steps=steps, corrections=20))
        assert (same - tiny_clip().source).square().mean().sqrt() < 0.02
    other = TuneAVideo().edit(editor, tiny_clip(), asked("the night", tune_steps=3, corrections=20))
    assert (other - tiny_clip().source).square().mean().sqrt() > 0.03


@pytest.mark.slow
def test_learning_lowers_the_error_that_it_is_about(
    editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVE_CACHE", str(tmp_path))
    how = TuneAVideo().tuning(asked(CAR, tune_steps=30, tune_lr=3e-3))
    learned = finetuned(editor, tiny_clip().source, how, [CAR])

    @torch.no_grad()
    def error(each: Editor) -> float:
        total = torch.zeros(())
        for time in (300, 600, 900):
            t, noise = torch.tensor([time]), torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(time))
            with sparsely(each.video, 4):
                noisy = each.schedule.add_noise(tiny_clip().source[None], noise, t)
                total += (each.clean_video(noisy, t, each.embed([CAR]), None) - tiny_clip().source).square().mean()
        return float(total)

    assert error(learned) < 0.9 * error(editor)


def test_a_frame_sees_the_first_and_the_one_before(editor: Editor) -> None:
    seen: dict[str, Tensor] = {}
    assert editor.video is not None
    name = attention.named(editor.video, attention.SELF)[0]
    query, key, value = torch.randn(3, 2 * 4, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    with sparsely(editor.video, 4):
        layer: object = editor.video.get_submodule(name)
        seen["out"] = layer.processor.attend(query, key, value)  # type: ignore[attr-defined]
    for row in range(8):
        first = row // 4 * 4
        others = [first, max(row - 1, first)]
        keys, values = (torch.cat([part[i] for i in others], 1) for part in (key, value))
        torch.testing.assert_close(seen["out"][row], attention.plain(query[row], keys, values))
