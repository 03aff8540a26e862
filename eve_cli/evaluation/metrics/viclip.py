"""ViCLIP_dir and ViCLIP_out (EVE, section 4): whether a clip changed as its captions did, and what it shows now."""

from __future__ import annotations

import torch
from torch import Tensor

from eve_cli.evaluation.metrics.base import Column, Judged
from eve_cli.evaluation.metrics.networks import WithViclip
from eve_cli.evaluation.metrics.similarity import cosine, direction


def columns(name: str, recipe: str) -> tuple[Column, ...]:
    """The columns under a name and a recipe."""
    return (
        Column(f"{name}_dir", f"{recipe}/dir", "cos", 1, "-1-1", "change of the clip along the change of the caption"),
        Column(f"{name}_out", f"{recipe}/out", "cos", 1, "-1-1", "ViCLIP likeness of the edit and its caption"),
        Column(f"{name}_words", f"{recipe}/words", "", 0, "0-2", "how far apart the two captions are"),
        Column(f"{name}_unchanged", f"{recipe}/unchanged", "share", 0, "0-1", "clips or captions without a change"),
    )


def scores(name: str, clip: Judged, seen: tuple[Tensor, Tensor], said: tuple[Tensor, Tensor] | None, after: Tensor):
    """The values of `columns`: features of the edit and its source, of both captions, and of the output caption."""
    found = {f"{name}_out": cosine(seen[0], after)}
    if said is None:
        clip.note(f"{name}_dir: the input caption is not known")
        return found | dict.fromkeys((f"{name}_dir", f"{name}_words", f"{name}_unchanged"), torch.nan)
    value, differs = direction(*seen, *said)
    if not differs:
        clip.note(f"{name}_dir: the clip or its caption is unchanged, which counts as 0")
    words = float((said[0] - said[1]).double().norm())
    return found | {f"{name}_dir": value, f"{name}_words": words, f"{name}_unchanged": float(not differs)}


class Internvid(WithViclip):
    """Frames as the makers of the weights prepare them. EVE names no preparation: its figures are no anchors here."""

    name = "viclip"
    columns = columns("viclip", "viclip-l14/internvid")

    def score(self, clip: Judged) -> dict[str, float]:
        assert clip.source is not None
        pair = clip.pair
        after = self.read(clip, pair.output_caption)
        said = (after, self.read(clip, pair.input_caption)) if pair.input_caption else None
        return scores(self.name, clip, (self.look(clip, clip.edited), self.look(clip, clip.source)), said, after)


class Vbench(Internvid):
    """Frames as VBench prepares them; `out` is its overall consistency."""

    name, preparation = "viclip_vbench", "vbench"
    columns = columns("viclip_vbench", "viclip-l14/vbench")


class Editverse(Internvid):
    """Frames as EditVerse prepares them, whose tables show `out` times 100."""

    name, preparation = "viclip_editverse", "editverse"
    columns = columns("viclip_editverse", "viclip-l14/editverse")


class InternvidB16(Internvid):
    """The smaller network."""

    name, checkpoint = "viclip_b16", "viclip-b16"
    columns = columns("viclip_b16", "viclip-b16/internvid")
