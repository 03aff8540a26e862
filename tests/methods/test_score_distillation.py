"""Score distillation: on a model whose answer is known, part by part, and on a real one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eve_cli.cli import describe
from eve_cli.editing import pipeline
from eve_cli.editing.request import EditRequest
from eve_cli.errors import UsageError
from eve_cli.methods import score_distillation
from eve_cli.methods.assd import ASSD
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.dds import DDS
from eve_cli.methods.options import ASSDOptions, DDSOptions, MethodOptions
from eve_cli.models import attention
from eve_cli.models.editor import Editor
from tests.clips import make_clip
from tests.fakes import FakeEditor, fake_load
from tests.tiny import randomized, tiny_parts

BARE = {"sliding": "off", "fusion": 1.0, "joint": 0.0}


class Painter(FakeEditor):
    """A model that has one picture for each caption: grey, as bright as the caption has letters."""

    video = None

    def embed(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[[float(len(text))]] for text in texts])

    def clean_video(self, noisy: Tensor, t: Tensor, text: Tensor, first: Tensor | None) -> Tensor:
        return text.view(-1, 1, 1, 1, 1).expand_as(noisy)

    def clean_image(self, noisy: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return text.view(-1, 1, 1, 1).expand_as(noisy)


def clip(frames: int = 5, held: int = 0, seed: int = 0) -> Clip:
    source = torch.randn(frames, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return Clip(source, source, range(frames), source[:held] + 1)


def asked(options: MethodOptions, caption: str = "abcd", steps: int = 50, scale: float = 1.0) -> Guidance:
    return Guidance(
        "", caption, None, steps=steps, guidance_scale=scale, image_guidance_scale=1.0, seed=3, options=options
    )


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor(randomized(tiny_parts()))


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize(("scale", "far"), [(1.0, 2.0), (3.0, 6.0)])
def test_the_source_moves_by_what_the_captions_differ_in(frames: int, scale: float, far: float) -> None:
    for method, options in ((DDS(), DDSOptions("ab")), (ASSD(), ASSDOptions("ab", **BARE))):
        asks = asked(options, scale=scale)
        moved = method.edit(Painter(), clip(frames), asks) - clip(frames).source  # type: ignore[arg-type]
        torch.testing.assert_close(moved, torch.full_like(moved, far), atol=0.02, rtol=0)


def test_captions_that_say_the_same_leave_the_source_as_it_is(editor: Editor) -> None:
    made = DDS().edit(editor, clip(), asked(DDSOptions("a red car"), "a red car", steps=3, scale=4.0))
    assert torch.equal(made, clip().source)


@torch.no_grad()
def test_without_its_parts_assd_is_dds_and_each_part_counts(editor: Editor) -> None:
    def made(**parts: object) -> Tensor:
        options = ASSDOptions("a red car", **(BARE | parts))  # type: ignore[arg-type]
        return ASSD().edit(editor, clip(), asked(options, "the night", steps=3, scale=4.0))

    plain = DDS().edit(editor, clip(), asked(DDSOptions("a red car"), "the night", steps=3, scale=4.0))
    assert torch.equal(made(), plain)
    others = [made(sliding="error", mask=rule) for rule in ("text", "printed", "off")] + [made(sliding="noise")]
    others += [made(fusion=0.5), made(fusion=0.5, fusion_layers=1), made(joint=1.0)]
    for number, one in enumerate(others):
        assert all(not torch.allclose(one, other) for other in [plain, *others[:number]])


@torch.no_grad()
def test_frames_edited_before_stay_and_what_follows_goes_from_them(editor: Editor) -> None:
    later, asks = clip(held=2), asked(ASSDOptions("a red car"), "the night", steps=2)
    made = ASSD().edit(editor, later, asks)
    assert torch.equal(made[:2], later.reference)
    assert not torch.allclose(made[2:], ASSD().edit(editor, clip(), asks)[2:])


def test_the_paper_s_rate_holds_for_its_updates_and_few_updates_go_no_faster_together_than_alone() -> None:
    assert DDSOptions().rate_of(200) == ASSDOptions().rate_of(200) == 0.1
    assert DDSOptions().rate_of(25) == ASSDOptions(joint=0.0).rate_of(25) == 2 * ASSDOptions().rate_of(25)
    assert ASSDOptions(rate=3.0).rate_of(25) == 3.0


def test_a_frame_is_smoothed_with_its_neighbours() -> None:
    spike = torch.zeros(5, 1, 1, 1)
    spike[2] = 1
    assert score_distillation.smoothed(spike).flatten().tolist() == [0, 0.25, 0.5, 0.25, 0]
    assert torch.equal(score_distillation.smoothed(torch.ones(3, 2, 2, 2)), torch.ones(3, 2, 2, 2))


@pytest.mark.parametrize(("sliding", "stays"), [("error", True), ("noise", False)])
def test_noise_that_the_model_finds_rightly_is_smoothed_into_the_clip_unless_it_is_taken_out(
    sliding: score_distillation.Sliding, stays: bool
) -> None:
    gradient = score_distillation.sliding_delta(lambda edited, t, noise: (noise, noise), sliding, "off", 0.0)
    noise = clip(seed=1).source
    assert torch.allclose(gradient(noise, torch.tensor(0), noise), torch.zeros_like(noise), atol=1e-6) == stays


def test_the_two_readings_of_the_mask_are_opposites() -> None:
    change = torch.tensor([0.1, -0.8, 1.0]).view(3, 1, 1, 1)
    as_said, as_printed = (score_distillation.change_mask(change, rule, 0.3) for rule in ("text", "printed"))
    assert as_said.flatten().tolist() == [False, True, True] and torch.equal(as_printed, ~as_said)
    tight, wide = (score_distillation.change_mask(change, "text", tau).sum() for tau in (0.1, 0.95))
    assert tight < as_said.sum() < wide and score_distillation.change_mask(change, "off", 0.3).all()


@pytest.mark.parametrize("pairs", [1, 2])
def test_an_edit_attends_to_its_own_source_s_frames(pairs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, pairs * 2 * 3, 2, 4, 5, generator=generator)
    for own in (1.0, 0.3):
        out = score_distillation.fused(own, 3)(query, key, value)
        for row in range(len(query)):
            source = row if row // 3 % 2 else row + 3
            alone, lent = (attention.plain(query[row], key[i], value[i]) for i in (row, source))
            torch.testing.assert_close(out[row], own * alone + (1 - own) * lent)


def test_captions_are_given_or_told_or_asked_for() -> None:
    def captions(**values: str) -> tuple[str, str]:
        request = EditRequest.of(
            {"input": "a.mp4", "instruction": "make the car blue", "method": "dds"} | values, "test"
        )
        assert isinstance(request.options, DDSOptions)
        return request.options.captions(request.instruction, request.caption)

    assert captions(source_caption="a red car in a city") == ("a red car in a city", "a blue car in a city")
    assert captions(source_caption="a dog", caption="a cat") == ("a dog", "a cat")
    with pytest.raises(UsageError, match=r"^--method dds compares two captions; give --source-caption"):
        captions()
    with pytest.raises(UsageError, match=r"give --source-caption"):
        captions(source_caption=" ")
    with pytest.raises(UsageError, match=r"cannot tell what 'a dog' becomes by 'make the car blue'; give --caption"):
        captions(source_caption="a dog")


def test_the_told_caption_is_in_the_record(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", 2)
    values = {"method": "dds", "source_caption": "a car in a city", "steps": 2, "seed": 1, "output": tmp_path / "o.mkv"}
    request = EditRequest.of({"input": str(source), "instruction": "let it snow", **values}, "test")
    made = pipeline.edit(request, load=fake_load()).plan
    assert made.provenance.settings["caption"] == "a car in a city in the snow"
    assert describe.plan(made).endswith('caption "a car in a city in the snow"')


def test_the_rate_follows_the_number_of_updates_unless_given() -> None:
    assert DDSOptions().rate_of(200) == 0.1 and DDSOptions(rate=0.3).rate_of(200) == 0.3
