"""The benchmark LOVEU-TGVE-2023 (76 videos, 4 prompts each) as its authors hand it out, and submissions to it.

    DATA/LOVEU-TGVE-2023_Dataset.csv
    DATA/{DAVIS,youtube,videvo}_480p/480p_frames/<name>/*.jpg   or   480p_videos/<name>.mp4
    EDITS/{DAVIS,youtube,videvo}_480p/<name>/{style,object,background,multiple}/00000.jpg   or   <type>.mp4

The csv is a spreadsheet: title rows ("DAVIS Videos:") and blank rows stand between the videos. Prompts are captions of
the result; InsV2V's `loveu_tgve_edit_prompt_dict.json` has instructions.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from eve_cli.data.tables import clip_named
from eve_cli.errors import InputError

NAME, CAPTION = "Video name", "Our GT caption"
TASKS = {
    "style": "Style Change Caption",
    "object": "Object Change Caption",
    "background": "Background Change Caption",
    "multiple": "Multiple Changes Caption",
}
SETS = {"davis": "DAVIS_480p", "youtube": "youtube_480p", "videvo": "videvo_480p"}  # by the first word of a title
COUNTS = {"DAVIS_480p": 16, "youtube_480p": 23, "videvo_480p": 37}

# What the columns of TGVE+ may be called (its card does not say).
PLUS = {
    "id": ("id", "idx", "index", "hash", "uid"),
    "video": ("video", "video_name", "video_file", "video_path", "path", "relative_path", "file_name", "file"),
    "task": ("task", "edit_type", "category", "type"),
    "instruction": ("instruction", "edit_instruction", "edit", "prompt"),
    "input_caption": ("input_caption", "source_caption", "caption_in", "input_prompt"),
    "output_caption": ("output_caption", "target_caption", "caption_out", "target_prompt"),
}


@dataclass(frozen=True)
class Video:
    """A row: the video's name and set, what it shows, and the caption of each edit by task."""

    name: str
    set: str
    caption: str
    prompts: Mapping[str, str]


@dataclass(frozen=True)
class Listing:
    """The videos of a csv, and what is not as in the whole benchmark."""

    videos: list[Video]
    notes: list[str]

    @property
    def whole(self) -> bool:
        """Whether these are all videos, with all prompts."""
        return not self.notes


def table_in(data: Path) -> Path:
    """The csv of a data folder, or the csv itself."""
    if data.is_file():
        return data
    matches = sorted(data.glob("[!.]*.csv"), key=lambda path: ("loveu" not in path.name.lower(), path.name))
    if not matches:
        raise InputError(f"{data}: there is no LOVEU-TGVE-2023_Dataset.csv in this folder.")
    return matches[0]


def read(file: Path) -> Listing:
    """All videos of a csv; InputError if it has another form."""
    videos = list(_videos(file))
    if not videos:
        raise InputError(f"{file}: no video row was found below a title such as 'DAVIS Videos:'.")
    counts, notes = Counter(video.set for video in videos), []
    for name, expected in COUNTS.items():
        if counts[name] != expected:
            notes.append(f"{name}: {counts[name]} of {expected} videos")
    missing = sum(not video.prompts.get(task) for video in videos for task in TASKS)
    return Listing(videos, [*notes, *([f"{missing} prompts are empty"] if missing else [])])


def _videos(file: Path) -> Iterator[Video]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = [[cell.strip() for cell in row] for row in csv.reader(text)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read: {error}.") from None
    head = rows[0] if rows else []
    if absent := [name for name in (NAME, CAPTION, *TASKS.values()) if name not in head]:
        raise InputError(f"{file}: this is no TGVE table; it lacks the column {absent[0]!r}.")
    home = ""
    for number, cells in enumerate(rows[1:], 2):
        row = dict(zip(head, cells, strict=False))
        name = row.get(NAME, "")
        if name.endswith("Videos:"):
            home = SETS.get(name.split()[0].lower(), "")
            if not home:
                raise InputError(f"{file}:{number}: the title {name!r} is none of DAVIS, Youtube, Videvo.")
        elif name:
            if not home:
                raise InputError(f"{file}:{number}: {name!r} stands above the first title ('DAVIS Videos:').")
            prompts = {task: row.get(column, "") for task, column in TASKS.items()}
            yield Video(name, home, row.get(CAPTION, ""), prompts)


def instructions(file: Path) -> dict[tuple[str, str], str]:
    """InsV2V's instructions by (video, task); InputError if the json has another form."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
        return {
            (name, task): str(row[f"edit_{task}"]).strip()
            for name, row in rows.items()
            for task in TASKS
            if f"edit_{task}" in row
        }
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error}.") from None
    except (ValueError, AttributeError, TypeError):
        raise InputError(f"{file}: must hold {{video: {{edit_style: text, ...}}}}, as InsV2V's prompts do.") from None


def footage(data: Path, name: str, home: str = "") -> Path | None:
    """The clip of a video below a data folder, whose name may be a relative path: its frames, else its file."""
    root = data.parent if data.is_file() else data
    bare = Path(name).stem if Path(name).suffix in (".mp4", ".gif") else Path(name).name
    homes = [home] if home else [*COUNTS]
    places = [clip_named(root, name)]
    for folder in homes:
        places += [clip_named(root / folder / kind, bare) for kind in ("480p_frames", "480p_videos", "")]
    places.append(clip_named(root, bare))
    return next((place for place in places if place is not None), None)


def submitted(edits: Path, video: Video, task: str) -> Path | None:
    """The edit of a video in a submission's folder, with or without the folders of the sets."""
    for home in (edits / video.set, edits):
        if (path := clip_named(home / video.name, task)) is not None:
            return path
    return clip_named(edits, f"{video.name}.{task}")
