"""ViCLIP_dir and ViCLIP_out (EVE, section 4): change along that of the captions, and similarity to the caption."""

from __future__ import annotations

import torch
from torch import Tensor

from eve_cli.evaluation.metrics.base import Column, EditClip
from eve_cli.evaluation.metrics.networks import WithViclip
from eve_cli.evaluation.metrics.similarity import cosine, direction


def columns(name: str, recipe: str) -> tuple[Column, ...]:
    """The columns under a name and a recipe."""
    return (
        Column(f"{name}_dir", f"{recipe}/dir", "cos", 1, "-1-1", "change of the clip along the change of the caption"),
        Column(f"{name}_out", f"{recipe}/out", "cos", 1, "-1-1", "ViCLIP similarity of the edit and its caption"),
        Column(f"{name}_words", f"{recipe}/words", "", 0, "0-2", "distance of the two captions"),
        Column(f"{name}_unchanged", f"{recipe}/unchanged", "share", 0, "0-1", "clips or captions without a change"),
    )


def scores(
    name: str, clip: EditClip, clips: tuple[Tensor, Tensor], captions: tuple[Tensor, Tensor] | None, after: Tensor
):
    """The values of `columns`: features of the edit and its source, of both captions, and of the output caption."""
    values = {f"{name}_out": cosine(clips[0], after)}
    if captions is None:
        clip.note(f"{name}_dir: the input caption is unknown")
        return values | dict.fromkeys((f"{name}_dir", f"{name}_words", f"{name}_unchanged"), torch.nan)
    value, differs = direction(*clips, *captions)
    if not differs:
        clip.note(f"{name}_dir: the clip or its caption is unchanged, so the value is 0")
    caption_distance = float((captions[0] - captions[1]).double().norm())
    return values | {f"{name}_dir": value, f"{name}_words": caption_distance, f"{name}_unchanged": float(not differs)}


class Internvid(WithViclip):
    """Preprocessing of the authors of the weights. EVE states none, so its figures are not listed as anchors."""

    name = "viclip"
    columns = columns("viclip", "viclip-l14/internvid")

    def score(self, clip: EditClip) -> dict[str, float]:
        assert clip.source is not None
        pair = clip.pair
        after = self.encode_text(clip, pair.output_caption)
        captions = (after, self.encode_text(clip, pair.input_caption)) if pair.input_caption else None
        return scores(
            self.name,
            clip,
            (self.encode_frames(clip, clip.edited), self.encode_frames(clip, clip.source)),
            captions,
            after,
        )


class Vbench(Internvid):
    """Preprocessing of VBench; `out` is its overall consistency."""

    name, preparation = "viclip_vbench", "vbench"
    columns = columns("viclip_vbench", "viclip-l14/vbench")


class Editverse(Internvid):
    """Preprocessing of EditVerse, whose tables show `out` times 100."""

    name, preparation = "viclip_editverse", "editverse"
    columns = columns("viclip_editverse", "viclip-l14/editverse")


class InternvidB16(Internvid):
    """The smaller network."""

    name, checkpoint = "viclip_b16", "viclip-b16"
    columns = columns("viclip_b16", "viclip-b16/internvid")
