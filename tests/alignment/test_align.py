"""`eve align` as a whole, on a tiny model: what is trained, what is not, what is never read, and resuming."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from eve_cli.alignment import pipeline, points
from eve_cli.alignment.context import Context
from eve_cli.alignment.points import PreparedPoints
from eve_cli.alignment.settings import AlignSettings, TeacherSettings, align_recipe
from eve_cli.alignment.student import ImageStudent, Student
from eve_cli.alignment.teachers.edit import EditTeacher
from eve_cli.data import inputs, looks
from eve_cli.data.world import edits, render
from eve_cli.errors import EveError, InputError, ModelError, UsageError
from eve_cli.models import bundle, lora, low_rank
from eve_cli.models.config import BundleSettings
from eve_cli.models.editor import Editor
from eve_cli.models.share_weights import shared_unet
from eve_cli.training import checkpoint
from tests.clips import make_clip, pictures
from tests.tiny import tiny_bundle, tiny_parts

REPOSITORY = Path(__file__).resolve().parents[2]
SHORT: dict[str, Any] = {
    "steps": 3,
    "batch": 2,
    "points": 4,
    "rank": 2,
    "teacher_steps": 1,
    "adversarial_start": 0.5,
    "discriminator_warmup": 0.4,
    "discriminator_frames": 2,
    "save_every": 1,
    "keep": 9,
    "log_every": 1,
    "preview_every": 0,
    "precision": "no",
    "prefetch": 0,
    "on_policy_weight": 0.0,
    "one_step_gradient": False,
    "features": "backbone",
    "discriminator_steps": 1,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("align")
    tiny_bundle(folder / "tiny")
    return folder


def settings(home: Path, name: str, **changes: Any) -> AlignSettings:
    places = {"model": str(home / "tiny"), "out": home / name, "cache": home / "points"}
    return AlignSettings(**{**SHORT, **places, **changes})


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    pipeline.run(settings(home, "run"))
    return home / "run"


def trained_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "align" / "pytorch_lora_weights.safetensors")


@pytest.mark.slow
def test_only_the_low_rank_layers_are_trained(home: Path, run: Path) -> None:
    before, after = bundle.read(home / "tiny"), bundle.read(run / "model")
    same = {n for n, v in before.files.items() if after.files[n]["sha256"] == v["sha256"]}
    assert {n for n in before.files if n.endswith(".safetensors")} <= same
    assert set(after.parts) - set(before.parts) == {"align"}
    weights = trained_weights(run)
    assert any(v.any() for n, v in weights.items() if "lora_B" in n)
    assert "align" in after.training


def test_the_alignment_changes_what_the_student_makes_and_nothing_else(run: Path) -> None:
    with_it = Editor(bundle.load(run / "model"))
    parts = bundle.load(run / "model")
    parts.align = None
    without = Editor(parts)
    noisy, t = torch.randn(1, 4, 4, 4, 4), torch.tensor([500])
    text = with_it.embed(["make it snowy"])
    source, first = torch.randn(1, 4, 4, 4, 4), torch.randn(1, 4, 4, 4)
    words = text.expand(4, -1, -1)
    with torch.no_grad():
        made = [e.clean_student(noisy, t, text, text, source, first) for e in (with_it, without)]
        videos = [e.clean_video(noisy, t, text, first) for e in (with_it, without)]
        frames = [e.clean_edit(noisy[0], t.expand(4), words, words, source[0]) for e in (with_it, without)]
    assert not torch.equal(*made)
    assert torch.equal(*videos) and torch.equal(*frames)


def test_an_alignment_is_trained_further_or_from_scratch(home: Path, run: Path) -> None:
    before = trained_weights(run)
    for from_scratch in (False, True):
        chosen = settings(home, "x", model=str(run / "model"), from_scratch=from_scratch)
        weights = pipeline.Alignment(chosen).student.weights()
        assert any(v.any() for n, v in weights.items() if "lora_B" in n) != from_scratch
        assert len(weights) == len(before)


def test_diffusers_reads_the_alignment(run: Path) -> None:
    # with the prefix that its pipelines look for; a plain load without effect would pass unnoticed
    from diffusers import StableDiffusionPipeline

    state, _ = StableDiffusionPipeline.lora_state_dict(run / "model" / "align")[:2]  # type: ignore[misc]
    unet = UNet2DConditionModel.from_pretrained(run / "model" / "unet")
    x, t, text = torch.randn(1, 4, 4, 4), torch.tensor([500]), torch.randn(1, 24, 16)
    with torch.no_grad():
        before = unet(x, t, text).sample
        unet.load_lora_adapter({k.removeprefix("unet."): v.float() for k, v in state.items()}, prefix=None)
        after = unet(x, t, text).sample
    assert not torch.equal(before, after)


@pytest.mark.slow
def test_no_true_edit_can_be_reached(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("an edited clip was asked for")

    sources = set()
    sampled = edits.sample_edit

    def watched(*args: Any, **options: Any) -> edits.WorldEdit:
        made = sampled(*args, **options)
        sources.add(id(made.source))
        kept.append(made)
        return made

    def drawn(scenes: Any, *args: Any, **options: Any) -> Any:
        assert all(id(scene) in sources for scene in scenes), "a scene other than a source was drawn"
        return true_render(scenes, *args, **options)

    kept: list[edits.WorldEdit] = []  # so that no id is used twice
    true_render = render.render
    for module in (edits, sys.modules["eve_cli.data.world.feed"]):
        monkeypatch.setattr(module, "render_edit", never)
    for name, look in looks.LOOKS.items():
        monkeypatch.setitem(looks.LOOKS, name, type(look)(**{**vars(look), "function": never}))
    monkeypatch.setattr(inputs, "sample_edit", watched)
    monkeypatch.setattr(inputs, "render", drawn)
    trained = pipeline.run(settings(home, "blind", cache=home / "blind-points", preview_every=3, photo_share=0.5))
    assert trained.model is not None and kept


def test_points_hold_no_edit() -> None:
    assert set(inputs.Points.__dataclass_fields__) == {"frames", "instructions", "captions", "tasks", "shown"}
    assert "output" not in inputs.ALLOWED and "edited" not in inputs.ALLOWED


def test_a_resumed_run_gives_what_an_uninterrupted_run_gives(home: Path, run: Path) -> None:
    shutil.copytree(run, home / "broken")
    for folder in checkpoint.folders(home / "broken")[2:]:
        shutil.rmtree(folder)
    shutil.rmtree(home / "broken" / "model")
    pipeline.run(settings(home, "broken", resume=True))
    for name, value in trained_weights(run).items():
        assert torch.equal(value, trained_weights(home / "broken")[name]), name
    one, other = (load_file(checkpoint.latest(f) / "recipe.safetensors") for f in (run, home / "broken"))  # type: ignore
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
def test_prepared_points_are_read_again(home: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_points", "_samples"):
        monkeypatch.setattr(PreparedPoints, name, None)
    alignment = pipeline.Alignment(settings(home, "again"))
    estimate = pipeline.Alignment(settings(home, "dry"), meta_copy=True).estimate()
    assert estimate.missing == {"points": 0, "edit": 0, "video": 0}
    parameters = alignment.student.module.parameters()
    assert estimate.step.flops > 0 and estimate.step.trained == sum(p.numel() for p in parameters)
    used = alignment.recipe().numbers(3)
    assert all(alignment.points[number]["source"].shape == (4, 4, 4, 4) for number in used)


def prepared(folder: Path) -> int:
    """The number of files of prepared points and samples, of which a point of two teachers has three."""
    return len(list(folder.glob("*.safetensors")))


@pytest.mark.slow
def test_a_run_prepares_the_points_of_its_batches_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    prepare = PreparedPoints._points

    def counted(self: PreparedPoints, numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        counts.append(len(numbers))
        return prepare(self, numbers)

    monkeypatch.setattr(PreparedPoints, "_points", counted)
    chosen = settings(home, "two", steps=2, points=448, prefetch=2, cache=home / "two-points")
    estimate = pipeline.Alignment(chosen, meta_copy=True).estimate()
    pipeline.run(chosen)
    assert 0 < sum(counts) <= 2 * chosen.batch and prepared(home / "two-points") == 3 * sum(counts)
    assert estimate.missing == dict.fromkeys(("points", "edit", "video"), sum(counts))


@pytest.mark.slow
def test_points_do_not_depend_on_when_they_are_prepared(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "GROUP", 3)
    tables = []
    for name in ("forwards", "backwards"):
        alignment = pipeline.Alignment(settings(home, "x", steps=4, points=40, cache=home / name))
        order = alignment.recipe().numbers(4)
        every = [(n, alignment.points[n]) for n in (order if name == "forwards" else reversed(order))]
        tables.append({number: point for number, point in every})
    broken = sorted((home / "forwards").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:50])  # a damaged file is made again
    again = pipeline.Alignment(settings(home, "x", steps=4, points=40, cache=home / "forwards"))
    again.recipe()
    tables.append({number: again.points[number] for number in tables[0]})
    for table in tables[1:]:
        for number, point in tables[0].items():
            assert all(torch.equal(value, table[number][name]) for name, value in point.items())


@pytest.mark.slow
def test_two_processes_do_what_one_does(home: Path, run: Path) -> None:
    options = {k.replace("_", "-"): v for k, v in SHORT.items() if k not in ("batch", "preview_every")}
    flags = [f"--{name}={v}" if v is not False else f"--no-{name}" for name, v in options.items()]
    flags += ["--batch=1", "--sample-every=0", "--quiet"]
    places = ["--model", str(home / "tiny"), "--out", str(home / "processes"), "--cache", str(home / "points")]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "eve_cli", "align", *places, *flags],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    for name, value in trained_weights(run).items():
        torch.testing.assert_close(trained_weights(home / "processes")[name], value, rtol=2e-2, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"distillation": "dmd"},
        {"random_init": True, "adversarial_start": 1.0},
        {"one_step_gradient": True, "timestep_sampling": "uniform", "layers": "attention"},
        {"distillation_weight": 0.0, "timestep_sampling": "trailing", "accumulate": 2, "random_first_timestep": True},
        {"teachers": ("edit",), "generator_loss": "paper", "normalise_score": False},
        {"teachers": ("video",), "teacher": {"video": TeacherSettings(1.0, guidance=1.5, error_component="change")}},
        {
            "on_policy_weight": 1.0,
            "student_score_weight": 0.5,
            "features": "latents",
            "discriminator_steps": 2,
            "distillation_weight": 1.0,
        },
        {
            "on_policy_weight": 1.0,
            "one_step_gradient": True,
            "distillation_weight": 0.0,
            "adversarial_start": 1.0,
        },
    ],
)
def test_every_way_to_align_runs(home: Path, changes: dict[str, Any]) -> None:
    name = "-".join(changes)
    outcome = pipeline.run(settings(home, name, **{"steps": 2, **changes})).outcome
    assert outcome.step == 2 and outcome.losses["gradient_norm"] > 0


def test_checkpointing_changes_no_gradient(home: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        recipe = pipeline.Alignment(settings(home, "x", gradient_checkpointing=checkpointing)).recipe()
        recipe.step(recipe.batch(0, 0))["fdd"].backward()
        gradients.append([p.grad.clone() for p in recipe.parameters() if p.grad is not None])
    assert gradients[0] and all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_gradient_goes_through_all_steps_or_one(home: Path) -> None:
    recipe = recipe_of(home, random_init=False)
    batch = recipe.batch(0, 0)
    context = recipe.context(batch)
    noise = batch["noise"].requires_grad_()
    recipe.student.sample(context, noise, batch["timesteps"]).sum().backward()
    assert noise.grad is not None and noise.grad.any()
    noise.grad = None
    recipe.student.sample(context, noise, batch["timesteps"], end=2).sum().backward()
    assert noise.grad is None


def recipe_of(home: Path, **changes: Any) -> pipeline.AlignRecipe:
    return pipeline.Alignment(settings(home, "x", **changes)).recipe()


def gradients(recipe: pipeline.AlignRecipe) -> list[torch.Tensor]:
    recipe.step(recipe.batch(0, 0))["fdd"].backward()
    return [p.grad for p in recipe.parameters() if p.grad is not None]


@pytest.mark.slow
def test_the_on_policy_loss_uses_the_teachers_that_read_the_source(home: Path) -> None:
    off = {"distillation_weight": 0.0, "contrast_weight": 0.0, "adversarial_start": 1.0, "on_policy_weight": 1.0}
    assert any(g.any() for g in gradients(recipe_of(home, teachers=("edit",), **off)))
    assert not any(g.any() for g in gradients(recipe_of(home, teachers=("video",), **off)))


def test_a_student_that_predicts_what_its_teacher_predicts_gets_no_gradient(home: Path) -> None:
    off = {"adversarial_start": 1.0, "contrast_weight": 0.0, "normalise_score": False}
    recipe = recipe_of(home, teachers=("edit",), student_score_weight=1.0, **off)
    context = recipe.context(recipe.batch(0, 0))
    (teacher,) = recipe.teachers
    teacher.clean = lambda noisy, t, c: recipe.student.clean(  # type: ignore[method-assign]
        noisy.view_as(context.source), t.view(len(context.source), -1)[:, 0], c
    ).flatten(0, 1)
    assert max(float(g.abs().max()) for g in gradients(recipe)) < 1e-6
    recipe.settings = replace(recipe.settings, student_score_weight=0.0)
    assert max(float(g.abs().max()) for g in gradients(recipe)) > 1e-4


def test_the_first_step_starts_from_pure_noise_and_every_bin_is_drawn_from(home: Path) -> None:
    recipe = recipe_of(home, batch=40)
    times = recipe.batch(0, 0)["timesteps"]
    assert (times[0] == 999).all()
    assert times[1].min() >= 333 and times[1].max() < 667 and times[2].max() < 333
    assert len(times[1].unique()) > 20


def test_warnings_in_words(home: Path) -> None:
    recipe = recipe_of(home)
    recipe.progress = 1.0
    texts = recipe.warnings({"_change": 0.01, "_contrast": 2.0, "_colour_drift": 1.0, "_accuracy_edit": 1.0})
    assert len(texts) == 4
    assert all(any(word in text for text in texts) for word in ("copies", "saturate", "drift", "edit is always right"))
    assert not recipe.warnings({"_change": 1.0, "_contrast": 1.0, "_colour_drift": 0.1, "_accuracy_edit": 0.7})


def test_inputs_from_a_file(home: Path, tmp_path: Path) -> None:
    clip = REPOSITORY / "examples" / "car.mp4"
    row = {"video": str(clip), "instruction": "make it snowy", "output_caption": "a car in the snow", "task": "global"}
    (tmp_path / "inputs.jsonl").write_text(json.dumps(row) + "\n")
    found = inputs.open_inputs(str(tmp_path)).points([0, 5], 4, 32)
    assert found.frames.shape == (2, 4, 3, 32, 32) and found.instructions == ["make it snowy"] * 2
    again = inputs.open_inputs(str(tmp_path)).points([0, 5], 4, 32)
    assert torch.equal(found.frames, again.frames)
    outcome = pipeline.run(settings(home, "file", data=str(tmp_path), steps=1, teachers=("edit",))).outcome
    assert outcome.step == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"video": "none.mp4", "instruction": "a", "output_caption": "b"}', "does not exist"),
        ('{"instruction": "a", "output_caption": "b"}', "video is missing"),
        ('{"video": "x", "instruction": "a", "output_caption": "b", "output": "c.mp4"}', "unknown key 'output'"),
        ("", "no rows"),
        ("{", "inputs.jsonl:1"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "inputs.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=words):
        inputs.open_inputs(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"teachers": ("edit", "vidoe")}, UsageError, "Did you mean video"),
        ({"teachers": ()}, UsageError, "empty"),
        ({"teachers": ("edit", "edit")}, UsageError, "twice"),
        ({"layers": "some"}, UsageError, "--layers must be one of"),
        ({"distillation_weight": 0.0, "adversarial_start": 1.0, "contrast_weight": 0.0}, UsageError, "No loss is left"),
        ({"data": "nowhere.jsonl"}, InputError, "does not exist"),
        ({"model": "nowhere"}, ModelError, "no model named"),
    ],
)
def test_mistakes_are_errors_before_anything_is_loaded(
    home: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], kind: type[EveError], words: str
) -> None:
    monkeypatch.setattr(bundle, "load", None)
    with pytest.raises(kind, match=words):
        pipeline.Alignment(settings(home, "wrong", **changes))


def test_a_missing_or_foreign_adapter_is_an_error(home: Path, tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "still", video=False)
    with pytest.raises(ModelError, match="has no video adapter"):
        pipeline.check(settings(home, "x", model=str(tmp_path / "still")))
    shutil.copytree(home / "tiny", tmp_path / "mixed")
    file = tmp_path / "mixed" / "controlnet" / "config.json"
    file.write_text(file.read_text().replace("32", "48"))
    with pytest.raises(ModelError, match="do not fit each other"):
        pipeline.check(settings(home, "x", model=str(tmp_path / "mixed")))


def test_the_papers_recipe_is_what_the_paper_prints() -> None:
    paper = AlignSettings(**align_recipe({"recipe": "paper"}))
    assert [paper.resolved_teacher(kind).weight for kind in paper.teachers] == [0.5, 0.5]
    assert paper.distillation_weight == 2.5 and paper.student_steps == 3
    assert paper.steps == 1500 and paper.global_batch == 64 and paper.lr == 1e-5
    assert paper.for_processes(4).accumulate * 4 * paper.batch == 64
    assert round(paper.adversarial_start * 1500) == 1000 and paper.adversarial_weight == 1
    assert paper.timestep_sampling == "k-bin"


def test_the_student_runs_without_its_layers(home: Path) -> None:
    student = Student(Editor(bundle.load(home / "tiny")), 2)
    aligned = student.editor.student
    with student.unaligned():
        assert student.editor.student is student.editor.video
    assert student.editor.student is aligned


@pytest.fixture(scope="module")
def toy(home: Path) -> Path:
    """A LoRA that does something."""
    editor = Editor(bundle.load(home / "tiny"))
    tree = shared_unet(editor.backbone)
    lora.add(tree, 2)
    weights = {k: torch.randn_like(v) * 0.2 for k, v in lora.weights(tree).items()}
    base = bundle.read(home / "tiny")
    return lora.save(lora.Lora(weights, "<toy>", "subject", "tiny", base.backbone), home / "toy")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["subject", "style"])
def test_a_lora_is_aligned_with_the_edit_adapter(home: Path, toy: Path, kind: Any) -> None:
    teacher = lora.save(replace(lora.load(toy), kind=kind), home / f"toy-{kind}")
    trained = pipeline.run(settings(home, f"aligned-{kind}", teachers=("edit", f"lora:{teacher}"), steps=2))
    assert trained.model == home / f"aligned-{kind}" / "lora"
    before, after = lora.load(teacher), lora.load(trained.model)
    assert after.rank == before.rank + SHORT["rank"] and after.token == "<toy>" and "align" in after.training


def test_one_lora_does_what_two_do(home: Path, toy: Path) -> None:
    editor = Editor(bundle.load(home / "tiny"), weights=lora.load(toy).weights)
    student = ImageStudent(editor, 3, "attention+mlp")
    for parameter in student.module.parameters():
        parameter.data.normal_(std=0.2)
    joined = low_rank.joined(lora.load(toy).weights, student.weights())
    other = Editor(bundle.load(home / "tiny"), weights=joined)
    noisy, t, text = torch.randn(2, 4, 4, 4), torch.tensor([300, 900]), editor.embed(["a red car", "make it snowy"])
    with torch.no_grad():
        made = [e.clean_image(noisy, t, text, with_lora=True) for e in (student.editor, other, editor)]
    torch.testing.assert_close(made[0], made[1], rtol=1e-4, atol=1e-5)
    assert (made[0] - made[2]).abs().max() > 1e-3


@pytest.mark.parametrize("teachers", [("edit", "lora"), ("edit", "video", "lora:x"), ("lora:a", "lora:b")])
def test_a_lora_is_aligned_with_the_edit_adapter_alone(home: Path, teachers: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="edit,lora:FOLDER"):
        pipeline.check(settings(home, "x", teachers=teachers))


def test_texts_of_a_subject_and_of_a_style_hold_its_token() -> None:
    world = inputs.WorldInputs()
    subject = inputs.PersonalInputs(world, "<toy>", "subject").points([0, 1], 1, 32)
    assert all("<toy>" in text for text in subject.instructions + subject.captions)
    style = inputs.PersonalInputs(world, "<ink>", "style").points([0, 1], 1, 32)
    assert style.instructions == world.points([0, 1], 1, 32).instructions
    assert all("<ink>" in text for text in style.shown + style.captions)


def test_prepared_points_belong_to_the_contents_of_the_data(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one" / "photos"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"first")
    keys = [pipeline._inputs_identity(settings(home, "x", photos=folder))]
    shutil.copytree(folder, tmp_path / "two" / "photos")
    keys.append(pipeline._inputs_identity(settings(home, "x", photos=tmp_path / "two" / "photos")))
    (folder / "a.png").write_bytes(b"other")  # of the same name and size
    keys.append(pipeline._inputs_identity(settings(home, "x", photos=folder)))
    assert keys[0] == keys[1] != keys[2]


def test_prepared_points_belong_to_the_contents_of_the_videos(home: Path, tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mkv", pictures(4, seed=1))
    row = {"video": "a.mkv", "instruction": "make it snowy", "output_caption": "snow"}
    (tmp_path / "inputs.jsonl").write_text(json.dumps(row) + "\n")
    chosen = settings(home, "x", data=str(tmp_path))
    before = pipeline._inputs_identity(chosen)
    assert pipeline._inputs_identity(chosen) == before
    make_clip(tmp_path / "a.mkv", pictures(4, seed=2))
    assert pipeline._inputs_identity(chosen) != before


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("split", ("caption", "caption", "instruction")),
        ("instruction", ("instruction", "instruction", "instruction")),
        ("caption", ("caption", "caption", "caption")),
    ],
)
def test_teacher_and_student_read_the_texts_that_an_edit_gives(convention: Any, expected: tuple[str, str, str]) -> None:
    parts = tiny_parts()
    parts.settings = replace(parts.settings, edit_text=convention)
    editor = Editor(parts)
    texts = {"instruction": "make it snowy", "caption": "a red car and the night"}
    tokens = {name: parts.tokens([text]) for name, text in texts.items()}
    latents, zero = torch.zeros(1, 4, 4, 4, 4), torch.zeros(1, dtype=torch.long)
    batch = tokens | {"source": latents, "first": latents[:, 0], "task": zero, "student_task": zero}
    batch |= {"student_text": tokens["caption"], "discriminator_frames": zero.unsqueeze(1)}
    context = Context.of(editor, batch)
    condition = editor.condition(texts["instruction"], texts["caption"])
    for value, name in zip((context.text, context.student_text), expected[:2], strict=True):
        assert torch.equal(value, editor.embed([texts[name]])) and torch.equal(value, condition.text)
    assert torch.equal(context.instruction, condition.instruction)
    assert torch.equal(context.instruction, editor.embed_instruction([texts[expected[2]]]))
    assert torch.equal(context.caption, editor.embed([texts["caption"]]))


def test_the_edit_teacher_has_the_guidance_of_single_frames() -> None:
    parts = tiny_parts()
    parts.settings = replace(parts.settings, guidance_scale=1.0, picture_guidance_scale=7.5)
    assert EditTeacher(Editor(parts)).guidance == 7.5 and EditTeacher(Editor(parts), 2.0).guidance == 2.0


def test_an_aligned_model_samples_clips_as_its_student_learned() -> None:
    learned = pipeline._as_learned(BundleSettings(guidance_scale=7.5, image_guidance_scale=1.5, steps=25), 3)
    assert (learned.guidance_scale, learned.image_guidance_scale, learned.steps) == (1.0, 1.0, 3)
    assert (learned.picture_guidance_scale, learned.image_steps) == (7.5, 25)
    assert pipeline._as_learned(learned, 3) == learned


@pytest.mark.parametrize("weight", [2.5, 0.5])
def test_lambda_of_the_paper_is_a_ratio_of_gradients_at_the_clip(home: Path, weight: float) -> None:
    changes = {
        "balance": "gradients",
        "adversarial_start": 0.0,
        "adversarial_weight": 1.0,
        "distillation_weight": weight,
    }
    recipe = pipeline.Alignment(settings(home, "x", **changes, contrast_weight=0.0)).recipe()
    measured = recipe.step(recipe.batch(0, 0))
    for teacher in ("edit", "video"):
        norms = [measured[f"_gradient_{name}_{teacher}"] for name in ("distillation", "adversarial")]
        assert float(norms[0] / norms[1]) == pytest.approx(weight, rel=1e-3)
        assert float(measured[f"_ratio_{teacher}"]) != pytest.approx(weight, rel=1e-1)  # what it was without
    assert AlignSettings(**align_recipe({"recipe": "paper"})).balance == "gradients"
