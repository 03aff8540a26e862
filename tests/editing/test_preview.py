"""A preview is a part of the full edit: what is promised to be the same is the same, and is not made twice."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eve_cli.diffusion.windows import Window, plan_spans, plan_windows
from eve_cli.editing import pipeline, preview, preview_cache
from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.preview import Piece, choose, combined
from eve_cli.editing.request import EditRequest
from eve_cli.errors import EveError
from eve_cli.media.compose import contact_sheet
from eve_cli.models.spec import ModelSpec
from tests.clips import make_clip, pictures, read_clip
from tests.fakes import FakeEditor, fake_load
from tests.plans import make_plan

FAKE = {"noisy": 0.1}


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVE_CACHE", str(tmp_path / "cache"))
    return make_clip(tmp_path / "clip.mkv", 26)


def request(clip: Path, **values: Any) -> EditRequest:
    return EditRequest.of({"input": str(clip), "instruction": "darker", "seed": 3, "codec": "ffv1"} | values, "test")


def edit(clip: Path, name: str, editor: FakeEditor | None = None, **values: Any) -> pipeline.EditResult:
    asked = request(clip, output=clip.with_name(name), **values)
    return pipeline.edit(asked, load=lambda spec: fake_load(**FAKE)(spec) if editor is None else loaded(editor, spec))


def loaded(editor: FakeEditor, spec: ModelSpec) -> Any:
    model = fake_load()(spec)
    return type(model)(editor, model.name, model.hashes)  # pyright: ignore


@pytest.mark.parametrize("method", ["eve", "per_frame"])
def test_the_full_edit_takes_over_what_the_preview_made_to_the_byte(method: str, clip: Path) -> None:
    settings: dict[str, Any] = {"method": method, "codec": "h264"}
    plain = edit(clip, "plain.mp4", **settings)
    assert not (clip.parent / "cache").exists()
    made = preview.preview(
        request(clip, method=method, guidance_scale=2.0), {"guidance_scale": [1.0, 2.0]}, load=fake_load(**FAKE)
    )
    exact = [piece for piece in made.pieces if piece.exact]
    assert len(made.pieces) == 3 and len(exact) == (1 if method == "eve" else 3)
    editor = FakeEditor(**FAKE)
    full = edit(clip, "full.mp4", editor, **settings)
    anew = FakeEditor(**FAKE)
    edit(clip, "anew.mp4", anew, reuse_preview=False, **settings)
    kind = "student" if method == "eve" else "edit"
    assert editor.calls.count(kind) == anew.calls.count(kind) - len(exact)
    assert full.output.read_bytes() == plain.output.read_bytes() == clip.with_name("anew.mp4").read_bytes()


def test_what_is_shown_are_the_frames_of_the_full_edit_where_that_is_promised(clip: Path) -> None:
    made = preview.preview(request(clip), {"seed": [3]}, load=fake_load(**FAKE))
    full = read_clip(edit(clip, "full.mkv", reuse_preview=False).output)
    whole = read_clip(clip)
    for piece, source, shown in zip(made.pieces, made.source, made.cells[0].pieces, strict=True):
        assert np.array_equal(np.stack(source), whole[list(piece.window.frames)])
        # the fake mixes no frames, so that the same noise gives nearly the same frames where a window starts anew
        error = np.abs(np.stack(shown).astype(int) - full[list(piece.window.frames)])
        assert error.max() == 0 if piece.exact else error.mean() < 0.3


def test_all_windows_make_whole_edits(clip: Path) -> None:
    made = preview.preview(request(clip), {"guidance_scale": [1.0, 2.0]}, "all", load=fake_load(**FAKE))
    assert all(piece.exact for piece in made.pieces)
    editor = FakeEditor(**FAKE)
    full = edit(clip, "full.mkv", editor)
    assert not {"edit", "student"} & set(editor.calls)
    shown = [picture for piece in made.cells[1].pieces for picture in piece]
    assert np.array_equal(np.stack(shown), read_clip(full.output))


@pytest.mark.slow
def test_a_sweep_reads_and_encodes_once(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = FakeEditor.encode
    monkeypatch.setattr(
        FakeEditor, "encode", lambda self, frames: (encoded.append(len(frames)), encode(self, frames))[1]
    )
    lists = {"guidance_scale": [1.0, 2.0, 3.0], "seed": [1, 2]}
    made = preview.preview(request(clip), lists, load=fake_load(**FAKE))
    assert encoded == [26] and len(made.cells) == 6
    assert [cell.values for cell in made.cells][:2] == [
        {"guidance_scale": 1.0, "seed": 1},
        {"guidance_scale": 1.0, "seed": 2},
    ]
    again = preview.preview(request(clip), lists, load=fake_load(**FAKE))
    assert encoded == [26]
    for one, other in zip(made.cells, again.cells, strict=True):
        assert np.array_equal(np.concatenate(one.pieces), np.concatenate(other.pieces))


@pytest.mark.slow
def test_another_clip_another_model_or_other_settings_find_nothing(clip: Path) -> None:
    preview.preview(request(clip), {"seed": [3]}, load=fake_load(**FAKE))
    for values in ({"instruction": "brighter"}, {"seed": 4}, {"steps": 5}, {"window": 6}, {"end": 2.0}):
        editor = FakeEditor(**FAKE)
        edit(clip, "other.mkv", editor, overwrite=True, **values)
        assert "edit" in editor.calls, values
    make_clip(clip, np.ascontiguousarray(pictures(26, seed=5)))
    editor = FakeEditor(**FAKE)
    edit(clip, "other.mkv", editor, overwrite=True)
    assert "edit" in editor.calls


def test_strengths_are_around_what_is_asked(clip: Path) -> None:
    made = preview.preview(request(clip, guidance_scale=4.0), {}, load=fake_load(**FAKE))
    assert [cell.values["guidance_scale"] for cell in made.cells] == [2.8, 4.0, 6.0]
    made = preview.preview(request(clip, method="sdedit"), {}, load=fake_load(**FAKE))
    assert [cell.values["strength"] for cell in made.cells] == [0.5, 0.75, 0.95]


def planned(shots: list[range], long: str = "sequential", window: int = 8, method: str = "eve") -> EditPlan:
    spans = plan_windows(shots, window, 2) if long == "sequential" else plan_spans(shots, 64, window // 2)
    return make_plan(shots, spans, window=window, long=long, method=method, keyframes=window)


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (planned([range(6)]), [(0, 6, True)]),
        (planned([range(30)]), [(0, 8, True), (12, 20, False), (22, 30, False)]),
        (planned([range(10), range(10, 40)]), [(0, 8, True), (10, 18, True), (32, 40, False)]),
        (
            planned([range(9), range(9, 12), range(12, 40), range(40, 60)]),
            [(0, 8, True), (12, 20, True), (40, 48, True)],
        ),
        (planned([range(30)], "joint"), [(0, 30, True)]),
        (planned([range(60)], "joint"), [(0, 8, False), (24, 32, False), (48, 56, False)]),
        (planned([range(30)], method="per_frame"), [(0, 8, True), (12, 20, True), (22, 30, True)]),
    ],
    ids=["short", "one shot", "two shots", "many shots", "joint", "together long", "per frame"],
)
def test_which_windows_are_shown(plan: EditPlan, wanted: list[tuple[int, int, bool]]) -> None:
    found = choose(plan, "three")
    assert [(piece.window.start, piece.window.stop, piece.exact) for piece in found] == wanted
    assert all(window.exact for window in choose(plan, "all"))


def test_windows_without_a_number_are_called_by_their_frames() -> None:
    assert Piece(Window(-13, 12, 20, 0), False).window.name == "frames 12-19" and Window(1, 6, 14, 2).name == "window 2"


def test_every_choice_of_values() -> None:
    assert list(combined({"a": [1, 2], "b": [3]})) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]


def test_the_shelf_is_kept_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("EVE_CACHE", str(tmp_path))
    for number in range(preview_cache.MOST + 3):
        place = tmp_path / preview_cache.FOLDER / str(number)
        place.mkdir(parents=True)
        os.utime(place, (1e9 + number, 1e9 + number))
    preview_cache.tidy()
    assert sorted(int(each.name) for each in (tmp_path / preview_cache.FOLDER).iterdir()) == list(
        range(3, preview_cache.MOST + 3)
    )


def test_a_cache_that_cannot_be_written_is_one_sentence(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip.with_name("file").write_text("")
    monkeypatch.setenv("EVE_CACHE", str(clip.with_name("file")))
    with pytest.raises(EveError, match=r"cannot write here .*set EVE_CACHE"):
        preview.preview(request(clip), {"seed": [3]}, load=fake_load(**FAKE))


def test_a_sheet_has_all_pictures_and_any_text() -> None:
    row = [np.full((3, 40, 60), value, np.uint8) for value in (10, 200)]
    sheet = contact_sheet(
        "<b>ночь</b>", [("frames 0-7", 2)], [("source", row), ("text-cfg 2", row)], ["note"], height=40
    )
    assert sheet.shape[0] == 3 and sheet.dtype == np.uint8
    assert (sheet == 10).all(0).sum() >= 2 * 40 * 60 and (sheet == 200).all(0).sum() >= 2 * 40 * 60


def test_a_page_holds_all_and_no_text_of_a_user_ends_it(tmp_path: Path) -> None:
    from eve_cli.evaluation.report import sweep

    evil = '</script><script>alert(1)</script>&"'
    address = sweep.data_url(pictures(4), 10.0)
    page = sweep.write(
        tmp_path / "p.html", evil, evil, [evil], address, [sweep.SweepCell(evil, address, f"eve edit {evil}")], 1
    )
    text = page.read_text()
    assert text.count("</script>") == 2 and "alert(1)</script>" not in text and "{{" not in text
    data = json.loads(text.split('type="application/json">')[1].split("</script>")[0])
    assert data["cells"][0]["command"] == f"eve edit {evil}" and data["source"].startswith("data:video/mp4;base64,")
    assert "src=http" not in text and "url(" not in text
