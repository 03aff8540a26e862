"""Tags and chapters of the source, as they go into the output."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from eve_cli.media.clip import VideoInfo

if TYPE_CHECKING:
    from av.container import OutputContainer

# What the mp4 and mov muxers know by themselves; anything else needs their key-value table.
COMMON = {"title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping"}
COMMON |= {"description", "synopsis", "show", "episode_id", "network", "lyrics", "keywords", "track", "disc"}
COMMON |= {"creation_time", "location", "timecode"}

RECORD_TAGS = ("comment", "description", "synopsis")


def merged(like: VideoInfo | None, more: Mapping[str, str]) -> dict[str, str]:
    """Join the source's tags and the user's own; a tag repeated per language is kept once."""
    tags = dict(like.metadata) if like else {}
    tags = {key: value for key, value in tags.items() if not (key[-4:-3] == "-" and key[:-4] in tags)}
    return tags | dict(more)


def with_record(like: VideoInfo | None, record: str | None) -> dict[str, str]:
    """The record under the first of three tags that the source does not have."""
    if record is None:
        return {}
    taken = {key.lower() for key in like.metadata} if like else set[str]()
    return {next((key for key in RECORD_TAGS if key not in taken), RECORD_TAGS[0]): record}


def needs_table(tags: Mapping[str, str], kind: str) -> bool:
    """Whether some tag is not one that mp4, or mov, has a place for."""
    places = COMMON - ({"description", "synopsis"} if kind == ".mov" else set())
    return any(key.lower() not in places for key in tags)


def copy_chapters(output: OutputContainer, like: VideoInfo, zero: Fraction) -> None:
    """Copy the chapters, shifted by `zero`; those outside what is kept are dropped."""
    tick = Fraction(1, 1000)
    chapters = []
    for chapter in like.chapters:
        start = max(chapter.start - zero, Fraction(0))
        end = (chapter.end if like.cut_end is None else min(chapter.end, like.cut_end)) - zero
        if end > start:
            times = {"start": round(start / tick), "end": round(end / tick), "time_base": tick}
            chapters.append({"id": len(chapters), **times, "metadata": dict(chapter.metadata)})
    if chapters:
        output.set_chapters(chapters)
