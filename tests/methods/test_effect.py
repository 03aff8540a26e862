"""The source is kept where nothing was asked for, and what was asked for is made of the source."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eve_cli.editing import detail, pipeline
from eve_cli.errors import UsageError
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.effect import effect
from tests.clips import make_clip, read_clip
from tests.fakes import FakeEditor, edit, fake_load, request

TOLD = Guidance("darker", "a dark scene", "global", steps=4, guidance_scale=1, image_guidance_scale=1, seed=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", 10)


def test_a_difference_counts_beyond_the_model_s_own_error() -> None:
    difference = torch.zeros(1, 3, 32, 32)
    difference[..., 16:] = 0.1
    nothing, wrong = torch.zeros_like(difference), torch.full_like(difference, 0.1)
    sure, unsure = detail.change_share(difference, nothing)[0, 0], detail.change_share(difference, wrong)[0, 0]
    assert sure[:, :14].max() == 0 and sure[:, 18:].min() > 0.99
    assert unsure[:, 18:].max() < sure[:, 18:].min() - 0.3


def test_what_the_model_gets_wrong_either_way_is_left_out_of_a_change_of_light() -> None:
    """The model loses half of the contrast, asked or not; the night that was asked for halves the light."""
    source = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    idle = 0.25 + source / 2
    told, true_edit = idle / 2, source / 2
    kept = detail.apply(source, detail.plan(source, told, torch.stack([idle, told])))
    plain = detail.apply(source, detail.plan(source, told))
    assert (kept - true_edit).abs().mean() < 0.2 * (plain - true_edit).abs().mean()


def test_nothing_asked_has_no_effect() -> None:
    source = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    shown = Clip(source, source, range(8), source[:0])
    dark, same = (effect(FakeEditor(gain=0.0), shown, told) for told in (TOLD, TOLD.idle()))  # type: ignore[arg-type]
    assert dark.shape == (2, 8, 3, 64, 64) and dark.dtype == torch.float32
    assert not torch.equal(dark[0], dark[1]) and torch.equal(dark[0], same[0]) and torch.equal(same[0], same[1])


def test_small_errors_give_the_source_and_a_real_change_stays(clip: Path, tmp_path: Path) -> None:
    def pixels(name: str, fake: dict, keep: str) -> np.ndarray:
        return read_clip(edit(clip, tmp_path / f"{name}-{keep}.mkv", fake, codec="ffv1", preserve=keep).output).astype(
            int
        )

    before = read_clip(clip).astype(int)
    held, free = (np.abs(pixels("slip", {"noisy": 0.05}, keep) - before).mean() for keep in ("on", "off"))
    assert held < 0.2 * free
    free, held = pixels("dark", {"gain": -1.0}, "off"), pixels("dark", {"gain": -1.0}, "on")
    assert np.abs(held - before).mean() > 0.5 * np.abs(free - before).mean()


def test_the_model_says_whether_and_the_run_keeps_it(clip: Path, tmp_path: Path) -> None:
    result = edit(clip, tmp_path / "auto.mkv")
    assert result.plan.provenance.settings["preserve"] == "off"
    with pytest.raises(UsageError, match="--preserve on goes with"):
        request(clip, tmp_path / "no.mkv", method="sdedit", preserve="on")
    keeped = pipeline.edit(request(clip, tmp_path / "on.mp4", preserve="on"), load=fake_load(noisy=0.05))
    again = pipeline.rerun(keeped.record, tmp_path / "again.mp4", False, load=fake_load(noisy=0.05))
    assert again.output.read_bytes() == keeped.output.read_bytes()
