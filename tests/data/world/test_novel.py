"""Pictures of what no model of the world has seen: repeatable, captioned, and truly new."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from eve_cli.cli import app
from eve_cli.data import folders
from eve_cli.data.world import novel
from eve_cli.data.world.vocabulary import vocabulary


@pytest.mark.parametrize("kind", novel.SETS)
def test_pictures_are_a_function_of_the_seed_and_captions_name_the_token(kind: str) -> None:
    frames, captions = novel.SETS[kind]("<toy>", 6, 32, 1)
    assert frames.shape == (6, 3, 32, 32) and frames.min() >= 0 and frames.max() <= 1
    assert all(text.count("<toy>") == 1 for text in captions)
    again, same = novel.SETS[kind]("<toy>", 6, 32, 1)
    assert torch.equal(frames, again) and captions == same
    assert not torch.equal(frames, novel.SETS[kind]("<toy>", 6, 32, 2)[0])
    words = {word.strip(":,") for text in captions for word in text.replace("<toy>", "").split()}
    assert words <= set(vocabulary())


@pytest.mark.parametrize("kind", ["subject", "ball"])
def test_the_subject_is_in_every_picture(kind: str) -> None:
    """Teal is no colour of the world."""
    frames = novel.SETS[kind]("<toy>", 12, 64)[0]
    red, green, blue = frames.unbind(1)
    teal = (blue > 2 * red) & (green > 0.6 * blue) & ((green - blue).abs() < 0.25)
    assert (teal.flatten(1).sum(1) > 40).all()


def test_the_style_is_between_two_inks() -> None:
    frames = novel.style("<ink>", 4, 64)[0]
    ink, paper = (torch.tensor(value).view(3, 1, 1) for value in (novel.INK, novel.PAPER))
    share = ((frames - ink) * (paper - ink)).sum(1, keepdim=True) / (paper - ink).square().sum()
    assert (ink + share * (paper - ink) - frames).abs().max() < 1e-5
    assert share.min() < 0.05 and share.max() > 0.95


def test_the_command_writes_a_folder_to_learn_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "novel", "style", "--out", str(tmp_path / "ink"), "--token", "<ink>", "-n", "2", "--side", "32"]
    assert app.run(words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'ink'}\n"
    found = folders.scan(tmp_path / "ink", deep=True)
    assert len(found.items) == 2 and not found.dropped and all("<ink>" in item.caption for item in found.items)
    with Image.open(found.items[0].path) as image:
        assert image.size == (32, 32)
    assert app.run(words) == 2 and "not empty" in capsys.readouterr().err
    assert app.run(["data", "novel", "cat", "--out", str(tmp_path / "car")]) == 2
