"""Names and places of results: every name that a file can have, one record a result, one process a run."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eve_cli.editing import batch, batch_rows, pipeline
from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.request import EditRequest, default_output
from eve_cli.errors import EveError, InputError, OutputError, UsageError
from eve_cli.media.decode import VideoReader
from tests.clips import make_clip, read_clip
from tests.fakes import FakeEditor, fake_load

BYTES = os.fsdecode(b"caf\xe9")
"""A name in Latin-1."""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mkv", 3)
    return tmp_path


def request(source: str = "clip.mkv", output: str | None = "out.mp4", **values: Any) -> EditRequest:
    usual = {"input": source, "instruction": "darker", "output": Path(output) if output else None, "seed": 3}
    return EditRequest.of(usual | values, "test")


def edit(*names: str | None, **values: Any) -> pipeline.EditResult:
    return pipeline.edit(request(*names, **values), load=fake_load())


def interrupted(monkeypatch: pytest.MonkeyPatch, output: str, **values: Any) -> None:
    """An edit that ends when its windows are finished."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline, "render", stop)
        edit("clip.mkv", output, **values)


@pytest.mark.parametrize("stem", ["漢" * 80, "a" * 250, "é" * 120, f"{BYTES}{'x' * 200}"])
def test_a_long_name_of_the_input_is_cut_in_that_of_the_result(stem: str, desk: Path) -> None:
    (desk / "clip.mkv").rename(desk / f"{stem}.mkv")
    result = edit(f"{stem}.mkv", None, run_dir=Path("run"))
    assert result.output.is_file() and result.record.is_file()
    assert len(os.fsencode(result.output.name)) < 150 and os.fsencode(stem)[:3] == os.fsencode(result.output.name)[:3]


@pytest.mark.parametrize(
    ("source", "name"),
    [("../.hidden.mp4", "hidden.x."), ("..", "clip.x."), ("a\nb\x1b[0m.mp4", "ab[0m.x."), (f"{BYTES}.mp4", "caf.x.")],
)
def test_a_default_name_is_visible_and_printable(source: str, name: str) -> None:
    assert default_output(EditRequest(source, "x")).name.startswith(name)


def test_an_own_name_that_is_too_long_is_refused_before_any_work(desk: Path) -> None:
    for name, reason in (("a" * 243 + ".mp4", "this name has 247 bytes"), ("漢" * 90 + ".mp4", "name too long")):
        with pytest.raises(OutputError, match=reason):
            pipeline.edit(request(output=name), load=lambda spec: pytest.fail("a model was loaded"))
    with pytest.raises(OutputError, match="null character"):
        edit("clip.mkv", "a\0.mp4")
    with pytest.raises(InputError, match="file name too long"):
        edit("漢" * 90 + ".mp4")
    assert edit("clip.mkv", "a" * 242 + ".mp4").output.is_file()
    assert sorted(path.name[-8:] for path in desk.iterdir()) == ["aaaa.mp4", "clip.mkv", "run.json"]


def test_a_name_that_is_no_utf8_is_edited_in_every_place(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk / BYTES).mkdir()
    source, output = f"{BYTES}/{BYTES}.mkv", f"{BYTES}/{BYTES}.out.mp4"
    (desk / "clip.mkv").rename(desk / source)
    result = edit(source, output)
    assert len(read_clip(result.output)) == 3
    assert "\\udce9" in result.record.read_text()
    again = pipeline.rerun(result.record, Path("again.mp4"), False, load=fake_load())
    assert again.output.read_bytes() == result.output.read_bytes()
    result.output.unlink()
    (desk / source).rename(desk / "clip.mkv")
    interrupted(monkeypatch, output)
    assert pipeline.resume(Path(f"{BYTES}/{BYTES}.out.eve-run"), load=fake_load()).output.is_file()


def test_no_name_stops_the_other_rows_of_a_batch(desk: Path) -> None:
    for name in (BYTES, "b", "漢" * 80):
        make_clip(desk / f"{name}.mkv", 3)
    (desk / "m.jsonl").write_text(
        "\n".join(
            json.dumps({"input": name, "method": "copy"}) for name in ("a\0.mp4", "\ud800.mp4", "b" * 300, "b.mkv")
        )
    )
    (desk / "out").mkdir()
    for source, states in ((desk, ["done"] * 4), (desk / "m.jsonl", ["failed"] * 3 + ["done"])):
        rows = batch_rows.read(source, "darker", {}, desk / "out")
        lines = list(batch.run(rows, desk / "out" / "results.jsonl", load=fake_load()))
        assert [line["status"] for line in lines] == states
        assert not any("Unexpected" in line.get("error", "") for line in lines)
    assert len((desk / "out" / "results.jsonl").read_bytes().decode().split("\n")) == 9
    rows = batch_rows.read(desk, "darker", {}, desk / "out")
    again = batch.run(rows, desk / "out" / "results.jsonl", load=fake_load())
    assert [line["status"] for line in again] == ["before"] * 4


def test_a_file_system_without_permissions_loses_no_edit(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for call in ("chmod", "link", "utime"):
        monkeypatch.setattr(os, call, refused)
    assert edit().output.is_file()


def test_a_second_run_of_a_result_is_refused_and_touches_nothing(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, plain = list[str](), FakeEditor.guided_student

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()}

    def others(self: FakeEditor, *words: Any, **settings: Any) -> Any:
        before = files()
        tries: list[Callable[[], object]] = [
            lambda: edit(),
            lambda: edit(overwrite=True),
            lambda: pipeline.resume(Path("out.eve-run"), load=fake_load()),
        ]
        for each in tries:
            with pytest.raises(
                UsageError, match=f"out.eve-run: in use by process {os.getpid()} on .* since "
            ) as refused:
                each()
            inside.append(str(refused.value))
        assert files() == before
        return plain(self, *words, **settings)

    monkeypatch.setattr(FakeEditor, "guided_student", others)
    edit()
    assert len(inside) == 3 and sorted(each.name for each in desk.iterdir()) == ["clip.mkv", "out.mp4", "out.run.json"]


def test_a_second_batch_with_the_same_results_is_refused(desk: Path) -> None:
    rows = batch_rows.read(desk, "darker", {}, desk)
    first = batch.run(rows, desk / "results.jsonl", load=fake_load())
    assert next(first)["status"] == "done"
    with pytest.raises(UsageError, match=r"results\.jsonl: in use by process"):
        next(batch.run(rows, desk / "results.jsonl", again=True, load=fake_load()))
    assert not list(first) and not list(desk.glob(".*"))
    assert [line["status"] for line in batch.run(rows, desk / "results.jsonl", load=fake_load())] == ["before"]
    again = batch.run(rows, desk / "results.jsonl", again=True, load=fake_load())
    assert [line["status"] for line in again] == ["done"]


def test_a_record_and_a_run_folder_belong_to_one_result(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("shot.mp4", "shot.mkv", "shot.webm")
    results = [edit("clip.mkv", name, seed=number) for number, name in enumerate(names)]
    assert [each.record.name for each in results] == ["shot.run.json", "shot.mkv.run.json", "shot.webm.run.json"]
    for number, each in enumerate(results):
        record = json.loads(each.record.read_text())
        assert (record["output"], record["seed"]) == (each.output.name, number)
    assert edit("clip.mkv", "shot.mp4", seed=7, overwrite=True).record.name == "shot.run.json"
    assert edit("clip.mkv", "shot.mkv", seed=8, overwrite=True).record.name == "shot.mkv.run.json"
    assert len(list(desk.glob("*.run.json"))) == 3
    interrupted(monkeypatch, "new.mp4")
    assert edit("clip.mkv", "new.mkv", overwrite=True).output.is_file()
    assert pipeline.resume(Path("new.eve-run"), load=fake_load()).record.name == "new.mp4.run.json"


def test_a_file_that_is_no_record_is_not_replaced(desk: Path) -> None:
    (desk / "out.run.json").write_text("mine")
    assert edit().record.name == "out.mp4.run.json" and (desk / "out.run.json").read_text() == "mine"


def test_a_folder_of_frames_has_no_hidden_ones(desk: Path) -> None:
    from PIL import Image

    (desk / "frames").mkdir()
    for number in range(3):
        Image.new("RGB", (48, 32), (80 * number, 0, 0)).save(desk / "frames" / f"frame_{number}.png")
        (desk / "frames" / f"._frame_{number}.png").write_bytes(b"\0\5\x16\7Mac OS X")
    (desk / "frames" / "folder.png").mkdir()
    assert edit("frames").plan.frames == 3


def test_a_batch_takes_what_an_edit_opens_and_says_what_it_passes_over(desk: Path) -> None:
    folder = desk / "clips"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.mkv", "b.MTS", "c.m2ts", "d.unusual", ".hidden.mkv"):
        (folder / name).write_bytes((desk / "clip.mkv").read_bytes())
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("no video\n")
    (folder / "data.bin").write_bytes(bytes(range(256)) * 8)
    notes: list[str] = []
    rows = batch_rows.read(folder, "darker", {}, desk, notes.append)
    assert [Path(row.id).name for row in rows] == ["a.mkv", "b.MTS", "broken.mp4", "c.m2ts", "d.unusual"]
    assert notes == ["passed over, no video and no picture: data.bin, notes.txt, sub/"]


@pytest.mark.parametrize("name", ["p.mp4", "p.png", "clips/p.mp4"])
def test_a_pipe_is_refused_at_once(name: str, desk: Path) -> None:
    (desk / "clips").mkdir()
    os.mkfifo(desk / name)
    with pytest.raises(InputError, match="is a named pipe, and a clip is read several times; save it to a file first"):
        edit(name, None)
    with pytest.raises(EveError):
        batch_rows.read(desk / "clips", "darker", {}, desk)


def test_a_tilde_is_the_home_folder_or_a_plain_name(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(desk / "home"))
    (desk / "home").mkdir()
    (desk / "clip.mkv").rename(desk / "home" / "clip.mkv")
    assert edit("~/clip.mkv", "~c.mp4").output == Path("~c.mp4")
    assert edit("~c.mp4", "~/out.mp4").output == desk / "home" / "out.mp4"
    assert (desk / "home" / "out.run.json").is_file()


def test_what_the_model_does_not_read_is_in_the_plan_and_the_record(desk: Path) -> None:
    long = "keep the red car " * 5 + "make it snowy"
    result = edit(instruction=long)
    assert result.plan.unread == ("make it snowy",)
    assert json.loads(result.record.read_text())["unread"] == ["make it snowy"]
    content = result.plan.as_json()
    assert EditPlan.from_json(content, "plan.json") == result.plan
    assert EditPlan.from_json({k: v for k, v in content.items() if k != "unread"}, "plan.json").unread == ()
    assert edit(output="b.mp4", method="copy", instruction=long).plan.unread == ()


@pytest.mark.parametrize("name", ["start", "end", "guidance_scale", "cfg_end"])
@pytest.mark.parametrize("number", [float("inf"), float("nan"), float("-inf")])
def test_no_setting_takes_a_number_that_is_not_finite(name: str, number: float) -> None:
    with pytest.raises(UsageError, match=f"{name} must be a finite number"):
        request(**{name: number})


def test_a_seed_that_no_generator_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="--seed 9223372036854775808 is too large"):
        request(seed=2**63)


def test_an_instruction_that_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="is not text in UTF-8"):
        request(instruction=BYTES)


@pytest.mark.parametrize("name", ["frames/", "frames"])
def test_a_name_without_an_ending_is_a_folder_of_pictures(name: str, desk: Path) -> None:
    result = edit("clip.mkv", name, method="copy")
    assert [path.name for path in sorted(Path("frames").iterdir())] == [f"frame_{n:06}.png" for n in range(1, 4)]
    assert np.array_equal(np.stack([frame.rgb for frame in VideoReader("frames")]), read_clip(Path("clip.mkv")))
    assert result.record == Path("frames.run.json") and result.record.is_file()
    with pytest.raises(OutputError, match="is a folder with content"):
        edit("clip.mkv", name, method="copy")
    Path("frames/notes.txt").write_text("mine")
    edit("clip.mkv", name, method="copy", overwrite=True)
    assert Path("frames/notes.txt").read_text() == "mine"


def test_a_folder_of_pictures_has_the_rate_that_is_named(desk: Path) -> None:
    edit("clip.mkv", "frames", method="copy")
    edit("frames", "slow.mp4", method="copy", fps=5)
    edit("frames", "usual.mp4", method="copy")
    rates = [VideoReader(name).info.fps for name in ("slow.mp4", "usual.mp4")]
    assert rates == [5, 25]
    with pytest.raises(UsageError, match="--fps is for a folder of pictures"):
        edit("clip.mkv", "other.mp4", method="copy", fps=5)


def test_an_avif_is_a_picture(desk: Path) -> None:
    Image.fromarray(read_clip(Path("clip.mkv"))[0].transpose(1, 2, 0)).save("a.avif")
    assert edit("a.avif", None, method="copy").output.suffix == ".avif"
