"""`eve edit` on a picture: a picture comes out, of the same kind and size, with a run.json beside it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eve_cli.cli.app import run
from tests.clips import pictures


@pytest.fixture
def desk(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EVE_WEIGHTS", str(weights))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pictures(1)[0].transpose(1, 2, 0)).save(tmp_path / "scene.png")
    yield tmp_path


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_result_is_a_picture_beside_its_record(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["edit", "scene.png", "make it night", "--seed", "7"]) == 0
    out, err = capsys.readouterr()
    result = Path(out.strip())
    assert result.name.startswith("scene.make-it-night.") and result.suffix == ".png"
    assert pixels(result).shape == (64, 96, 3) and not np.array_equal(pixels(result), pixels("scene.png"))
    assert "scene.png   96×64\n" in err and "window" not in err and "frames" not in err
    kept = json.loads(result.with_name(f"{result.stem}.run.json").read_text())
    assert kept["frames"] == 1 and kept["settings"]["seed"] == 7
    with Image.open(result) as image:
        inside = json.loads(image.getexif()[0x010E])
    assert inside["input"]["sha256"] == kept["input"]["sha256"] and str(desk) not in json.dumps(inside)
    assert run(["rerun", str(result.with_name(f"{result.stem}.run.json")), "-o", "again.png", "-q"]) == 0
    assert Path("again.png").read_bytes() == result.read_bytes()
    assert len(list(desk.iterdir())) == 5


@pytest.mark.slow
def test_eve_and_per_frame_are_the_edit_adapter_alone(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.models.editor import Editor

    monkeypatch.setattr(Editor, "clean_student", None)
    monkeypatch.setattr(Editor, "clean_video", None)
    for method in ("eve", "per_frame", "sdedit", "copy"):
        words = ["edit", "scene.png", "night", "-o", f"{method}.png", "--method", method, "--seed", "3", "-q"]
        assert run(words) == 0
    assert np.array_equal(pixels("eve.png"), pixels("per_frame.png"))
    assert np.array_equal(pixels("copy.png"), pixels("scene.png"))
    assert not np.array_equal(pixels("sdedit.png"), pixels("eve.png"))


def test_a_video_of_one_frame_is_edited_as_its_picture_is(desk: Path) -> None:
    from tests.clips import make_clip, read_clip

    make_clip(desk / "one.mkv", 1)
    assert run(["edit", "one.mkv", "night", "-o", "one.out.mkv", "--codec", "ffv1", "--seed", "3", "-q"]) == 0
    assert run(["edit", "scene.png", "night", "-o", "out.png", "--seed", "3", "-q"]) == 0
    assert np.array_equal(read_clip(desk / "one.out.mkv")[0].transpose(1, 2, 0), pixels("out.png"))


def test_kind_orientation_and_transparency_are_the_source_s(desk: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(pixels("scene.png")).save("photo.jpeg", exif=exif, quality=95)
    assert run(["edit", "photo.jpeg", "night", "--method", "copy", "-q", "-o", "upright.jpg"]) == 0
    assert pixels("upright.jpg").shape == (96, 64, 3)
    wanted = pixels("photo.jpeg").swapaxes(0, 1)[:, ::-1].astype(int)
    assert np.abs(pixels("upright.jpg") - wanted).mean() < 3
    clear = np.dstack([pixels("scene.png"), np.arange(64 * 96, dtype=np.uint8).reshape(64, 96)])
    Image.fromarray(clear).save("clear.webp", lossless=True, exact=True)
    assert run(["edit", "clear.webp", "night", "-q", "-o", "clear.out.png", "--side-by-side"]) == 0
    assert np.array_equal(pixels("clear.out.png")[..., 3], np.hstack([clear[..., 3]] * 2))
    assert np.array_equal(pixels("clear.out.png")[:, :96, :3], clear[..., :3])
    assert run(["edit", "clear.webp", "night", "-q", "-o", "small.png", "--size", "model"]) == 0
    assert pixels("small.png").shape == (32, 32, 4) and pixels("small.png")[..., 3].std() > 20
    assert run(["edit", "clear.webp", "night", "-q", "-o", "opaque.jpg"]) == 0
    assert pixels("opaque.jpg").shape == (64, 96, 3)


def test_the_name_follows_the_source(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, ending in (("a.jpg", ".jpg"), ("a.webp", ".webp"), ("a.bmp", ".png")):
        Image.fromarray(pixels("scene.png")).save(name)
        assert run(["edit", name, "night", "--method", "copy", "-q"]) == 0
        assert Path(capsys.readouterr().out.strip()).suffix == ending


def test_json_and_resume(desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.editing import pipeline

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "render", stop)
        assert run(["edit", "scene.png", "night", "-o", "out.jpg", "-q", "--seed", "2"]) == 130
    assert run(["resume", "out.eve-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frames"] == 1 and found["windows"] == 1 and found["output"].endswith("out.jpg")
    assert run(["edit", "scene.png", "night", "-o", "same.jpg", "-q", "--seed", "2"]) == 0
    assert Path("same.jpg").read_bytes()[-500:] == Path("out.jpg").read_bytes()[-500:]
