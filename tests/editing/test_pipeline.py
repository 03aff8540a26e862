"""An edit as a whole, with a model that is arithmetic: what must hold whatever the model is."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from eve_cli.diffusion.windows import plan_windows
from eve_cli.editing import pipeline
from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.progress import EditCallbacks
from eve_cli.editing.request import EditRequest
from eve_cli.editing.resolve import resolve
from eve_cli.errors import EveError, InputError, ModelError, OutputError
from eve_cli.media import codecs
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import CaptionedOptions
from eve_cli.methods.registry import METHODS
from eve_cli.models.parts import BundleSettings
from eve_cli.models.spec import ModelSpec
from eve_cli.tasks import TASKS
from tests.clips import decibels, make_clip, pictures, read_clip
from tests.fakes import FakeEditor, edit, fake_load, request

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", 19)


@pytest.mark.parametrize("method", ["eve", "per_frame", "copy"])
def test_an_edit_that_changes_nothing_gives_the_clip(method: str, clip: Path, tmp_path: Path) -> None:
    result = edit(clip, tmp_path / "out.mkv", method=method, codec="ffv1")
    assert np.array_equal(read_clip(result.output), read_clip(clip))
    assert result.change == 0


def test_copy_survives_the_default_encoder(clip: Path, tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "clips" / "flamingo.mp4"
    result = edit(source, tmp_path / "out.mp4", method="copy", end=0.5)
    copied = read_clip(result.output)
    assert decibels(copied, read_clip(source)[: len(copied)]) >= 40


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9])
def test_short_clips_keep_their_frames(frames: int, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "short.mkv", frames)
    result = edit(source, tmp_path / "out.mkv", {"gain": 0.5}, codec="ffv1")
    assert len(read_clip(result.output)) == frames


def test_what_the_model_does_arrives_at_the_source_s_size(clip: Path, tmp_path: Path) -> None:
    result = edit(clip, tmp_path / "out.mkv", {"gain": 0.0}, codec="ffv1")
    assert read_clip(result.output).shape == (19, 3, 64, 96)
    assert read_clip(result.output).std() < 0.35 * read_clip(clip).std()
    model = edit(clip, tmp_path / "small.mkv", {"gain": 0.0}, codec="ffv1", size="model")
    assert read_clip(model.output).shape == (19, 3, 64, 64)
    assert np.ptp(read_clip(model.output)) <= 1


def test_a_model_with_canvas_aspect_sees_the_shape_of_the_source(clip: Path, tmp_path: Path) -> None:
    settings = BundleSettings(pixels=64, frames=8, steps=4, long="sequential", canvas="aspect")
    fake, shape = {"gain": 0.5, "settings": settings}, (19, 3, 56, 80)
    result = edit(clip, tmp_path / "small.mkv", fake, codec="ffv1", size="model", run_dir=tmp_path / "run")
    assert result.plan.frame_size == (80, 56) and read_clip(result.output).shape == shape
    assert EditPlan.from_json(result.plan.as_json(), "plan.json") == result.plan
    result.output.unlink()
    resumed = pipeline.resume(tmp_path / "run", load=fake_load(**fake))
    assert resumed.plan.frame_size == (80, 56) and read_clip(resumed.output).shape == shape


def test_replaced_words_are_named_in_notes(clip: Path, tmp_path: Path) -> None:
    notes: list[str] = []

    class Notes(EditCallbacks):
        def on_note(self, text: str) -> None:
            notes.append(text)

    for method in ("eve", "copy"):
        wintry = request(clip, tmp_path / f"{method}.mkv", instruction="make it wintry", method=method)
        pipeline.edit(wintry, Notes(), load=fake_load())
    assert notes == ['"wintry" is read as "snowy"']


def test_side_by_side_shows_both(clip: Path, tmp_path: Path) -> None:
    result = edit(clip, tmp_path / "out.mkv", {"gain": 0.4}, codec="ffv1", side_by_side=True)
    assert np.array_equal(read_clip(result.output)[..., :96], read_clip(clip))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(clip: Path, tmp_path: Path) -> None:
    one, two, other = (
        edit(clip, tmp_path / f"{name}.mp4", {"noisy": 0.1}, seed=seed).output.read_bytes()
        for name, seed in (("one", 1), ("two", 1), ("other", 2))
    )
    assert one == two != other


def test_noise_belongs_to_the_frame_whatever_the_window() -> None:
    source = torch.zeros(8, 3, 2, 2)
    early, late = (Clip(source, source, range(start, start + 8), source[:0]).noise(5) for start in (0, 3))
    assert torch.equal(early[3:], late[:5])


def asked(method: str) -> Guidance:
    """Guidance that any method can follow."""
    kind = METHODS[method].options
    told: dict[str, Any] = {"source_caption": "bright"} if issubclass(kind, CaptionedOptions) else {}
    told |= {"tune_steps": 0} if "tune_steps" in kind.__dataclass_fields__ else {}  # the fake has nothing to learn with
    options = kind(**told)
    return Guidance(
        "darker", "dark", "global", steps=4, guidance_scale=2, image_guidance_scale=1, seed=1, options=options
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_shape_and_does_not_depend_on_the_frames_behind(name: str) -> None:
    """A property of all rows of the table; the fake mixes frames nowhere, so a method that did would show."""
    editor, method = FakeEditor(gain=0.5, noisy=0.2), METHODS[name].load()()
    guidance = asked(name)
    source = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = method.edit(editor, Clip(source, source, range(8), source[:0]), guidance)
    part = method.edit(editor, Clip(source[:5], source[:5], range(5), source[:0]), guidance)
    assert whole.shape == source.shape
    torch.testing.assert_close(whole[:5], part)


def test_eve_holds_to_what_was_edited_before_and_not_to_its_own_first_frame() -> None:
    class Apart(FakeEditor):
        def guided_edit(self, *args, **options):
            return lambda noisy, t: torch.full_like(noisy, 5.0)

    source = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    guidance = Guidance("darker", None, "global", steps=4, guidance_scale=1, image_guidance_scale=1, seed=1)
    alike, apart, method = FakeEditor(gain=0.5, noisy=0.2), Apart(gain=0.5, noisy=0.2), METHODS["eve"].load()()
    start, later = (Clip(source, source, range(8), source[:count]) for count in (0, 2))
    assert torch.equal(method.edit(apart, start, guidance), method.edit(alike, start, guidance))
    assert not torch.equal(method.edit(alike, later, guidance), method.edit(alike, start, guidance))


def test_windows_follow_cuts_and_a_method_starts_anew_behind_each(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "cut.mkv", np.concatenate([pictures(12, seed=1), pictures(11, seed=2)]))
    result = edit(source, tmp_path / "out.mkv", codec="ffv1")
    assert result.plan.shots == (range(12), range(12, 23))
    assert [w.start for w in result.plan.windows if not w.overlap] == [0, 12]
    whole = edit(source, tmp_path / "off.mkv", codec="ffv1", scene_cuts="off")
    assert whole.plan.shots == (range(23),)


def test_a_method_can_read_the_whole_shot(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[range, torch.Tensor]] = []

    def look(self: object, editor: FakeEditor, part: Clip, guidance: Guidance) -> torch.Tensor:
        seen.append((part.indices, part.whole_shot()))
        return part.source

    monkeypatch.setattr(METHODS["copy"].load(), "edit", look)
    pipeline.edit(request(clip, tmp_path / "out.mkv", method="copy"), load=fake_load(), find_cuts=lambda frames: [10])
    assert [len(shot) for _, shot in seen] == [10, 10, 9, 9]
    second = [shot for indices, shot in seen if indices.start >= 10]
    assert all(torch.equal(shot, second[0]) for shot in second) and not torch.equal(second[0][:9], seen[0][1][:9])


def test_eve_edits_a_picture_once_a_shot(clip: Path, tmp_path: Path) -> None:
    editors: list[FakeEditor] = []

    def keep(spec: ModelSpec):
        model = fake_load()(spec)
        editors.append(model.editor)  # type: ignore[arg-type]
        return model

    pipeline.edit(request(clip, tmp_path / "out.mkv", codec="ffv1"), load=keep, find_cuts=lambda frames: [10])
    windows = plan_windows([range(10), range(10, 19)], 8, 2)
    assert editors[0].calls.count("edit") == 2
    assert editors[0].calls.count("student") == len(windows)


def test_run_json_makes_the_same_bytes_and_is_in_the_video(clip: Path, tmp_path: Path) -> None:
    result = edit(clip, tmp_path / "out.mp4", {"noisy": 0.1}, seed=None)
    again = pipeline.rerun(result.record, tmp_path / "again.mp4", False, load=fake_load(noisy=0.1))
    assert again.output.read_bytes() == result.output.read_bytes()
    kept = json.loads(result.record.read_text())
    with av.open(str(result.output)) as container:
        inside = json.loads(container.metadata["comment"])
    assert inside["seed"] == kept["seed"] and inside["input"]["sha256"] == kept["input"]["sha256"]
    assert str(tmp_path) not in json.dumps(inside)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "again.mp4",
        "again.run.json",
        "out.mp4",
        "out.run.json",
    ]


def test_rerun_says_what_is_no_longer_the_same(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", 3)
    result = edit(source, tmp_path / "out.mp4")

    def other(spec: ModelSpec):
        model = fake_load()(spec)
        model.hashes["weights"] = "1"
        return model

    with pytest.raises(OutputError, match="exists already"):
        pipeline.rerun(result.record, None, False, load=fake_load())
    with pytest.raises(ModelError, match="weights changed"):
        pipeline.rerun(result.record, tmp_path / "b.mp4", False, load=other)
    make_clip(source, 4)
    with pytest.raises(InputError, match="not the file that was edited"):
        pipeline.rerun(result.record, tmp_path / "b.mp4", False, load=fake_load())


KILLED = """
import os, signal, sys
from pathlib import Path
from eve_cli.editing import pipeline, run_dir
from eve_cli.editing.request import EditRequest
from tests.fakes import fake_load

commit = run_dir.RunDir.save_window
def save_window(self, index, *content):
    commit(self, index, *content)
    if index == (1 if sys.argv[3] == "sequential" else 0):
        os.kill(os.getpid(), signal.SIGKILL)
run_dir.RunDir.save_window = save_window
request = EditRequest(
    input=sys.argv[1], instruction="darker", output=Path(sys.argv[2]), seed=3, long=sys.argv[3], span=16
)
pipeline.edit(request, load=fake_load(noisy=0.1))
"""


@pytest.mark.slow
@pytest.mark.parametrize("long", ["sequential", "joint"])
def test_a_killed_edit_goes_on_to_the_same_bytes(long: str, clip: Path, tmp_path: Path) -> None:
    unbroken = edit(clip, tmp_path / "unbroken.mp4", {"noisy": 0.1}, long=long, span=16)
    assert len(unbroken.plan.windows) == (3 if long == "sequential" else 2)
    target = tmp_path / "killed.mp4"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(clip), str(target), long], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL and not target.exists()
    resumed = pipeline.resume(tmp_path / "killed.eve-run", load=fake_load(noisy=0.1))
    assert resumed.output.read_bytes() == unbroken.output.read_bytes()
    assert not (tmp_path / "killed.eve-run").exists()


@pytest.mark.parametrize(
    ("method", "asked", "found"),
    [
        ("eve", "auto", "joint"),
        ("eve", "sequential", "sequential"),
        ("sdedit", "auto", "sequential"),
        ("sdedit", "joint", "joint"),
        ("per_frame", "auto", "sequential"),
    ],
)
def test_long_clips_are_denoised_together_where_that_was_measured_to_be_better(
    method: str, asked: Any, found: str, clip: Path, tmp_path: Path
) -> None:
    request = EditRequest(str(clip), "darker", tmp_path / "out.mp4", seed=1, method=method, long=asked)
    model = fake_load()(request.model_spec)
    model.editor.settings = BundleSettings(pixels=64, frames=8)
    plan = resolve(request, model, [range(21)], (64, 64))
    assert plan.edit.long == found and plan.edit.keyframes == 0
    assert [each.overlap for each in plan.windows] == ([0] if found == "joint" else [0, 2, 2, 7])


def test_an_error_leaves_nothing_but_finished_windows(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise EveError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(FakeEditor, "guided_student", fail)
        with pytest.raises(EveError):
            edit(clip, tmp_path / "early.mp4")
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "render", fail)
        with pytest.raises(EveError):
            edit(clip, tmp_path / "late.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["late.eve-run"]
    assert pipeline.resume(tmp_path / "late.eve-run", load=fake_load()).output.exists()


def test_a_run_dir_is_kept_and_not_mixed_with_another(clip: Path, tmp_path: Path) -> None:
    edit(clip, tmp_path / "one.mp4", run_dir=tmp_path / "run")
    assert (tmp_path / "run" / "plan.json").is_file()
    with pytest.raises(EveError, match="eve resume"):
        edit(clip, tmp_path / "two.mp4", run_dir=tmp_path / "run")


def test_task_names_are_the_model_s() -> None:
    from eve_cli.editing import request

    assert request.TASKS == TASKS


def test_an_output_that_cannot_be_written_is_known_before_the_first_window(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(codecs.CODECS["h264"], options=lambda crf, preset: {"preset": "of a newer version"})
    monkeypatch.setitem(codecs.CODECS, "h264", broken)
    monkeypatch.setattr(pipeline, "edit_windows", lambda run: pytest.fail("a window was edited"))
    with pytest.raises(OutputError, match="the encoder stopped"):
        edit(clip, tmp_path / "out.mp4")
    assert not any(tmp_path.iterdir())
