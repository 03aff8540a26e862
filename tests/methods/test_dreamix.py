"""Dreamix: what it learns, what it leaves alone, and how much of the source it keeps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from eve_cli.editing.request import EditRequest
from eve_cli.errors import UsageError
from eve_cli.estimate.report import plan_report
from eve_cli.methods import finetune
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.dreamix import Dreamix, coarsened, filled_in, last
from eve_cli.methods.finetune import Tuning, finetuned, tune
from eve_cli.methods.options import PRESETS, DreamixOptions
from eve_cli.models import low_rank
from eve_cli.models.editor import Editor
from eve_cli.models.finetuned import clip_layers, with_clip_layers
from eve_cli.models.loading import LoadedModel
from eve_cli.models.parts import BundleSettings
from tests.clips import make_clip
from tests.fakes import FakeEditor
from tests.tiny import tiny_parts

PLAIN = DreamixOptions(tune_steps=0)


@pytest.fixture(scope="module")
def editor() -> Editor:
    parts = tiny_parts()
    assert parts.video is not None
    with torch.no_grad():  # fresh temporal layers end in zeros, which nothing before them could learn through
        for name, value in parts.video.named_parameters():
            if "proj_out" in name:
                value.copy_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    return Editor(parts)


@pytest.fixture(autouse=True)
def kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def frames(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, 4, 4, generator=torch.Generator().manual_seed(seed))


def edit(editor: Editor, source: Tensor, options: DreamixOptions, seed: int = 1, **values: Tensor) -> Tensor:
    clip = Clip(source, source, range(len(source)), values.get("reference", source[:0]))
    guidance = Guidance(
        "add a car", None, None, steps=3, guidance_scale=1, image_guidance_scale=1, seed=seed, options=options
    )
    with torch.no_grad():
        return Dreamix().edit(editor, clip, guidance)


def layers(editor: Editor, motion: bool) -> dict[str, Tensor]:
    assert editor.video is not None
    found = {name: value for name, value in editor.video.named_parameters() if f".{'clip'}." in name}
    return {name: value.detach().clone() for name, value in found.items() if ("motion_modules" in name) == motion}


def test_fresh_layers_change_nothing_and_the_given_editor_is_left_alone(editor: Editor) -> None:
    before = {name: value.clone() for name, value in editor.parts.backbone.state_dict().items()}
    tuned = with_clip_layers(editor, 2)
    x, t, words = frames()[None], torch.tensor([500]), editor.embed(["a red car"])
    assert torch.equal(tuned.clean_video(x, t, words, None), editor.clean_video(x, t, words, None))
    outside = editor.clean_video(x, t, words, None)
    tune(tuned, frames(), Tuning(2, 0.35, lr=0.1, rank=2))
    assert not torch.equal(tuned.clean_video(x, t, words, None), outside)
    assert torch.equal(editor.clean_video(x, t, words, None), outside)
    assert all(torch.equal(value, before[name]) for name, value in editor.parts.backbone.state_dict().items())


def test_frames_alone_leave_the_temporal_layers_as_they_are_and_teach_the_video_model_the_rest(editor: Editor) -> None:
    tuned = with_clip_layers(editor, 2)
    motion, space = layers(tuned, True), layers(tuned, False)
    assert motion and space
    tune(tuned, frames(), Tuning(2, 0.0, lr=0.1, rank=2))
    assert all(torch.equal(value, motion[name]) for name, value in layers(tuned, True).items())
    assert any(not torch.equal(value, space[name]) for name, value in layers(tuned, False).items())
    tune(tuned, frames(), Tuning(2, 1.0, lr=0.1, rank=2))
    assert any(not torch.equal(value, motion[name]) for name, value in layers(tuned, True).items())


@pytest.mark.slow
def test_what_is_learned_is_the_clip(editor: Editor) -> None:
    clip, words, t = frames(1).expand(4, -1, -1, -1), editor.embed([finetune.RARE]), torch.tensor([800])
    noisy = editor.schedule.add_noise(clip, torch.randn(clip.shape, generator=torch.Generator().manual_seed(5)), t)

    def errors(model: Editor) -> tuple[float, float]:
        with torch.no_grad():
            moving = model.clean_video(noisy[None], t, words, None)[0]
            alone = model.clean_image(noisy, t.expand(4), words.expand(4, -1, -1))
        return float((moving - clip).square().mean()), float((alone - clip).square().mean())

    for alpha, learned in ((1.0, 0), (0.0, 1), (0.35, 0), (0.35, 1)):
        tuned = tune(with_clip_layers(editor, 4), clip, Tuning(25, alpha, lr=0.03, rank=4))
        assert errors(tuned)[learned] < 0.9 * errors(editor)[learned], (alpha, learned)


@pytest.mark.slow
def test_what_was_learned_is_read_again_unless_clip_model_or_settings_differ(
    editor: Editor, kept_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, x, t = Tuning(1, 0.35, lr=0.1, rank=2), frames()[None], torch.tensor([500])
    words = editor.embed(["a red car"])
    first = finetuned(editor, frames(), settings).clean_video(x, t, words, None)
    made: list[int] = []
    monkeypatch.setattr(finetune, "tune", lambda model, *rest: made.append(1) or model)
    assert torch.equal(finetuned(editor, frames(), settings).clean_video(x, t, words, None), first) and not made
    finetuned(editor, frames(seed=1), settings)
    finetuned(editor, frames(), replace(settings, alpha=1.0))
    finetuned(Editor(tiny_parts(seed=3)), frames(), settings)
    assert len(made) == 3
    for file in (kept_here / "learned").iterdir():
        file.write_bytes(b"not a file of tensors")
    finetuned(editor, frames(), settings)
    assert len(made) == 4


def test_a_cache_that_cannot_be_written_is_done_without(
    editor: Editor, kept_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_here.write_text("a file where the folder should be")
    assert clip_layers(finetuned(editor, frames(), Tuning(1, 0.0, rank=2)))
    monkeypatch.setattr(finetune, "tune", lambda *_: pytest.fail("learned again for the next window"))
    assert clip_layers(finetuned(editor, frames(), Tuning(1, 0.0, rank=2)))


def test_strength_says_how_much_of_the_source_is_left(editor: Editor) -> None:
    source, other = frames(), frames(seed=1)
    whole = [edit(editor, clip, replace(PLAIN, strength=1.0)) for clip in (source, other)]
    torch.testing.assert_close(*whole, atol=1e-4, rtol=0)
    little = edit(editor, source, replace(PLAIN, strength=0.01))
    assert float((little - source).square().mean()) < 0.02 < float((whole[0] - source).square().mean())


def test_the_last_timesteps_are_the_schedule_s_own_at_full_strength() -> None:
    schedule = FakeEditor().schedule
    assert torch.equal(last(schedule, 7, 1.0), schedule.trailing(7))
    half = last(schedule, 7, 0.5)
    assert len(half) == 7 and half[0] == 499 and (half.diff() < 0).all() and last(schedule, 5, 0.01).min() >= 0


def test_sampling_is_stochastic_but_the_seed_s_own(editor: Editor) -> None:
    one, same, other = (edit(editor, frames(), PLAIN, seed) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_later_window_begins_with_what_was_edited_before(editor: Editor) -> None:
    reference = frames(2, seed=3)
    held = edit(editor, frames(), PLAIN, reference=reference)
    free = edit(editor, frames(), PLAIN)
    assert (held[:2] - reference).square().mean() < 0.5 * (free[:2] - reference).square().mean()


def test_frames_between_the_edited_ones_move_as_the_source_s() -> None:
    source = frames(7)
    assert torch.equal(filled_in(source, source[::3], 3), source)
    changed = source[::3] + torch.tensor([0.0, 3.0, 6.0]).view(-1, 1, 1, 1)
    grown = filled_in(source, changed, 3) - source
    torch.testing.assert_close(grown.mean((1, 2, 3)), torch.arange(7.0))
    behind = filled_in(frames(8), frames(8)[::3] + changed - source[::3], 3) - frames(8)
    torch.testing.assert_close(behind.mean((1, 2, 3))[6:], torch.tensor([6.0, 6.0]))


def test_coarse_frames_lose_detail_alone() -> None:
    editor, latents = FakeEditor(), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    coarse = coarsened(editor, latents, 16)  # type: ignore[arg-type]
    torch.testing.assert_close(coarse.mean((2, 3)), latents.mean((2, 3)), atol=0.06, rtol=0)
    assert coarse.std() < 0.7 * latents.std() and coarsened(editor, latents, 1) is latents  # type: ignore[arg-type]


def edit_request(**values: Any) -> EditRequest:
    return EditRequest.of({"input": "a.mp4", "instruction": "x"} | values, "test")


def test_presets_are_the_paper_s_and_what_is_given_wins() -> None:
    assert DreamixOptions(preset="style").combination.tune_steps == 0 and PRESETS["motion"].alpha == 0.35
    own = DreamixOptions(preset="style", tune_steps=50, strength=0.9)
    assert own.combination == (0.9, 0.35, 50)
    request = edit_request(method="dreamix", preset="video", every=2)
    resolved = request.options.resolved(request.model)
    assert (resolved.strength, resolved.alpha, resolved.tune_steps) == PRESETS["video"]
    assert request.options.defaults(BundleSettings(frames=8))["window"] == 16
    for model, preset in (("mini", "object"), ("sd15", "motion")):
        request = edit_request(method="dreamix", model=model)
        resolved = request.options.resolved(request.model)
        assert (resolved.strength, resolved.alpha, resolved.tune_steps) == PRESETS[resolved.preset]
        assert resolved.preset == preset
    with pytest.raises(UsageError, match="--every 4 leaves one frame"):
        edit_request(method="dreamix", every=4, window=3)


def test_the_layers_of_the_two_trees_are_the_same(editor: Editor) -> None:
    tuned = with_clip_layers(editor, 2)
    shared = {id(value) for value in low_rank.parameters(tuned.backbone, "clip")}
    assert shared < {id(value) for value in clip_layers(tuned)}


@pytest.mark.slow
def test_what_learning_costs_is_foretold_and_not_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def calls(**options: float) -> int:
        source = tmp_path / "clip.mkv"
        values = {"input": str(source), "instruction": "a car", "method": "dreamix", "output": tmp_path / "o.mkv"}
        request = EditRequest.of({**values, "steps": 2, **options}, "test")
        told = plan_report(request, load=lambda asked: LoadedModel(Editor(tiny_parts()), "tiny", {"weights": "0" * 64}))
        return told.estimate.total.calls

    make_clip(tmp_path / "clip.mkv", 2)
    monkeypatch.setattr(finetune, "tune", lambda *_: pytest.fail("a plan teaches nothing"))
    plain = calls(tune_steps=0)
    free = calls(tune_steps=5, alpha=1.0) - 3 * 5  # beginning with no picture of its own, unlike the others
    assert calls(tune_steps=5, alpha=0.0) == plain + 3 * 5
    assert calls(tune_steps=5, alpha=0.5) == free + 3 * 5 * 2
