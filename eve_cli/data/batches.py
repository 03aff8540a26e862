"""Where trainings draw from: the world, a folder, or triplets; every batch is a pure function of a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from eve_cli.data import folders, frames, layouts, triplets
from eve_cli.data.looks import draw_look
from eve_cli.data.sample import Item, Triplet, changed_region
from eve_cli.data.world import feed
from eve_cli.data.world.feed import Clips, Pairs, Pictures
from eve_cli.errors import InputError, UsageError
from eve_cli.storage.paths import expanded

LONG = 32  # frame numbers that single pictures are taken from
LOOK_SHARE = 0.3  # of a folder's pictures and clips that are shown under a look


class Source(Protocol):
    """Draws what recipes learn from: pictures and clips with texts, and pairs with instructions."""

    def pictures(self, seed: int, count: int, side: int) -> Pictures: ...

    def pairs(self, seed: int, count: int, side: int, tasks: Mapping[str, float] | None = None) -> Pairs: ...

    def clips(self, seed: int, count: int, length: int, side: int) -> Clips: ...


def open_source(
    data: str, photos: Tensor | None = None, photo_share: float = 0.0, wide: Tensor | None = None
) -> Source:
    """The source that `--data` names: `world`, or what `layouts.scan` reads; photographs are mixed into the world."""
    if data == "world":
        return World(photos, photo_share, wide)
    path = expanded(data)
    if not path.exists():
        raise UsageError(f"--data {data} is neither `world`, nor a folder or file that exists.")
    if path.suffix == ".jsonl" and path.is_file() and layouts.form(path) == "triplets":
        return Triplets(triplets.read(path))
    items = usable(layouts.scan(path), path)
    rows = [item for item in items if isinstance(item, Triplet)]
    return Triplets(rows) if rows else Folder([item for item in items if isinstance(item, Item)])


def usable(listing: layouts.Entries, path: Path) -> Sequence[Item | Triplet]:
    """The items of a listing; InputError with the reasons if there are none."""
    if not listing.items:
        why = "; ".join(f"{count} with {reason}" for reason, count in listing.reasons().items()) or "it is empty"
        raise InputError(f"{path} holds nothing to learn from: {why}.")
    return listing.items


@dataclass(frozen=True)
class World:
    """The procedural world, with a share of photographs, and photographs of another shape (`wide`) on their own."""

    photos: Tensor | None = None
    photo_share: float = 0.0
    wide: Tensor | None = None

    def pictures(self, seed: int, count: int, side: int) -> Pictures:
        return feed.pictures(seed, count, side, self.photos, self.photo_share)

    def pairs(self, seed: int, count: int, side: int, tasks: Mapping[str, float] | None = None) -> Pairs:
        shares = dict(tasks) if tasks else None
        return feed.pairs(seed, count, side, self.photos, self.photo_share, tasks=shares)

    def wide_pairs(self, seed: int, count: int) -> Pairs:
        """Edits of wide photographs alone: the world is drawn in squares."""
        assert self.wide is not None
        return feed.pairs(seed, count, self.wide.shape[-2], self.wide, photo_share=1.0)

    def clips(self, seed: int, count: int, length: int, side: int) -> Clips:
        return feed.clips(seed, count, length, side, self.photos, self.photo_share)


class Folder:
    """Pictures and videos of a folder; edits are looks, whose answers a program gives."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.videos = [item for item in items if item.kind == "video"]
        self.cache: frames.ClipCache | None = None

    def pictures(self, seed: int, count: int, side: int) -> Pictures:
        """Single frames; some under a look, with the look's phrase behind the caption or its instruction instead."""
        rng = random.Random(f"pictures {seed}")
        parts, texts = [], []
        for _ in range(count):
            item = rng.choice(self.items)
            frame, text = self._clip(item, 1, side, rng), item.caption
            if rng.random() < LOOK_SHARE:
                look = draw_look(rng)
                frame = look.function(frame, rng.randrange(2**31), rng.randrange(LONG))
                text = rng.choice((f"{text}, {rng.choice(look.captions)}", look.instruction(rng)))
            parts.append(frame)
            texts.append(text)
        return Pictures(torch.cat(parts), texts, torch.zeros(count, side, side))

    def pairs(self, seed: int, count: int, side: int, tasks: Mapping[str, float] | None = None) -> Pairs:
        """Single frames and the same under a look."""
        rng = random.Random(f"pairs {seed}")
        source, edited, rows = [], [], []
        for _ in range(count):
            item, look = rng.choice(self.items), draw_look(rng)
            frame = self._clip(item, 1, side, rng)
            source.append(frame)
            edited.append(look.function(frame, rng.randrange(2**31), rng.randrange(LONG)))
            rows.append((look.instruction(rng), f"{item.caption}, {rng.choice(look.captions)}", look.task))
        return _pairs(source, edited, rows)

    def clips(self, seed: int, count: int, length: int, side: int) -> Clips:
        """Parts of the videos; some under a look."""
        if not self.videos:
            raise InputError("Videos are needed to train the video adapter, and the folder has none.")
        rng = random.Random(f"clips {seed}")
        parts, texts = [], []
        for _ in range(count):
            item = rng.choice(self.videos)
            clip, text = self._clip(item, length, side, rng), item.caption
            if rng.random() < LOOK_SHARE:
                look = draw_look(rng)
                clip = look.function(clip, rng.randrange(2**31), rng.randrange(LONG))
                text = f"{text}, {rng.choice(look.captions)}"
            parts.append(clip)
            texts.append(text)
        return Clips(torch.stack(parts), texts)

    def _clip(self, item: Item, length: int, side: int, rng: random.Random) -> Tensor:
        self.cache = self.cache or frames.ClipCache(round(side * 1.25))
        return frames.square(_part(self.cache, item.path, length, rng), side, rng)


class Triplets:
    """Edits from a file, each with its answer."""

    def __init__(self, rows: Sequence[Triplet]) -> None:
        self.rows = rows
        self.cache: frames.ClipCache | None = None

    def pictures(self, seed: int, count: int, side: int) -> Pictures:
        """Frames of the outputs, and of the inputs that have captions."""
        rng = random.Random(f"pictures {seed}")
        parts, texts = [], []
        for _ in range(count):
            row = rng.choice(self.rows)
            before, after = self._both(row, 1, side, rng)
            first = bool(row.input_caption) and rng.random() < 0.5
            parts.append(before if first else after)
            texts.append(row.input_caption if first else rng.choice((row.output_caption, row.instruction)))
        return Pictures(torch.cat(parts), texts, torch.zeros(count, side, side))

    def pairs(self, seed: int, count: int, side: int, tasks: Mapping[str, float] | None = None) -> Pairs:
        """Single frames before and after, cut alike; `tasks` weighs the rows that name a task."""
        rng = random.Random(f"pairs {seed}")
        weights = [(tasks or {}).get(row.task or "", 1.0) for row in self.rows]
        source, edited, texts = [], [], []
        for row in rng.choices(self.rows, weights, k=count):
            before, after = self._both(row, 1, side, rng)
            source.append(before)
            edited.append(after)
            texts.append((row.instruction, row.output_caption, row.task or "unknown"))
        return _pairs(source, edited, texts)

    def clips(self, seed: int, count: int, length: int, side: int) -> Clips:
        """Parts of the output videos."""
        rng = random.Random(f"clips {seed}")
        videos = [row for row in self.rows if folders.kind_of(row.output) == "video"]
        if not videos:
            raise InputError("Videos are needed to train the video adapter, and the triplets have none.")
        chosen = [rng.choice(videos) for _ in range(count)]
        parts = [self._both(row, length, side, rng)[1] for row in chosen]
        return Clips(torch.stack(parts), [row.output_caption for row in chosen])

    def _both(self, row: Triplet, length: int, side: int, rng: random.Random) -> tuple[Tensor, Tensor]:
        self.cache = self.cache or frames.ClipCache(round(side * 1.25))
        before, after = self.cache.length(row.input), self.cache.length(row.output)
        if before != after:
            raise InputError(f"Row {row.row}: input has {before} frames and output {after}; they must agree.")
        state = rng.getstate()
        one = _part(self.cache, row.input, length, rng)
        cut = rng.getstate()
        rng.setstate(state)  # the same part, the same cut
        other = _part(self.cache, row.output, length, rng)
        if one.shape != other.shape:
            raise InputError(f"Row {row.row}: input and output do not have the same aspect.")
        squared = frames.square(one, side, rng)
        rng.setstate(cut)
        return squared, frames.square(other, side, rng)


def _part(cache: frames.ClipCache, path: Path, length: int, rng: random.Random) -> Tensor:
    """`length` frames in a row, from anywhere; a clip that is too short is played to and fro."""
    count = cache.length(path)
    if count < length:
        order = [*range(count), *range(count - 2, 0, -1)]
        return cache.read(path)[[order[i % len(order)] for i in range(length)]]
    return cache.read(path, rng.randint(0, count - length), length)


def _pairs(source: list[Tensor], edited: list[Tensor], texts: list[tuple[str, str, str]]) -> Pairs:
    before, after = torch.stack(source), torch.stack(edited)
    changed = changed_region(before, after)
    instructions, captions, tasks = ([row[i] for row in texts] for i in range(3))
    return Pairs(before, after, changed, instructions, captions, tasks)
