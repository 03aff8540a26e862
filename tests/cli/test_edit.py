"""`eve edit` as people meet it: one result on stdout, one sentence for each mistake, nothing left behind."""

import hashlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from eve_cli.cli.app import run
from eve_cli.methods.options import CaptionedOptions
from eve_cli.methods.registry import METHODS
from tests.clips import make_clip, read_clip

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def desk(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a clip and the tiny model."""
    monkeypatch.setenv("EVE_WEIGHTS", str(weights))
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mkv", 6)
    yield tmp_path


@pytest.mark.slow
def test_the_result_is_on_stdout_and_the_story_on_stderr(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["edit", "clip.mkv", "make it sparkling snowy", "--seed", "7"]) == 0
    out, err = capsys.readouterr()
    result = Path(out.strip())
    assert result.name.startswith("clip.make-it-sparkling-snowy.") and result.is_file()
    assert [line.split()[0] for line in err.splitlines()][:2] == ["in", "note"]
    assert '"sparkling"' in err and "seed 7" in err and "10 fps · 6 frames · 96×64" in err
    assert sorted(path.suffix for path in desk.iterdir()) == [".json", ".mkv", ".mp4"]


def test_json_is_one_object_and_rerun_repeats_it(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["edit", "clip.mkv", "add a red car", "-o", "a.mp4", "--format", "json", "-q"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == "" and found["frames"] == 6 and found["windows"] == 2 and found["unknown_words"] == []
    assert run(["rerun", found["run"], "-o", "b.mp4"]) == 0
    assert capsys.readouterr().out == "b.mp4\n"
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_on_a_real_model(method: str, desk: Path) -> None:
    words = ["edit", "clip.mkv", "night", "-q", "-o", "out.mp4", "--method", method, "--steps", "2", "--task", "global"]
    if issubclass(METHODS[method].options, CaptionedOptions):
        words += ["--source-caption", "a car", "--caption", "a car at night"]
    assert run(words) == 0
    assert read_clip(desk / "out.mp4").shape == read_clip(desk / "clip.mkv").shape


def test_a_config_file_fills_the_flags_and_flags_win(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_text('seed = 5\nmethod = "copy"\noutput = "from-file.mp4"\n')
    assert run(["edit", "clip.mkv", "x", "--config", "c.toml", "--seed", "6", "--format", "json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seed"] == 6 and found["output"] == "from-file.mp4"


def test_no_change_is_said(desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.methods import copy, eve

    monkeypatch.setattr(eve.Eve, "edit", copy.Copy.edit)
    assert run(["edit", "clip.mkv", "night", "-o", "out.mp4"]) == 0
    assert "almost nothing changed; try" in capsys.readouterr().err


def empty_folder(desk: Path) -> None:
    (desk / "shots").mkdir()


def full_folder(desk: Path) -> None:
    (desk / "shots").mkdir()
    (desk / "shots" / "mine.txt").write_text("mine")


def text_file(desk: Path) -> None:
    (desk / "text.mp4").write_text("<!doctype html><html>not a video</html>" * 50)


def no_bytes(desk: Path) -> None:
    (desk / "empty.mp4").touch()


def existing(desk: Path) -> None:
    (desk / "there.mp4").write_bytes(b"kept")


def bad_toml(desk: Path) -> None:
    (desk / "bad.toml").write_text("stepps = 3\n")


def other_json(desk: Path) -> None:
    (desk / "other.json").write_text("[1]")


def picture(desk: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(desk / "wall.png")


def text_as_picture(desk: Path) -> None:
    (desk / "text.png").write_text("not a picture" * 50)


def half_a_picture(desk: Path) -> None:
    picture(desk)
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(desk / "half.jpg", quality=90)
    (desk / "half.jpg").write_bytes((desk / "half.jpg").read_bytes()[:1500])


def other_lora(desk: Path) -> None:
    """A LoRA for another backbone."""
    (desk / "toy").mkdir()
    weights = desk / "toy" / "pytorch_lora_weights.safetensors"
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file({f"{name}.lora_A.weight": torch.ones(2, 32), f"{name}.lora_B.weight": torch.ones(32, 2)}, weights)
    card = {"format": "eve-lora", "version": 1, "token": "<toy>", "kind": "subject", "rank": 2, "model": "maxi"}
    card |= {"backbone": "0" * 64, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "training": {}}
    (desk / "toy" / "lora.json").write_text(json.dumps(card))


def damaged_lora(desk: Path) -> None:
    other_lora(desk)
    (desk / "toy" / "pytorch_lora_weights.safetensors").write_bytes(b"")


def nothing(desk: Path) -> None:
    pass


MISTAKES: list[tuple[str, Callable[[Path], None], str, int, str]] = [
    ("missing file", nothing, "edit gone.mp4 x", 3, "gone.mp4: no such file"),
    ("folder without images", empty_folder, "edit shots x", 3, "no images found"),
    ("text as mp4", text_file, "edit text.mp4 x", 3, "not a video"),
    ("zero bytes", no_bytes, "edit empty.mp4 x", 3, "empty.mp4"),
    ("address", nothing, "edit https://a.b/c.mp4 x", 2, "eve reads files, not addresses"),
    ("pipe", nothing, "edit - x", 2, "save it to a file first"),
    ("no instruction", nothing, "edit clip.mkv", 2, "INSTRUCTION"),
    ("empty instruction", nothing, "edit clip.mkv _", 2, "The instruction is empty"),
    ("unknown flag", nothing, "edit clip.mkv x --colour", 2, "--colour"),
    ("no number", nothing, "edit clip.mkv x --steps many", 2, "--steps"),
    ("no steps", nothing, "edit clip.mkv x --steps 0", 2, "--steps"),
    ("large overlap", nothing, "edit clip.mkv x --window 4 --overlap 4", 2, "--overlap 4 must be smaller"),
    ("end before start", nothing, "edit clip.mkv x --start 2 --end 1", 2, "must come after"),
    ("start past the end", nothing, "edit clip.mkv x --start 99", 3, "past the end"),
    ("unknown task", nothing, "edit clip.mkv x --task paint", 2, "--task paint is unknown"),
    ("unknown method", nothing, "edit clip.mkv x --method evee", 2, "Did you mean eve?"),
    ("unknown codec", nothing, "edit clip.mkv x --codec h266", 2, "--codec h266 is unknown"),
    ("lossless hevc", nothing, "edit clip.mkv x --codec hevc --lossless", 2, "--lossless goes with"),
    ("no picture", nothing, "edit gone.png x", 3, "gone.png: no such file"),
    ("text as png", text_as_picture, "edit text.png x", 3, "text.png: cannot be read as an image"),
    ("half a picture", half_a_picture, "edit half.jpg x", 3, "half.jpg: cannot be read as an image"),
    ("picture to video", picture, "edit wall.png x -o x.mp4", 2, "wall.png is a picture, so the result is one"),
    ("video to picture", nothing, "edit clip.mkv x -o x.png", 2, "the result cannot be the picture x.png"),
    ("picture to bmp", picture, "edit wall.png x -o x.bmp", 2, "name a .png, .jpg or .webp"),
    ("part of a picture", picture, "edit wall.png x --end 1", 2, "--end is for videos, and wall.png is a picture"),
    ("codec of a picture", picture, "edit wall.png x --codec av1", 2, "--codec is for videos"),
    ("no lora", nothing, "edit clip.mkv x --lora gone", 4, "There is no LoRA at gone"),
    ("folder without lora", empty_folder, "edit clip.mkv x --lora shots", 4, "shots is not a LoRA of eve"),
    ("damaged lora", damaged_lora, "edit clip.mkv x --lora toy", 4, "pytorch_lora_weights.safetensors is damaged"),
    ("lora of another", other_lora, "edit clip.mkv x --lora toy", 4, "was made for maxi (backbone 0000"),
    ("lora and sdedit", other_lora, "edit clip.mkv x --lora toy --method sdedit", 2, "--lora goes with --method eve"),
    ("unknown device", nothing, "edit clip.mkv x --device abacus", 2, "--device abacus"),
    ("unknown model", nothing, "edit clip.mkv x --model maxi", 4, "There is no model named 'maxi'"),
    ("unknown command", nothing, "edti clip.mkv x", 2, "Did you mean 'edit'?"),
    ("unknown type", nothing, "edit clip.mkv x -o out.xyz", 2, "unknown video type"),
    ("codec and type", nothing, "edit clip.mkv x -o out.mp4 --codec ffv1", 2, "does not go into"),
    ("no output folder", nothing, "edit clip.mkv x -o far/out.mp4", 2, "far: this folder does not exist"),
    ("output is a folder", full_folder, "edit clip.mkv x -o shots", 2, "is a folder"),
    ("output exists", existing, "edit clip.mkv x -o there.mp4", 2, "there.mp4: exists already"),
    ("no config", nothing, "edit clip.mkv x --config gone.toml", 2, "gone.toml: cannot read"),
    ("unknown setting", bad_toml, "edit clip.mkv x --config bad.toml", 2, "did you mean steps?"),
    ("nothing to resume", empty_folder, "resume shots", 2, "no run to resume"),
    ("rerun of nothing", nothing, "rerun gone.json", 2, "gone.json: cannot read"),
    ("rerun of something else", other_json, "rerun other.json", 2, "not a run.json"),
]


@pytest.mark.parametrize(
    ("prepare", "words", "code", "text"), [row[1:] for row in MISTAKES], ids=[r[0] for r in MISTAKES]
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    prepare: Callable[[Path], None], words: str, code: int, text: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(desk)
    before = contents(desk)
    assert run([word.replace("_", " ") if word == "_" else word for word in words.split()]) == code
    out, err = capsys.readouterr()
    assert out == "" and text in err
    assert err.startswith("error ") and err.count("\n") == 1 and "Traceback" not in err
    assert contents(desk) == before


@pytest.mark.parametrize("name", ["zero_bytes.webm", "truncated_no_moov.mp4", "audio_only.ogg"])
def test_real_files_that_are_no_video(
    name: str, desk: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["edit", str(shared_data / "media" / name), "night"]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(contents(desk)) == ["clip.mkv"]


def test_a_full_disk_is_one_sentence_and_leaves_no_half_result(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_clip(desk / "clip.mkv", np.random.default_rng(0).integers(0, 256, (6, 3, 256, 256), np.uint8))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, old[1]))
    try:
        code = run(["edit", "clip.mkv", "night", "-o", "out.mp4", "-q", "--method", "copy"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    err = capsys.readouterr().err.splitlines()
    assert code == 2 and err[-1].startswith("error ") and "Traceback" not in "".join(err)
    assert "disk full" in err[-1] or "too large" in err[-1]
    assert {path.split("/")[0] for path in contents(desk)} == {"clip.mkv", "out.eve-run"}
    assert "eve resume out.eve-run" in err[0]
    assert run(["resume", "out.eve-run", "-q"]) == 0
    assert sorted(contents(desk)) == ["clip.mkv", "out.mp4", "out.run.json"]


def test_a_stopped_edit_says_how_to_go_on(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eve_cli.editing import pipeline

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "render", stop)
        assert run(["edit", "clip.mkv", "night", "-o", "out.mp4", "-q", "--steps", "1"]) == 130
    assert "eve resume out.eve-run" in capsys.readouterr().err
    assert run(["edit", "clip.mkv", "night", "-o", "out.mp4", "-q"]) == 2
    assert "eve resume out.eve-run" in capsys.readouterr().err
    assert run(["resume", "out.eve-run", "-q"]) == 0


@pytest.mark.slow
def test_debug_shows_where_and_the_program_exits_with_the_code(desk: Path) -> None:
    words = [sys.executable, "-m", "eve_cli", "edit", "gone.mp4", "x"]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*words, "--debug"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1 and "Traceback" in done.stderr and done.stdout == ""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, by its path in it; empty folders end in a slash."""
    return {
        str(path.relative_to(folder)) + ("/" if path.is_dir() else ""): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


@pytest.mark.slow
def test_the_path_from_the_command_line_to_the_networks_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 10 frames of this package's own on the stack from `main` to the call of a UNet, in every stage."""
    import traceback

    from eve_cli.cli import app
    from eve_cli.models.inference.fast import Fast

    unet, depths = Fast.unet, []

    def counted(self: Fast, *args: object, **settings: object) -> object:
        files = [frame.filename.replace("\\", "/") for frame in traceback.extract_stack()[:-1]]
        own = [file for file in files if "/eve_cli/" in file]
        if not any("/estimate/" in file for file in own):  # an edit does not need its estimate
            depths.append(len(own))
        return unet(self, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(Fast, "unet", counted)
    clip = make_clip(tmp_path / "clip.mkv", 3)
    with pytest.raises(SystemExit) as done:
        app.main(["edit", str(clip), "make it snowy", "--seed", "1", "-q", "-o", str(tmp_path / "out.mp4")])
    assert done.value.code == 0 and len(set(depths)) >= 1
    assert max(depths) <= 10
