"""`eve train`: only the named part changes, settings are saved, and the output says what to do next."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from eve_cli.cli import app
from eve_cli.data.world.vocabulary import vocabulary
from eve_cli.errors import ModelError, UsageError
from eve_cli.models import bundle, bundle_manifest
from eve_cli.models.families import mini
from eve_cli.registry import pick
from eve_cli.storage.lock import Lock
from eve_cli.training import record, session
from eve_cli.training.loop import Outcome
from eve_cli.training.recipes import RECIPES, edit
from eve_cli.training.recipes.edit import EditRecipe
from eve_cli.training.settings import SETTINGS, TrainSettings, changed

WHOLE = [part for part in RECIPES if part not in ("lora", "encoders")]  # the result is a whole model
FOLDERS = {
    "vae": {"vae"},
    "decoder": {"vae"},
    "backbone": {"unet", "text_encoder"},
    "edit": {"controlnet", "instruction_encoder"},
    "joint": {"unet", "text_encoder", "controlnet", "instruction_encoder"},
    "video": {"motion_adapter"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = mini.build(vocabulary(), mini.TINY)
    return bundle.save(parts, tmp_path_factory.mktemp("models") / "tiny", {"vae": {"steps": 7}})


@pytest.fixture(autouse=True)
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.training.recipes import backbone, edit, vae, video

    for module in (backbone, vae, edit, video):
        monkeypatch.setattr(module, "CHUNK", 8, raising=False)


def settings(part: str, model: Path, out: Path, **changes: Any) -> TrainSettings:
    plain = {
        "steps": 2,
        "batch": 32 if part in ("vae", "decoder") else 4,
        "preview_every": 0,
        "ema": 0.0,
        "warmup": 1,
        "precision": "no",
    }
    return SETTINGS[part](**{**plain, "model": str(model), "out": out, **changes})


def digests(path: Path) -> dict[str, str]:
    return {
        name: entry["sha256"]
        for name, entry in bundle_manifest.read(path).files.items()
        if name.endswith("safetensors")
    }


def test_every_recipe_has_settings() -> None:
    assert SETTINGS.keys() == RECIPES.keys()


def test_joint_training_at_another_size_takes_wide_photographs_and_new_words(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, shape in enumerate([(90, 60), (60, 90), (64, 64)]):
        Image.new("RGB", shape, (40 * number, 90, 200)).save(tmp_path / "photos" / f"{number}.png")
    old = bundle.load(model)
    old.settings = replace(old.settings, words=old.settings.words[:20])
    start = bundle.save(old, tmp_path / "old", {})
    more = {"photos": tmp_path / "photos", "photo_share": 0.5, "pixels": 64, "wide": True, "text_share": 0.5}
    trained = session.train("joint", settings("joint", start, tmp_path / "run", steps=3, **more))
    assert trained.model is not None
    kept = bundle.load(trained.model).settings
    assert (kept.pixels, kept.canvas) == (64, "aspect") and set(vocabulary()) <= set(kept.words)


@pytest.mark.slow
@pytest.mark.parametrize("part", WHOLE)
def test_only_the_named_part_changes(part: str, model: Path, tmp_path: Path) -> None:
    trained = session.train(part, settings(part, model, tmp_path / "run", preview_every=2))
    assert trained.model is not None and len(list((tmp_path / "run" / "previews").iterdir())) == 2
    before, after = digests(model), digests(trained.model)
    assert before.keys() == after.keys()
    changed = {name.split("/")[0] for name in before if before[name] != after[name]}
    assert changed and changed <= FOLDERS[part]
    assert bundle_manifest.read(trained.model).training[part]["steps"] == 2
    assert "vae" in bundle_manifest.read(trained.model).training
    bundle_manifest.verify(trained.model)


@pytest.mark.slow
@pytest.mark.parametrize("part", [part for part in WHOLE if part != "vae"])  # the decoder's is the vae's
def test_a_resumed_recipe_has_the_losses_of_an_unbroken_one(part: str, model: Path, tmp_path: Path) -> None:
    chosen = settings(part, model, tmp_path / "whole", steps=4, save_every=2, log_every=1)
    session.train(part, chosen)
    whole = record.read(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken" / "checkpoints" / "step-00000004")
    session.train(part, replace(chosen, out=tmp_path / "broken", resume=True))
    again = record.read(tmp_path / "broken")
    assert [row["loss"] for row in again] == [row["loss"] for row in whole] and len(whole) == 4


def test_a_missing_adapter_is_created(tmp_path: Path) -> None:
    bare = bundle.save(mini.build(vocabulary(), mini.TINY, edit=False, video=False), tmp_path / "bare")
    for part, fresh in (("video", {"video"}), ("edit", {"edit", "instruction_encoder"})):
        trained = session.train(part, settings(part, bare, tmp_path / part))
        assert trained.model is not None
        assert set(bundle_manifest.read(trained.model).parts) - set(bundle_manifest.read(bare).parts) == fresh


def test_weights_stored_in_full_stay_in_full(tmp_path: Path) -> None:
    full = bundle.save(mini.build(vocabulary(), mini.TINY), tmp_path / "full", dtype=torch.float32)
    trained = session.train("edit", settings("edit", full, tmp_path / "run"))
    assert (
        trained.model is not None
        and digests(full)["unet/diffusion_pytorch_model.safetensors"]
        == (digests(trained.model)["unet/diffusion_pytorch_model.safetensors"])
    )


@pytest.mark.parametrize(("part", "data"), [("edit", "rows.jsonl"), ("edit", "."), ("backbone", "."), ("decoder", ".")])
def test_a_part_learns_from_files(part: str, data: str, model: Path, tmp_path: Path) -> None:
    for name, colour in (("before", "red"), ("after", "blue")):
        Image.new("RGB", (48, 36), colour).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"a {colour} wall")
    row = {"input": "before.png", "instruction": "make it blue", "output_caption": "a blue wall", "output": "after.png"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    chosen = settings(part, model, tmp_path / "run" if data != "." else tmp_path.with_suffix(".run"))
    trained = session.train(part, replace(chosen, data=str(tmp_path / data), batch=32))
    assert trained.model is not None and trained.outcome.losses["loss"] > 0


def test_the_decoder_is_trained_for_the_latents_that_there_are(model: Path, tmp_path: Path) -> None:
    trained = session.train("decoder", settings("decoder", model, tmp_path / "run"))
    assert trained.model is not None
    before, after = (bundle.load(path).vae.state_dict() for path in (model, trained.model))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
    assert bundle_manifest.read(trained.model).settings == bundle_manifest.read(model).settings


def test_training_lowers_the_loss(model: Path, tmp_path: Path) -> None:
    session.train("backbone", settings("backbone", model, tmp_path / "run", steps=40, log_every=20, lr=5e-3))
    rows = record.read(tmp_path / "run")
    assert rows[-1]["_plain"] < rows[0]["_plain"]


def test_a_run_can_be_resumed_without_saying_its_settings_again(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    session.train("video", settings("video", model, out, lr=2e-3))
    again = session.resumed("video", SETTINGS["video"](out=out, resume=True, steps=4))
    assert (again.lr, again.batch, again.steps, again.model) == (2e-3, 4, 4, str(model))
    assert session.train("video", again).outcome.step == 4
    with pytest.raises(UsageError, match="trains another part"):
        session.resumed("edit", SETTINGS["edit"](out=out, resume=True))
    with pytest.raises(UsageError, match="no run to resume"):
        session.resumed("edit", SETTINGS["edit"](out=tmp_path / "none", resume=True))


def test_an_unknown_model_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        session.train("edit", settings("edit", Path("nothing"), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_command_prints_the_model_alone_on_stdout(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text('steps = 20\nbatch = 2\nprecision = "no"\nlog_every = 1\npreview_every = 0\n')
    out = tmp_path / "run"
    words = ["train", "edit", "--model", str(model), "--out", str(out), "--config", str(config), "--steps", "10"]
    assert app.run(words) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{out / 'model'}\n"
    lines = shown.err.splitlines()
    assert sum(line.startswith("train") for line in lines) == 10
    assert "10/10 steps" in shown.err and "training edit" in shown.err
    assert json.loads((out / "settings.json").read_text())["steps"] == 10


def test_an_interrupted_run_says_how_to_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome(step=7, seconds=1.0, losses={}, checkpoint=tmp_path, interrupted=True)
    monkeypatch.setattr(session, "train", lambda *_: session.Trained(tmp_path, None, outcome))
    assert app.run(["train", "video", "--steps", "9"]) == 130
    shown = capsys.readouterr()
    assert shown.out == "" and f"resume with: eve train video --out {tmp_path} --resume" in shown.err


def test_photographs_go_with_the_world_only(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--photos"):
        session.train("vae", settings("vae", model, tmp_path / "run", photos=tmp_path, data=str(tmp_path)))


def test_an_unknown_key_in_the_config_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.toml"
    config.write_text("step = 20\n")
    assert app.run(["train", "edit", "--config", str(config)]) == 2
    assert "unknown setting 'step'" in capsys.readouterr().err


def test_a_run_without_an_end_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["train", "edit"]) == 2
    assert "--steps or --minutes" in capsys.readouterr().err


def test_a_second_run_in_a_folder_is_refused(model: Path, tmp_path: Path) -> None:
    settings = SETTINGS["edit"](model=str(model), out=tmp_path / "run", steps=1)
    with Lock(tmp_path / "run" / "lock.json", "run"), pytest.raises(UsageError, match="run: in use by process"):
        session.run_loop("edit", None, settings, tmp_path / "run", None)  # pyright: ignore
    assert not list((tmp_path / "run").iterdir())


def test_pools_of_large_frames_are_as_large_as_memory_allows_and_say_their_reuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edit, "CHUNK", 1536)
    parts = mini.build(vocabulary(), mini.TINY)
    small = EditRecipe(parts, 64)
    parts.settings = replace(parts.settings, pixels=512)
    large = EditRecipe(parts, 64)
    assert small.chunk == 1536 and large.chunk == 341  # pairs of 512 x 512 in 2 GiB
    assert "each is used about 28 times" in large.note()


def test_each_process_draws_its_own_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        for part in ("backbone", "edit", "video"):
            recipe = pick(RECIPES, part, "part")(mini.build(vocabulary(), mini.TINY), 2)
            recipe.chunk = 4
            drawn[part, rank] = next(iter(recipe._draw(0).values()))
    assert not any(torch.equal(drawn[part, 0], drawn[part, 1]) for part in ("backbone", "edit", "video"))


def test_the_global_batch_sets_the_accumulation() -> None:
    chosen = TrainSettings(steps=1, batch=4, global_batch=64)
    assert chosen.for_processes(1).accumulate == 16 and chosen.for_processes(8).accumulate == 2
    with pytest.raises(UsageError, match="--global-batch 64 is no multiple of --batch 4 x 3 processes = 12"):
        chosen.for_processes(3)
    before, now = chosen.for_processes(1).as_json(), chosen.for_processes(8).as_json()
    assert not changed(before, now)  # a run may be resumed with another number of processes
    assert changed(before, now | {"global_batch": 32})


@pytest.mark.slow
@pytest.mark.parametrize("part", ["edit", "video"])
def test_activation_checkpointing_saves_memory_and_changes_no_gradient(part: str, model: Path, tmp_path: Path) -> None:
    gradients, activations = [], []
    for checkpointing in (False, True):
        chosen = settings(part, model, tmp_path, gradient_checkpointing=checkpointing, batch=8)
        parts, _ = session.load_parts(part, chosen)
        recipe = session.make_recipe(part, parts, chosen)
        losses = recipe.step(recipe.batch(0, 0))
        torch.stack([value for name, value in losses.items() if not name.startswith("_")]).sum().backward()
        gradients.append([p.grad for p in recipe.parameters() if p.grad is not None])
        activations.append(session.estimate_step(part, chosen).activations)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert activations[1] < 0.7 * activations[0]
