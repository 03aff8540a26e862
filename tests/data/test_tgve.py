"""TGVE's csv, prompts and folders, and tables of other forms."""

import json
from pathlib import Path

import pytest

from eve_cli.data import tables, tgve
from eve_cli.errors import InputError, UsageError

HEAD = (
    "Video name,Our GT caption,Style Change Caption,Object Change Caption,Background Change Caption,"
    "Multiple Changes Caption,Source"
)


def csv_file(folder: Path, *rows: str) -> Path:
    file = folder / "LOVEU-TGVE-2023_Dataset.csv"
    file.write_text("\ufeff" + "\n".join([HEAD, *rows]), encoding="utf-8")
    return file


def test_the_spreadsheet_form_is_read(tmp_path: Path) -> None:
    file = csv_file(
        tmp_path,
        "DAVIS Videos:,,,,,,",
        ' fish ,A fish.," A fish, oil.",A shark.,A pond.,"A shark, pond.",http',
        ",,,,,,",
        "Videvo Videos:,,,,,,",
        "cup,A cup.,A cup in oil.,A mug.,,A mug in oil.,",
    )
    found = tgve.read(tgve.table_in(tmp_path))
    assert [(v.name, v.set) for v in found.videos] == [("fish", "DAVIS_480p"), ("cup", "videvo_480p")]
    assert found.videos[0].prompts["object"] == "A shark."
    assert not found.whole and found.notes[-1] == "1 prompts are empty" and "1 of 16" in found.notes[0]
    assert tgve.table_in(file) == file


@pytest.mark.parametrize(
    ("rows", "reason"),
    [(["fish,a,b,c,d,e"], "above the first title"), (["Other Videos:"], "is none of"), ([], "no video row")],
)
def test_another_form_is_told(tmp_path: Path, rows: list[str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        tgve.read(csv_file(tmp_path, *rows))


def test_a_csv_with_other_columns_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,caption\n")
    with pytest.raises(InputError, match="lacks the column 'Video name'"):
        tgve.read(tmp_path / "a.csv")


def test_the_real_prompts(shared_data: Path) -> None:
    found = tgve.read(tgve.table_in(shared_data / "tgve"))
    assert len(found.videos) == 69 and sum(len(v.prompts) for v in found.videos) == 276
    assert found.videos[0].prompts["object"] == "Several sharks swim in a tank."
    assert found.videos[0].set == "DAVIS_480p" and found.videos[-1].set == "videvo_480p"


def test_instructions(tmp_path: Path) -> None:
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({"fish": {"edit_object": "change fish to sharks."}}))
    assert tgve.instructions(file) == {("fish", "object"): "change fish to sharks."}
    file.write_text("[1]")
    with pytest.raises(InputError, match="edit_style"):
        tgve.instructions(file)


@pytest.mark.parametrize("place", ["DAVIS_480p/480p_frames/fish", "DAVIS_480p/480p_videos/fish.mp4", "fish.mp4"])
def test_footage_is_found(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.touch()
    else:
        path.mkdir()
    assert tgve.footage(tmp_path, "fish", "DAVIS_480p") == path == tgve.footage(tmp_path, "fish")
    assert tgve.footage(tmp_path, "DAVIS_480p/480p_videos/fish.mp4") == path
    assert tgve.footage(tmp_path, "cat") is None


@pytest.mark.parametrize("place", ["DAVIS_480p/fish/style/", "DAVIS_480p/fish/style.mp4", "fish/style.webm"])
def test_submissions_are_found(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if place.endswith("/"):
        path.mkdir()
    else:
        path.touch()
    video = tgve.Video("fish", "DAVIS_480p", "", {})
    assert tgve.submitted(tmp_path, video, "style") == path
    assert tgve.submitted(tmp_path, video, "object") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'id,edit\n1," make it, snowy "\n'),
        ("a.tsv", "id\tedit\n1\tmake it, snowy\n"),
        ("a.jsonl", '{"id": 1, "edit": "make it, snowy"}\n\n'),
        ("a.json", '[{"id": 1, "edit": "make it, snowy"}]'),
    ],
)
def test_every_type_gives_the_same_rows(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert tables.read(tmp_path / name) == [{"id": "1", "edit": "make it, snowy"}]


def test_parquet_is_read_or_its_library_named(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        with pytest.raises(UsageError, match="eve-cli\\[parquet\\]"):
            tables.read(file)
        return
    parquet.write_table(arrow.table({"id": [1], "edit": [None]}), file)
    assert tables.read(file) == [{"id": "1", "edit": ""}]
    file.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="as parquet"):
        tables.read(file)


def test_columns_are_matched_by_alias_or_as_told(tmp_path: Path) -> None:
    file, found = tmp_path / "plus.parquet", ["Edit Instruction", "target_caption", "clip"]
    aliases = {"instruction": ["edit_instruction"], "output_caption": ["target_caption"], "video": ["video"]}
    chosen = tables.match(file, found, aliases)
    assert chosen == {"instruction": "Edit Instruction", "output_caption": "target_caption"}
    assert tables.match(file, found, aliases, "video=clip", ("video",))["video"] == "clip"
    with pytest.raises(InputError, match="--map video=COLUMN"):
        tables.match(file, found, aliases, needed=("video",))
    for wrong in ("video", "film=clip", "video=film"):
        with pytest.raises(UsageError, match="--map"):
            tables.match(file, found, aliases, wrong)
