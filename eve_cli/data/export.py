"""Captioned clips and triplets, written as other trainers read them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eve_cli.data.sample import Item, Triplet
from eve_cli.errors import OutputError, UsageError
from eve_cli.storage import jsonl
from eve_cli.storage.atomic import atomic_folder

SHARD_BYTES = 1 << 30


@dataclass(frozen=True)
class Clip:
    """One sample: the clip to learn, the clip that is given (or None), and the texts."""

    path: Path
    control: Path | None
    caption: str
    instruction: str
    input_caption: str

    @property
    def text(self) -> str:
        """The one text of trainers that know of one: the instruction where a clip is given, else the caption."""
        return " ".join((self.instruction if self.control else self.caption).split())


def clips_of(items: Sequence[Item | Triplet]) -> list[Clip]:
    """Samples of a listing; whole files, in order."""
    return [
        Clip(item.output, item.input, item.output_caption, item.instruction, item.input_caption)
        if isinstance(item, Triplet)
        else Clip(item.path, None, item.caption, "", "")
        for item in items
    ]


def write(clips: Sequence[Clip], layout: str, out: Path, overwrite: bool = False) -> Path:
    """Writes a folder in a layout of `LAYOUTS`, with copies of the files.

    UsageError for an unknown layout, or one that has no control videos; OutputError if the folder is in the way.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"--to must be one of {', '.join(LAYOUTS)}, not {layout!r}.")
    if layout in PLAIN and any(clip.control for clip in clips):
        with_control = ", ".join(name for name in LAYOUTS if name not in PLAIN)
        raise UsageError(f"{layout} has no place for the input of triplets; export them to one of {with_control}.")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not overwrite)):
        raise OutputError(f"{out}: exists already; choose another --out or give --overwrite.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(out) as folder:
            LAYOUTS[layout](folder, clips)
    except OSError as error:
        raise OutputError(f"{out}: cannot write ({(error.strerror or str(error)).lower()}).") from error
    return out


def _placed(folder: Path, clips: Sequence[Clip]) -> Iterator[tuple[Clip, str, str | None]]:
    """Puts the clips into `videos/` and the given ones into `inputs/`, numbered alike; yields their names."""
    for number, clip in enumerate(clips):
        names: list[str | None] = []
        for home, path in (("videos", clip.path), ("inputs", clip.control)):
            name = None if path is None else f"{home}/{number:06d}{path.suffix.lower()}"
            if path is not None and name is not None:
                (folder / home).mkdir(exist_ok=True)
                shutil.copyfile(path, folder / name)
            names.append(name)
        yield clip, str(names[0]), names[1]


def _musubi(folder: Path, clips: Sequence[Clip]) -> None:
    rows = [
        {"video_path": name} | ({"control_path": control} if control else {}) | {"caption": clip.text}
        for clip, name, control in _placed(folder, clips)
    ]
    jsonl.write(folder / "videos.jsonl", rows)
    _write(
        folder / "dataset.toml",
        "[general]\nresolution = [832, 480]\nbatch_size = 1\nenable_bucket = true\n\n"
        '[[datasets]]\nvideo_jsonl_file = "videos.jsonl"\ntarget_frames = [1, 33]\nframe_extraction = "head"\n',
    )


def _beside(folder: Path, clips: Sequence[Clip]) -> None:
    for clip, name, _ in _placed(folder, clips):
        _write((folder / name).with_suffix(".txt"), clip.text + "\n")
    _write(folder / "dataset.toml", 'resolutions = [480]\nframe_buckets = [1, 33]\n\n[[directory]]\npath = "videos"\n')


def _lists(folder: Path, clips: Sequence[Clip]) -> None:
    placed = list(_placed(folder, clips))
    _write(folder / "prompts.txt", "".join(f"{clip.text}\n" for clip, _, _ in placed))
    _write(folder / "videos.txt", "".join(f"{name}\n" for _, name, _ in placed))


def _video_folder(folder: Path, clips: Sequence[Clip]) -> None:
    table = io.StringIO()
    columns = ["file_name", "text"]
    if any(clip.control for clip in clips):
        columns = ["file_name", "input_file_name", "text", "instruction", "input_caption"]
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    for clip, name, control in _placed(folder, clips):
        values = [name, control or "", clip.caption, clip.instruction, clip.input_caption]
        writer.writerow(values if len(columns) > 2 else [name, clip.caption])
    _write(folder / "metadata.csv", table.getvalue())


def _webdataset(folder: Path, clips: Sequence[Clip]) -> None:
    shards: list[list[tuple[int, Clip]]] = []
    size = SHARD_BYTES
    for number, clip in enumerate(clips):
        if size >= SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((number, clip))
        size += sum(path.stat().st_size for path in (clip.path, clip.control) if path)
    for shard, content in enumerate(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for number, clip in content:
                _add_sample(tar, f"{number:08d}", clip)


def _add_sample(tar: tarfile.TarFile, key: str, clip: Clip) -> None:
    """The files of a sample, without a time or the user's name: the same clips give the same bytes."""
    files = {"output": clip.path, "input": clip.control} if clip.control else {"": clip.path}
    for part, path in files.items():
        assert path is not None
        entry = tarfile.TarInfo(f"{key}.{part}{path.suffix.lower()}" if part else f"{key}{path.suffix.lower()}")
        entry.size = path.stat().st_size
        with path.open("rb") as file:
            tar.addfile(entry, file)
    texts = {"caption": clip.caption, "instruction": clip.instruction, "input_caption": clip.input_caption}
    content = json.dumps({name: text for name, text in texts.items() if text}, ensure_ascii=False).encode()
    entry = tarfile.TarInfo(f"{key}.json")
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


LAYOUTS: dict[str, Callable[[Path, Sequence[Clip]], None]] = {
    "musubi": _musubi,
    "diffusion-pipe": _beside,
    "finetrainers": _lists,
    "videofolder": _video_folder,
    "webdataset": _webdataset,
}
PLAIN = ("diffusion-pipe", "finetrainers")
"""Layouts without control videos."""
