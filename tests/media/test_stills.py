"""Single pictures: read upright, written with what belongs to them, whole or not at all."""

import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from eve_cli.errors import OutputError
from eve_cli.media.decode import VideoReader
from eve_cli.media.input_resolver import is_picture
from eve_cli.media.stills import DESCRIPTION, ORIENTATION, StillWriter, type_like

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)


def read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with VideoReader(path) as reader:
        (frame,) = list(reader)
        assert reader.info.container == "picture"
        return frame.rgb, frame.alpha


def test_a_picture_is_one_by_name_and_content(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for ending in ("png", "webp", "gif"):
        frames[0].save(tmp_path / f"two.{ending}", save_all=True, append_images=frames[1:], duration=40)
        frames[0].save(tmp_path / f"one.{ending}")
    (tmp_path / "folder.png").mkdir()
    wanted = {"one.png": True, "one.webp": True, "one.gif": False, "two.png": False, "two.webp": False}
    wanted |= {"two.gif": False, "folder.png": False, "*.png": False, "gone.JPG": True, "gone.mp4": False}
    assert {name: is_picture(str(tmp_path / name)) for name in wanted} == wanted


@pytest.mark.parametrize("ending", ["png", "webp", "bmp", "tiff"])
def test_pixels_are_read_as_they_are(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(NOISE[..., :3]).save(path, **({"lossless": True} if ending == "webp" else {}))
    assert np.array_equal(read(path)[0], NOISE[..., :3].transpose(2, 0, 1))


def test_sixteen_bits_are_made_eight(tmp_path: Path) -> None:
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png")[0], np.stack([deep >> 8] * 3))


def test_what_belongs_to_a_picture_stays(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x0110] = 6, "a camera"
    Image.fromarray(NOISE).save(tmp_path / "a.png", exif=exif, icc_profile=profile)
    rgb, alpha = read(tmp_path / "a.png")
    assert rgb.shape == (3, 30, 20) and alpha is not None
    for ending in ("png", "webp"):
        with StillWriter(
            str(tmp_path / f"b.{ending}"), str(tmp_path / "a.png"), comment="how", lossless=True
        ) as writer:
            writer.write(rgb, alpha=alpha)
        assert np.array_equal(read(tmp_path / f"b.{ending}")[0], rgb) and writer.notes == []
        assert np.array_equal(read(tmp_path / f"b.{ending}")[1], alpha)
        with Image.open(tmp_path / f"b.{ending}") as image:
            assert dict(image.getexif()) == {0x0110: "a camera", DESCRIPTION: "how"}
            assert image.info["icc_profile"] == profile


def test_a_jpeg_is_opaque_on_white_and_says_so(tmp_path: Path) -> None:
    Image.new("RGBA", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.png")
    with StillWriter(str(tmp_path / "b.jpg"), str(tmp_path / "a.png")) as writer:
        rgb, alpha = read(tmp_path / "a.png")
        writer.write(rgb, alpha=alpha)
    assert read(tmp_path / "b.jpg")[0].min() > 250 and "cannot be transparent" in writer.notes[0]


def test_the_type_of_a_result() -> None:
    names = {"a.PNG": ".png", "a.jpeg": ".jpg", "a.webp": ".webp", "a.tif": ".png", "a.bmp": ".png"}
    assert {name: type_like(name) for name in names} == names


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    big = np.random.default_rng(0).integers(0, 256, (3, 200, 200), np.uint8)
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"before")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[1]))
    try:
        with (
            pytest.raises(OutputError, match="nothing was written"),
            StillWriter(str(tmp_path / "b.png"), str(tmp_path / "a.png")) as writer,
        ):
            writer.write(big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert (tmp_path / "b.png").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
