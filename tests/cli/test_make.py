"""`eve generate`, `eve subject` and `eve animate`: a video comes out, the same for the same seed, or one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eve_cli.cli import app
from eve_cli.generation import generate
from eve_cli.models.editor import Editor
from tests.clips import read_clip
from tests.tiny import tiny_bundle, tiny_parts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def run(*words: str) -> int:
    return app.run([*words, "--seed", "3", "--overwrite"])


def test_a_text_becomes_a_video_of_the_model_s_size(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("generate", "a red car", "--model", model, "--steps", "2", "--frames", "5", "--codec", "ffv1")
    assert run(*words, "-o", "a.mkv") == 0
    assert run(*words, "-o", "b.mkv") == 0
    assert capsys.readouterr().out.split() == ["a.mkv", "b.mkv"]
    assert read_clip(Path("a.mkv")).shape == (5, 3, 32, 32)
    assert np.array_equal(read_clip(Path("a.mkv")), read_clip(Path("b.mkv")))


def test_a_longer_video_begins_as_a_shorter_one_does() -> None:
    editor = Editor(tiny_parts())
    how = {"seed": 1, "steps": 2, "guidance_scale": 2.0}
    short, long = (generate.text_to_video(editor, "a red car", count, **how) for count in (4, 9))
    assert long.shape[0] == 9 and torch.equal(long[:4], short)


def test_the_video_model_goes_on_from_the_backbone_s_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    editor, given = Editor(tiny_parts()), []
    plain = editor.guided_video
    monkeypatch.setattr(
        editor, "guided_video", lambda text, first, **how: given.append(first) or plain(text, first, **how)
    )
    generate.text_to_video(editor, "a red car", 4, seed=1, steps=2, guidance_scale=1.0)
    generate.text_to_video(editor, "snowy night", 4, seed=1, steps=2, guidance_scale=1.0)
    assert given[0].shape == (1, 4, 4, 4) and not torch.equal(given[0], given[1])


def test_a_subject_is_learned_from_pictures_once(model: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "0.txt").write_text("a <toy> in the snow")
    words = ("--model", model, "--steps", "1", "--tune-steps", "2", "--tune-lr", "0.1", "--codec", "ffv1")
    assert run("subject", "0.png", "1.png", "2.png", "a <toy> and a red car", *words, "-o", "with.mkv") == 0
    assert "finetune" in capsys.readouterr().err
    assert run("subject", "0.png", "1.png", "2.png", "a <toy>", *words, "-o", "again.mkv") == 0
    assert "finetune" not in capsys.readouterr().err
    assert run("generate", "a <toy> and a red car", *words[:4], "--codec", "ffv1", "-o", "without.mkv") == 0
    assert not np.array_equal(read_clip(Path("with.mkv")), read_clip(Path("without.mkv")))
    assert len(list((here / "cache" / "learned").iterdir())) == 1


@pytest.mark.slow
def test_a_picture_is_animated_at_its_own_size_and_what_was_animated_is_kept(model: str, here: Path) -> None:
    words = ("--model", model, "--steps", "1", "--tune-steps", "1", "--frames", "6", "--codec", "ffv1")
    assert run("animate", "0.png", "a red car", "--camera", "zoom-in", *words, "-o", "out.mkv") == 0
    coarse, result = read_clip(Path("out.coarse.mkv")), read_clip(Path("out.mkv"))
    assert coarse.shape == result.shape == (6, 3, 40, 60)
    picture = np.asarray(Image.open("0.png")).transpose(2, 0, 1)
    assert np.array_equal(coarse[0], picture) and not np.array_equal(coarse[-1], picture)
    kept = json.loads(Path("out.run.json").read_text())["settings"]
    assert kept["method"] == "dreamix" and kept["alpha"] == 0.0 and kept["caption"] == "a red car"
    assert app.run(["rerun", "out.run.json", "-o", "again.mkv", "-q"]) == 0
    assert np.array_equal(read_clip(Path("again.mkv")), result)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["generate", " "], 2, "The prompt is empty"),
        (["generate", "a car", "-o", "no/where.mp4"], 2, "does not exist"),
        (["generate", "a car", "-o", "a.png"], 2, "a.png"),
        (["generate", "a car", "--codec", "mpeg"], 2, "--codec mpeg is unknown"),
        (["generate", "a car", "--model", "nowhere"], 4, "nowhere"),
        (["subject", "0.png", "a car"], 2, "needs one token"),
        (["subject", "0.png", "a <toy> and a <hat>"], 2, "needs one token"),
        (["subject", "gone", "a <toy>"], 3, "is not a folder"),
        (["subject", "0.png", "gone.png", "a <toy>"], 3, "gone.png is no picture"),
        (["animate", "gone.png", "a car"], 3, "gone.png"),
        (["animate", "0.png", "a car", "--camera", "spin"], 2, "--camera spin is unknown"),
        (["animate", "0.png", "a car", "--camera", "spin.json"], 3, "spin.json: cannot be read"),
        (["animate", "0.png", "a car", "--model", "nowhere"], 4, "nowhere"),
    ],
)
def test_what_cannot_be_made_is_one_sentence_and_leaves_nothing(
    words: list[str], code: int, told: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.iterdir())
    assert app.run(words) == code
    shown = capsys.readouterr().err
    assert told in shown and shown.count("\n") == 1
    assert sorted(here.iterdir()) == before
