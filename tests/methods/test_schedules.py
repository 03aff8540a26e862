"""Models whose backbone learned on another schedule than their video model: each is asked at its own times."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from eve_cli.diffusion.schedule import Schedule
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.dds import DDS
from eve_cli.methods.dreamix import Dreamix
from eve_cli.methods.finetune import Tuning, tune
from eve_cli.methods.options import DDSOptions, DreamixOptions, MethodOptions
from eve_cli.methods.score_distillation import image_scores
from eve_cli.models import low_rank
from eve_cli.models.editor import Editor
from eve_cli.models.finetuned import clip_weights, with_clip_layers
from tests.tiny import tiny_parts

FAINT = Schedule.from_diffusers({"beta_start": 1e-6, "beta_end": 3e-4, "prediction_type": "v_prediction"})
NOTHING = torch.zeros(2, 4, 16, 16)


def edit(method: Any, options: MethodOptions, editor: Editor, source: Tensor) -> None:
    asks = Guidance(
        "a cat", "a cat", None, steps=3, guidance_scale=2.0, image_guidance_scale=1.0, seed=0, options=options
    )
    method.edit(editor, Clip(source, source, range(len(source)), source[:0]), asks)


def joint(editor: Editor) -> None:
    scores = image_scores(editor, NOTHING, ("a dog", "a cat"), 2.0)
    for t in (400, 900):
        scores(NOTHING, torch.tensor(t), torch.randn(NOTHING.shape))


ASKING = {
    "dds of a picture": lambda editor: edit(DDS(), DDSOptions("a dog"), editor, NOTHING[:1]),
    "dreamix of a picture": lambda editor: edit(Dreamix(), DreamixOptions(tune_steps=0), editor, NOTHING[:1]),
    "joint guidance": joint,
    "learning frames": lambda editor: tune(with_clip_layers(editor, 2), NOTHING, Tuning(3, 0.5, rank=2)),
}


@pytest.mark.parametrize("name", ASKING)
def test_the_backbone_is_given_as_much_noise_as_its_timesteps_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    editor, asked = Editor(replace(tiny_parts(), image_schedule=FAINT)), []
    ask = Editor.clean_image

    def watched(self: Editor, noisy: Tensor, t: Tensor, text: Tensor, **how: Any) -> Tensor:
        asked.append((noisy, t.expand(len(noisy))))
        return ask(self, noisy, t, text, **how)

    monkeypatch.setattr(Editor, "clean_image", watched)
    with torch.no_grad():
        ASKING[name](editor)
    noisy, t = asked[0]  # of nothing: noise alone
    torch.testing.assert_close(noisy.std((1, 2, 3)), FAINT.sigma[t], rtol=0.1, atol=0)


def test_a_model_that_learns_a_clip_keeps_the_low_rank_layers_of_its_video_adapter() -> None:
    parts = tiny_parts()
    plain, x, t = Editor(parts), torch.randn(1, 2, 4, 4, 4), torch.tensor([500])
    assert plain.video is not None
    low_rank.add(plain.video, "other", 2)
    weights = {name: torch.randn(value.shape) for name, value in low_rank.weights(plain.video, "other").items()}
    editor = Editor(replace(parts, domain=weights))
    words = editor.embed(["a red car"])
    with torch.no_grad():
        ever = editor.clean_video(x, t, words, None)
        assert not torch.allclose(ever, Editor(parts).clean_video(x, t, words, None), atol=1e-4)
        torch.testing.assert_close(with_clip_layers(editor, 2).clean_video(x, t, words, None), ever)
    tuned = tune(with_clip_layers(editor, 2), NOTHING, Tuning(1, 0.5, rank=2))
    again = with_clip_layers(editor, 2, clip_weights(tuned))
    with torch.no_grad():
        assert torch.equal(again.clean_video(x, t, words, None), tuned.clean_video(x, t, words, None))
        assert torch.equal(again.clean_image(x[0], t, words), tuned.clean_image(x[0], t, words))
        assert torch.equal(editor.clean_video(x, t, words, None), ever)
