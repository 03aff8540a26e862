"""`eve train lora`: pictures in, a folder out that acts, and no bit of the model changed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from eve_cli.cli import app
from eve_cli.data import folders
from eve_cli.data.world.vocabulary import vocabulary
from eve_cli.errors import InputError, UsageError
from eve_cli.models import bundle, bundle_manifest, lora
from eve_cli.models.editor import Editor
from eve_cli.models.families import mini
from eve_cli.training import record, session
from eve_cli.training.crops import CROPS, crops
from eve_cli.training.recipes.lora import LoraRecipe
from eve_cli.training.settings import LoraSettings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.save(mini.build(vocabulary(), mini.TINY), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = tmp_path_factory.mktemp("images")
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "green")):
        Image.linear_gradient("L").resize((48, 36)).convert("RGB").point(lambda v, c=len(colour): v * c % 256).save(
            images / f"{name}.png"
        )
    (images / "a.txt").write_text("a <toy> on a beach")
    (images / "b.txt").write_text("in a city")
    return images


def settings(model: Path, images: Path, out: Path, **changes: Any) -> LoraSettings:
    plain: dict[str, Any] = {"steps": 4, "batch": 4, "preview_every": 0, "warmup": 1, "precision": "no", "rank": 2}
    return LoraSettings(**{**plain, "model": str(model), "images": images, "token": "<toy>", "out": out, **changes})


def weights(editor: Editor) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part, module in editor.parts.modules()
        for name, tensor in module.state_dict().items()
    }


def test_captions_are_made_where_they_are_missing(images: Path) -> None:
    pictures, captions = crops(folders.pictures([images], "some"), "<toy>", "subject", 16)
    assert captions[::CROPS] == ["a <toy> on a beach", "in a city, <toy>", "a photo of <toy>"]
    assert pictures.shape == (3 * CROPS, 3, 16, 16) and len(captions) == len(pictures)
    assert not torch.equal(pictures[0], pictures[1])
    assert crops(folders.pictures([images], "some"), "<ink>", "style", 16)[1][-1] == "a picture in the style of <ink>"
    assert torch.equal(pictures, crops(folders.pictures([images], "some"), "<toy>", "style", 16)[0])


def test_a_folder_with_a_lora_comes_out(model: Path, images: Path, tmp_path: Path) -> None:
    trained = session.train("lora", settings(model, images, tmp_path / "run", preview_every=2))
    assert trained.model == tmp_path / "run" / "lora"
    assert sorted(path.name for path in trained.model.iterdir()) == [lora.CARD, lora.WEIGHTS]
    assert len(list((tmp_path / "run" / "previews").iterdir())) == 3
    found = lora.load(trained.model)
    assert (found.token, found.kind, found.rank, found.model) == ("<toy>", "subject", 2, "mini")
    found.check_fits(trained.model, str(model), bundle_manifest.read(model))
    assert found.training["steps"] == 4 and found.training["settings"]["rank"] == 2
    assert str(tmp_path) not in json.dumps(dict(found.training)) and str(images) not in json.dumps(dict(found.training))
    editor = Editor(bundle.load(model), weights=found.weights)
    noisy, t, text = torch.ones(1, 4, 4, 4), torch.tensor([500]), editor.embed(["a <toy>"])
    assert not torch.equal(editor.clean_image(noisy, t, text, with_lora=True), editor.clean_image(noisy, t, text))


def test_no_bit_of_the_model_changes(model: Path, images: Path) -> None:
    parts = bundle.load(model)
    recipe = LoraRecipe(parts, 4, images=images, token="<toy>", rank=2, model=model)
    before = weights(recipe.editor)
    noisy, t, text = torch.ones(1, 4, 4, 4), torch.tensor([500]), recipe.editor.embed(["a <toy>"])
    plain = recipe.editor.clean_image(noisy, t, text)
    assert torch.equal(recipe.editor.clean_image(noisy, t, text, with_lora=True), plain)
    optimizer = torch.optim.Adam(recipe.parameters(), 0.01)
    for step in range(3):
        recipe.step(recipe.batch(step, 0))["velocity"].backward()
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in weights(recipe.editor).items())
    assert all(p.grad is None for _, module in parts.modules() for p in module.parameters())
    assert torch.equal(recipe.editor.clean_image(noisy, t, text), plain)
    assert not torch.equal(recipe.editor.clean_image(noisy, t, text, with_lora=True), plain)


@pytest.mark.parametrize(
    ("token", "kind", "warned"), [("<toy>", "subject", True), ("a z ball", "subject", False), ("<ink>", "style", False)]
)
def test_a_token_that_the_tokenizer_splits_is_warned_about(
    model: Path, images: Path, token: str, kind: Any, warned: bool
) -> None:
    recipe = LoraRecipe(bundle.load(model), 4, images=images, token=token, kind=kind, rank=2, model=model)
    assert [token in text and "into pieces" in text for text in recipe.warnings({})] == [True] * warned


@pytest.mark.slow
def test_it_learns_its_pictures(model: Path, images: Path, tmp_path: Path) -> None:
    chosen = settings(model, images, tmp_path / "run", steps=60, batch=12, lr=2e-2, log_every=10, warmup=5)
    session.train("lora", chosen)
    rows = record.read(tmp_path / "run")
    assert rows[-1]["velocity"] < 0.95 * rows[0]["velocity"]


@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_a_resumed_run_has_the_losses_of_an_unbroken_one(
    prior: float, model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eve_cli.training.recipes import lora as recipe

    monkeypatch.setattr(recipe, "CHUNK", 8)
    chosen = settings(model, images, tmp_path / "whole", save_every=2, log_every=1, prior=prior)
    session.train("lora", chosen)
    whole = record.read(tmp_path / "whole")
    assert ("_prior" in whole[0]) == bool(prior)
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken" / "checkpoints" / "step-00000004")
    again = session.resumed("lora", LoraSettings(out=tmp_path / "broken", resume=True))
    assert again == replace(chosen, out=tmp_path / "broken", resume=True)
    session.train("lora", again)
    assert [row["loss"] for row in record.read(tmp_path / "broken")] == [row["loss"] for row in whole]
    same = [lora.load(tmp_path / name / "lora").weights for name in ("whole", "broken")]
    assert all(torch.equal(tensor, same[1][name]) for name, tensor in same[0].items())


def test_the_command_prints_the_folder_alone(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "lora", "--model", str(model), "--images", str(images), "--token", "<toy>", "--steps", "1"]
    assert app.run([*words, "--out", str(tmp_path / "run"), "--batch", "2", "--sample-every", "0"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'run' / 'lora'}\n" and f"{images} as <toy>" in shown.err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("--token <toy>", 2, "give their folder with --images"),
        ("--images .", 2, "give one with --token"),
        ("--images . --token <toy> --model new", 2, "`new` is none"),
        ("--images . --token <toy> --kind thing", 2, "thing"),
        ("--images gone --token <toy>", 3, "gone is not a folder"),
        ("--images . --token <toy>", 3, "holds no picture"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: str,
    code: int,
    text: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = words.split()
    assert app.run(["train", "lora", *([] if "--model" in given else ["--model", str(model)]), *given]) == code
    shown = capsys.readouterr()
    assert text in shown.err and shown.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_the_settings_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--images"):
        LoraSettings(token="<toy>")
    with pytest.raises(InputError, match="not a folder"):
        folders.pictures([tmp_path / "gone"], "some")
