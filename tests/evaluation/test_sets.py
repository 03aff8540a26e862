"""Edits to be judged, from every form of data."""

import json
from pathlib import Path

import pytest

from eve_cli.errors import InputError, UsageError
from eve_cli.evaluation import sets


def touched(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_tgve_with_two_submissions(tmp_path: Path, shared_data: Path) -> None:
    data = shared_data / "tgve"
    touched(tmp_path / "a/DAVIS_480p/gold-fish/style.mp4", tmp_path / "b/gold-fish/object.mp4")
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"gold-fish": {"edit_style": "paint it"}}))
    found = sets.from_tgve(data, sets.named_folders(f"a={tmp_path}/a,{tmp_path}/b"), prompts)
    assert found.name == "TGVE" and not found.whole and list(found.methods) == ["a", "b"]
    style = found.methods["a"][0]
    assert (style.id, style.video, style.task) == ("gold-fish.style", "gold-fish", "style")
    assert style.edited == tmp_path / "a/DAVIS_480p/gold-fish/style.mp4" and style.instruction == "paint it"
    assert style.input_caption == "Several goldfish swim in a tank."
    assert found.methods["b"][0].edited is None and found.methods["b"][1].edited is not None
    assert len(found.first(3).pairs) == 3 and list(found.with_copy().methods) == ["a", "b"]  # the source does not exist


def test_a_submission_without_any_edit_is_reported(tmp_path: Path, shared_data: Path) -> None:
    with pytest.raises(InputError, match="no edit was found"):
        sets.from_tgve(shared_data / "tgve", {"a": tmp_path})
    with pytest.raises(UsageError, match="not a folder"):
        sets.named_folders(str(tmp_path / "gone"))


def test_tgve_plus_is_matched_by_alias(tmp_path: Path) -> None:
    table = tmp_path / "plus.jsonl"
    row = {"edit": "add a hat", "caption_out": "a cat in a hat", "caption_in": "a cat", "category": "add"}
    table.write_text("\n".join(json.dumps({**row, "path": f"DAVIS_480p/480p_videos/{v}.mp4"}) for v in ("cat", "cat")))
    touched(tmp_path / "DAVIS_480p/480p_videos/cat.mp4", tmp_path / "edits/0001.mp4")
    found = sets.from_plus(table, tmp_path, {"mine": tmp_path / "edits"})
    first, second = found.pairs
    assert (first.video, first.task, first.instruction) == ("cat", "add", "add a hat")
    assert first.source == tmp_path / "DAVIS_480p/480p_videos/cat.mp4"
    assert first.edited is None and second.edited == tmp_path / "edits/0001.mp4"
    assert "output_caption <- caption_out" in found.notes[0] and not found.whole


def test_a_manifest_needs_no_more_than_a_source(tmp_path: Path) -> None:
    file = tmp_path / "edits.csv"
    file.write_text("file,task,instruction,source_caption\ncat.mp4,add,a,x\ncat.mp4,add,b,x\n")
    pairs = sets.from_manifest(file).pairs
    assert [pair.id for pair in pairs] == ["cat.add", "cat.add.2"]
    assert pairs[0].source == tmp_path / "cat.mp4" and pairs[0].input_caption == "x" and pairs[0].edited is None


def test_a_manifest_may_hold_several_methods(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [{"id": "1", "method": m, "source": "a.mp4", "edited": f"{m}.mp4"} for m in ("x", "y")]
    file.write_text("\n".join(map(json.dumps, rows)))
    found = sets.from_manifest(file)
    assert {name: pairs[0].edited for name, pairs in found.methods.items()} == {
        "x": tmp_path / "x.mp4",
        "y": tmp_path / "y.mp4",
    }
    file.write_text("\n".join(map(json.dumps, [*rows, {**rows[1], "id": "2"}])))
    with pytest.raises(InputError, match="same ids"):
        sets.from_manifest(file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "--map source=COLUMN"),
        ("source,id\na.mp4,1\nb.mp4,1\n", "Two edits have the id '1'"),
        ("source,id\n,1\n", "row 1: the source is empty"),
        ("source\n", "has no rows"),
    ],
)
def test_a_wrong_manifest_is_reported(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError, match=reason):
        sets.from_manifest(tmp_path / "m.csv")
