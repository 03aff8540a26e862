"""Falling particles: light that a sample shows and its mean cannot, moving down with the noise."""

from pathlib import Path

import pytest
import torch

from eve_cli.diffusion.noise import falling_noise
from eve_cli.editing import detail, pipeline
from eve_cli.editing.run_dir import RunDir
from eve_cli.methods import particles
from eve_cli.methods.base import Guidance
from eve_cli.models.editor import Editor
from eve_cli.models.loading import LoadedModel
from eve_cli.models.parts import BundleSettings
from tests.clips import make_clip
from tests.fakes import request
from tests.tiny import randomized, tiny_clip, tiny_parts


def test_noise_falls_by_a_row_every_two_frames_whatever_the_window() -> None:
    noise = falling_noise(5, range(8), (4, 6, 5))
    assert torch.equal(noise[0], noise[1]) and not torch.equal(noise[1], noise[2])
    assert torch.equal(noise[2:, :, 1:], noise[:-2, :, :-1])
    assert torch.equal(falling_noise(5, range(3, 7), (4, 6, 5)), noise[3:7])
    assert not torch.equal(falling_noise(6, range(8), (4, 6, 5)), noise)
    values = falling_noise(5, range(0, 200, 20), (32, 10, 10))
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02


def test_only_what_is_bright_small_and_above_the_error_of_the_copy_counts() -> None:
    source = torch.full((1, 3, 32, 32), 0.5)
    difference = torch.zeros(1, 3, 32, 32)
    difference[..., 8:10, 8:10] = 0.4
    difference[..., 22:24, 22:24] = -0.2
    light = particles.bright_and_small(difference, source, source)
    assert light.shape == (1, 1, 32, 32)
    assert light[..., 8:10, 8:10].min() > 0.3
    light[..., 8:10, 8:10] = 0
    assert not light.any()
    haze = torch.linspace(0, 0.4, 32).expand(1, 3, 32, 32)
    assert not particles.bright_and_small(haze, source, source).any()
    bad_copy = source.clone()
    bad_copy[..., 6:12, 6:12] += 0.8
    assert not particles.bright_and_small(difference, source, bad_copy)[..., 8:10, 8:10].any()
    textured = source + 0.6 * (torch.arange(32) % 2 - 0.5)
    assert not particles.bright_and_small(difference, textured, textured).any()


def test_a_picture_moves_down_and_what_enters_is_dark() -> None:
    frame = torch.arange(12.0).reshape(1, 4, 3) + 1
    moved = particles.lowered(frame, 2)
    assert torch.equal(moved[:, 2:], frame[:, :2]) and not moved[:, :2].any()
    assert torch.equal(particles.lowered(frame, 0), frame)


def test_most_of_a_frame_changes_under_weather_and_not_where_a_thing_is_added() -> None:
    source, thing = torch.full((2, 3, 10, 10), 0.5), torch.full((2, 3, 10, 10), 0.5)
    thing[..., :3, :3] = 1
    assert particles.changes_most(source, source - 0.1)
    assert not particles.changes_most(source, thing)


def test_particles_of_a_frame_do_not_depend_on_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(particles, "bright_and_small", lambda difference, *rest: difference.mean(1, keepdim=True).abs())
    settings = BundleSettings(name="tiny", steps=3, frames=4, long="sequential", particle_steps=2)
    editor = Editor(randomized(tiny_parts(settings=settings)))
    clip, guidance = tiny_clip(6), Guidance("make it snowy", None, None, 3, 1.0, 1.0, 7)
    with torch.no_grad():
        light = particles.particles(editor, clip, guidance)
        later = particles.particles(editor, clip.part(3, 6), guidance)
    assert light.shape[:3] == (1, 6, 3) and light.any()
    torch.testing.assert_close(later, light[:, 3:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("most", [True, False])
def test_an_edit_has_particles_where_the_model_makes_them_and_most_changes(
    most: bool, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "changes_most", lambda *pair: most)
    rows: list[int] = []
    save = RunDir.save_window
    monkeypatch.setattr(
        RunDir,
        "save_window",
        lambda self, i, latents, effect: (rows.append(len(effect)), save(self, i, latents, effect)),
    )
    settings = BundleSettings(name="tiny", steps=1, frames=4, long="sequential", particle_steps=steps, preserve=True)
    model = LoadedModel(Editor(randomized(tiny_parts(settings=settings))), "tiny", {})
    pipeline.edit(request(make_clip(tmp_path / "a.mkv", 5), tmp_path / "b.mkv", method="eve"), load=lambda spec: model)
    assert set(rows) == {3 if most and steps else 2}


def test_light_is_added_to_the_change_where_the_effect_explains_itself() -> None:
    before = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    light = torch.zeros_like(before)
    light[..., 10:12, 10:12] = 0.3
    without = detail.plan(before, before, torch.stack([before, before]))
    with_it = detail.plan(before, before, torch.stack([before, before, light]))
    torch.testing.assert_close(with_it.change - without.change, light)
    torch.testing.assert_close(with_it.detail, without.detail)
