"""`eve plan`, `preview`, `batch`, `doctor` and `env` as people meet them."""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eve_cli.cli import checks
from eve_cli.cli.app import run
from eve_cli.cli.checks import CHECKS
from eve_cli.cli.doctor import shortened
from eve_cli.cli.flags import flags_of
from eve_cli.cli.options import command_line
from eve_cli.editing.request import EditRequest
from tests.clips import make_clip


@pytest.fixture
def desk(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a clip, the tiny model, and a past of its own."""
    monkeypatch.setenv("EVE_WEIGHTS", str(weights))
    monkeypatch.setenv("EVE_STATE", str(tmp_path.parent / f"{tmp_path.name}-state"))
    monkeypatch.setenv("EVE_CACHE", str(weights / "cache"))
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mkv", 6)
    yield tmp_path


SHORT = ["--steps", "1", "--window", "4"]


@pytest.mark.slow
def test_a_plan_is_told_and_writes_nothing(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "clip.mkv", "night", "--seed", "7", *SHORT]) == 0
    out, err = capsys.readouterr()
    assert err == "" and [path.name for path in desk.iterdir()] == ["clip.mkv"]
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert {"in", "plan", "work", "time", "needs", "disk", "out"} <= lines.keys()
    assert "network calls" in lines["work"] and "a short trial" in lines["time"] and "seed 7" in lines["plan"]
    assert run(["edit", "clip.mkv", "night", "--seed", "7", "--dry-run", "--json", *SHORT]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frames"] == 6 and len(found["windows"]) == 2 and found["fits"]
    assert found["seconds_low"] < found["seconds"] < found["seconds_high"] and found["output"] in lines["out"]


def test_after_an_edit_the_forecast_is_held_against_it(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for basis in ("no past run here", "1 past run here"):
        assert run(["edit", "clip.mkv", "night", "-o", "out.mp4", "--overwrite", *SHORT]) == 0
        lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().err.splitlines())
        assert basis in lines["needs"] and lines["time"].startswith("estimated") and ", actual" in lines["time"]


def test_a_plan_that_cannot_be_is_the_edit_s_own_mistake(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in (("gone.mp4 night", 3), ("clip.mkv night -o far/out.mp4", 2), ("clip.mkv night -m maxi", 4)):
        codes = [run([verb, *words.split()]) for verb in ("plan", "edit")]
        errors = capsys.readouterr().err.splitlines()
        assert codes == [code, code] and len(errors) == 2 and errors[0] == errors[1]


@pytest.mark.slow
def test_what_cannot_fit_has_its_own_code(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eve_cli.runtime import machine

    monkeypatch.setattr(machine, "free", lambda device: 1)
    assert run(["plan", "clip.mkv", "night", "--method", "copy", *SHORT]) == 5
    out, err = capsys.readouterr()
    assert "does not fit, even with vae-slices" in out and "try a shorter --window" in err


def test_a_preview_is_a_sheet_and_lists_make_a_page(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["clip.mkv", "a <b>red</b> car", "-q", *SHORT]
    assert run(["preview", *words, "--seed", "7", "-o", "sheet.png"]) == 0
    assert capsys.readouterr().out == "sheet.png\n" and not Path("sheet.html").exists()
    assert np.asarray(Image.open("sheet.png")).ndim == 3
    assert run(["preview", *words, "--guidance-scale", "2,3", "--seed", "7..8", "-o", "two.png", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [cell["values"] for cell in found["cells"]] == [
        {"seed": seed, "guidance_scale": scale} for seed in (7, 8) for scale in (2.0, 3.0)
    ]
    page = Path(found["page"]).read_text()
    assert "<b>red" not in page and page.count("data:video/mp4") == 5
    words = shlex.split(found["cells"][1]["command"])
    assert words[:4] == ["eve", "edit", "clip.mkv", "a <b>red</b> car"]
    assert run([*words[1:], "-o", "full.mp4"]) == 0
    assert "1 of 2 windows are reused from eve preview" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--guidance-scale two,3", "--guidance-scale two,3: give a number"),
        ("--seed 1..100", "make 100 combinations"),
        ("--guidance-scale 1,2 --steps 0,1", "steps must be at least 1, not 0"),
        ("-o sheet.jpg", "name a .png"),
        ("-o far/sheet.png", "far: this folder does not exist"),
        ("--codec av1", "--codec"),
    ],
)
def test_a_wrong_list_is_one_sentence(words: str, text: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["preview", "clip.mkv", "night", "-q", *words.split()]) == 2
    err = capsys.readouterr().err
    assert text in err and err.count("\n") == 1


def test_a_batch_says_what_it_did_and_goes_on_another_time(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.csv").write_text("input,instruction,output\nclip.mkv,night,a.mp4\ngone.mkv,night,b.mp4\n")
    words = ["batch", "m.csv", "-o", "out", *SHORT]
    assert run(words) == 6
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["status"] for line in lines] == ["done", "failed"] and lines[1]["exit_code"] == 3
    assert "row 2 (gone.mkv): gone.mkv: no such file" in err and "1 of 2 rows failed" in err
    make_clip(desk / "gone.mkv", 4)
    assert run(words) == 0
    assert [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()] == ["before", "done"]
    assert sorted(path.name for path in Path("out").glob("*.mp4")) == ["a.mp4", "b.mp4"]


def test_a_doctor_finds_nothing_wrong_here_and_says_what_is(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == list(CHECKS) and not any(line.startswith("fail") for line in lines)
    assert run(["doctor", "--model", "gone", "--json"]) == 7
    out, err = capsys.readouterr()
    assert {each["name"]: each["state"] for each in json.loads(out)}["model"] == "fail" and "1 of 9 checks" in err


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_that_breaks_has_failed_and_stops_no_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> tuple[str, str]:
        raise RuntimeError("broken")

    for other in CHECKS:
        monkeypatch.setitem(CHECKS, other, lambda: ("ok", "fine"))
    monkeypatch.setattr(checks, "model", lambda name: ("ok", "fine"))
    monkeypatch.setattr(checks, "model", broken) if name == "model" else monkeypatch.setitem(CHECKS, name, broken)
    found = {each.name: each for each in checks.examine()}
    assert [each.name for each in found.values() if each.state == "fail"] == [name]
    assert "RuntimeError: broken" in found[name].text


def test_env_names_no_folder_of_the_user(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["env"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("eve: ") and "EVE_CACHE: set, elsewhere" in text
    assert str(Path.home()) not in text and str(desk) not in text and os.environ["EVE_CACHE"] not in text
    assert shortened(str(Path.home() / "models")) == "~/models"
    assert run(["env", "--json"]) == 0 and "torch" in json.loads(capsys.readouterr().out)


def test_a_command_line_gives_its_settings_back() -> None:
    asked = EditRequest(input="-a b.mp4", instruction='say "hi" & go', seed=0, guidance_scale=2.0, side_by_side=True)
    words = shlex.split(command_line("edit", flags_of(asked.changed(reuse_preview=False))))
    assert words[:2] == ["eve", "edit"] and words[-3:] == ["--", "-a b.mp4", 'say "hi" & go']
    assert {"--seed", "--guidance-scale", "--side-by-side", "--no-reuse-preview"} == {
        w for w in words[2:-3] if w[0] == "-"
    }
