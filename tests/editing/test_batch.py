"""A batch goes on whatever happens to a row, and does nothing twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from eve_cli.editing import batch, batch_rows, pipeline
from eve_cli.errors import EveError, InputError, ModelError, UsageError
from eve_cli.models.spec import ModelSpec
from tests.clips import make_clip
from tests.fakes import FakeEditor, fake_load


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        make_clip(tmp_path / f"{name}.mkv", 5)
    (tmp_path / "out").mkdir()
    return tmp_path


def rows(desk: Path, *lines: dict[str, Any], **shared: Any) -> list[batch_rows.Row]:
    path = desk / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return batch_rows.read(path, None, {"codec": "h264"} | shared, desk / "out")


def run(desk: Path, found: list[batch_rows.Row], **options: Any) -> list[dict[str, Any]]:
    return list(batch.run(found, desk / "out" / "results.jsonl", **({"load": fake_load(noisy=0.1)} | options)))


def test_rows_fail_alone_and_are_tried_again(desk: Path) -> None:
    asked = rows(
        desk,
        {"input": "one.mkv", "instruction": "darker", "id": "a"},
        {"input": "gone.mkv", "instruction": "darker"},
        {"input": "one.mkv", "instruction": "night", "stepps": 3},
        {"input": "two.mkv", "instruction": "snowy", "seed": 7, "guidance-scale": 3},
    )
    lines = run(desk, asked)
    assert [line["status"] for line in lines] == ["done", "failed", "failed", "done"]
    assert "no such file" in lines[1]["error"] and "did you mean steps" in lines[2]["error"]
    assert lines[3]["seed"] == 7 and lines[3]["unknown_words"] == ["snowy"] and lines[0]["id"] == "a"
    assert all(Path(lines[i]["output"]).is_file() for i in (0, 3))
    kept = [json.loads(line) for line in (desk / "out" / "results.jsonl").read_text().splitlines()]
    assert kept == lines
    make_clip(desk / "gone.mkv", 3)
    before = Path(lines[0]["output"]).stat().st_mtime_ns
    assert [line["status"] for line in run(desk, asked)] == ["before", "done", "failed", "before"]
    assert Path(lines[0]["output"]).stat().st_mtime_ns == before


def test_a_row_is_done_again_where_its_settings_or_its_result_are_not_the_same(desk: Path) -> None:
    asked = {"input": "one.mkv", "instruction": "darker", "output": "a.mp4", "seed": 1}
    assert [line["status"] for line in run(desk, rows(desk, asked))] == ["done"]
    assert [line["status"] for line in run(desk, rows(desk, asked | {"seed": 2}))] == ["done"]
    (desk / "out" / "a.mp4").unlink()
    assert [line["status"] for line in run(desk, rows(desk, asked | {"seed": 2}))] == ["done"]


def test_an_interrupted_row_is_gone_on_with(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = rows(desk, {"input": "one.mkv", "instruction": "darker"}, {"input": "two.mkv", "instruction": "darker"})

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "render", stop)
        with pytest.raises(KeyboardInterrupt):
            run(desk, asked)
    editor = FakeEditor(noisy=0.1)

    def load(spec: ModelSpec) -> Any:
        model = fake_load()(spec)
        return type(model)(editor, model.name, model.hashes)  # pyright: ignore

    assert [line["status"] for line in run(desk, asked, load=load)] == ["done", "done"]
    assert editor.calls.count("student") == 1  # the first row's only window was finished
    assert not list((desk / "out").glob("*.eve-run"))


def test_one_model_is_loaded_once_and_a_missing_one_is_missed_once() -> None:
    loads: list[str] = []

    def load(spec: ModelSpec) -> Any:
        loads.append(spec.name)
        if spec.name == "gone":
            raise ModelError("gone")
        return fake_load()(spec)

    models = batch.ModelCache(load)
    for name in ("mini", "mini", "gone", "gone", "mini"):
        asked = ModelSpec(name)
        if name == "gone":
            with pytest.raises(ModelError):
                models(asked)
        else:
            models(asked)
    assert loads == ["mini", "gone", "mini"]


def test_a_table_as_people_save_it(desk: Path) -> None:
    (desk / "m.csv").write_bytes(
        "\ufeffInput;Instruction;Guidance-Scale;steps;side-by-side;id\r\n"
        "one.mkv;mach es dunkel, bitte;2.5;;yes;x1\r\n;;;;;\r\ntwo.mkv;;;many;;\r\none.mkv;a;2;3;no;e;f\r\n".encode()
    )
    found = batch_rows.read(desk / "m.csv", "snowy", {"steps": 9}, desk / "out")
    first = found[0].request
    assert first is not None and first.instruction == "mach es dunkel, bitte" and found[0].id == "x1"
    assert (
        first.input == str(desk / "one.mkv") and first.guidance_scale == 2.5 and first.steps == 9 and first.side_by_side
    )
    told = [str(row.error) for row in found[1:]]
    for part, text in zip(("steps cannot be 'many'", "column without a name"), told, strict=True):
        assert part in text


def test_a_folder_gets_one_instruction(desk: Path) -> None:
    (desk / "notes.txt").write_text("no video")
    found = batch_rows.read(desk, "darker", {}, desk / "out")
    assert [Path(row.id).name for row in found] == ["one.mkv", "two.mkv"]
    assert {row.request.instruction for row in found if row.request} == {"darker"}
    with pytest.raises(InputError, match="no video and no picture"):
        batch_rows.read(desk / "out", "darker", {}, desk / "out")
    assert "no instruction" in str(batch_rows.read(desk, None, {}, desk / "out")[0].error)


@pytest.mark.parametrize("name", ["../a.mp4", "/a.mp4", "b/a.mp4", "-a.mp4", ".a.mp4", ".."])
def test_no_row_writes_elsewhere(name: str, desk: Path) -> None:
    row = rows(desk, {"input": "one.mkv", "instruction": "darker", "output": name})[0]
    assert row.request is None and "plain name" in str(row.error)


def test_no_two_rows_write_the_same_file(desk: Path) -> None:
    asked = {"input": "one.mkv", "instruction": "darker"}
    named = [asked | {"output": name} for name in ("a.mp4", "A.mp4")]
    found = rows(desk, asked, asked, *named)
    paths = [row.request.output for row in found if row.request]
    assert len(set(paths)) == 3 and "also that of row 3" in str(found[3].error)


def test_without_a_seed_a_row_has_one_of_its_own_and_always_the_same(desk: Path) -> None:
    lines = ({"input": "one.mkv", "instruction": "darker"}, {"input": "one.mkv", "instruction": "night"})
    seeds = [[row.request.seed for row in rows(desk, *lines) if row.request] for _ in range(2)]
    assert seeds[0] == seeds[1] and seeds[0][0] != seeds[0][1]


@pytest.mark.parametrize(
    ("name", "content", "kind", "text"),
    [
        ("m.csv", "video,instruction\na,b\n", UsageError, "one of them input"),
        ("m.csv", "", UsageError, "one of them input"),
        ("m.jsonl", "{bad}", UsageError, "line 1 is not JSON"),
        ("m.jsonl", "[1]", UsageError, "must be an object"),
        ("m.txt", "x", UsageError, "ends in .csv or .jsonl"),
        ("clip.mp4", "\xff\xfe", UsageError, "ends in .csv or .jsonl"),
        ("gone.csv", None, InputError, "no such file"),
    ],
)
def test_a_manifest_that_is_none(
    name: str, content: str | None, kind: type[EveError], text: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(kind, match=text):
        batch_rows.read(tmp_path / name, "x", {}, tmp_path)


def test_settings_of_the_batch_are_not_those_of_a_row(desk: Path) -> None:
    row = rows(desk, {"input": "one.mkv", "instruction": "x", "run_dir": "y"})[0]
    assert "is an option of eve batch" in str(row.error)


def test_half_a_line_of_results_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"status": "done", "key": "k", "output": "o"}\n[1]\n{"status": "do')
    assert list(batch.before(tmp_path / "r.jsonl")) == ["k"]
