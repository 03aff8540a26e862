"""The world's own measures, which need the true edit (`eve_cli.evaluation.truth`)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from eve_cli.evaluation import truth
from eve_cli.evaluation.metrics.base import Column, Judged, Plain, unit

IN_TIME = ("warp_excess_true", "flicker_true", "success")


class Truth(Plain):
    """How near an edit comes to the true one; those along the flow need the world that drew it."""

    needs = frozenset({"source", "truth"})
    columns = (
        Column("edit_acc", "world/edit-acc", "", 1, "to 1", "1 perfect, 0 untouched, below 0 worse than untouched"),
        Column("edit_amount", "world/edit-amount", "x", 0, "", "how much of the edit is made; 1: whole"),
        Column("edit_direction", "world/edit-dir", "cos", 1, "-1-1", "whether what changed is what was asked"),
        Column("edit_colour", "world/edit-colour", "levels", -1, "0-255", "error of the changed region's mean colour"),
        Column("bg_psnr", "world/bg-psnr", "dB", 1, "0-100", "PSNR against the true edit outside the change"),
        Column("bg_ssim", "world/bg-ssim", "", 1, "-1-1", "SSIM against the true edit outside the change"),
        Column("colour_bias", "world/colour-bias", "levels", -1, "0-255", "error of the mean colour outside"),
        Column("motion_ratio", "world/motion-ratio", "x", 0, "0 up", "change from frame to frame beside the true edit"),
        Column("detail_ratio", "world/detail-ratio", "x", 0, "0 up", "fine detail beside the true edit"),
        Column("true_psnr", "world/psnr", "dB", 1, "0-100", "PSNR of all pixels against the true edit"),
        Column(
            "warp_excess_true", "world/warp-excess", "x1e-3", -1, "", "warp error along the edited world's true flow"
        ),
        Column("flicker_true", "world/flicker", "x1e-2", -1, "0 up", "change over time of what is wrong"),
        Column("success", "world/success", "share", 1, "0-1", "every bound of the world's success is kept"),
    )

    def score(self, clip: Judged) -> dict[str, float]:
        assert clip.source is not None and clip.reference is not None
        edit = [unit(frames).unsqueeze(0) for frames in (clip.source, clip.reference, clip.edited)]
        source, wanted, output = edit
        found = {
            name: getattr(truth, name)(*edit)
            for name in (
                "edit_acc",
                "edit_amount",
                "edit_direction",
                "edit_colour",
                "bg_psnr",
                "bg_ssim",
                "colour_bias",
            )
        }
        found["motion_ratio"] = truth.motion_ratio(wanted, output)
        found["detail_ratio"] = truth.detail_ratio(wanted, output)
        found["true_psnr"] = truth.psnr(output, wanted)
        if clip.world is None or len(clip.edited) < 2:
            clip.note(f"{', '.join(IN_TIME)}: the true flow is not known")
            return told(clip, found) | dict.fromkeys(IN_TIME, torch.nan)
        flow, visible = clip.world["flow"].unsqueeze(0), clip.world["visible"].unsqueeze(0)
        found["warp_excess_true"] = truth.warp_excess(wanted, output, flow, visible) * 1e3
        found["flicker_true"] = truth.flicker(wanted, output, flow, visible) * 1e2
        found["success"] = truth.success(source, wanted, output, flow, visible)
        return told(clip, found)


def told(clip: Judged, found: Mapping[str, Tensor]) -> dict[str, float]:
    """The values as numbers; a note names those that cannot be measured on this edit."""
    numbers = {name: float(row) for name, row in found.items()}
    empty = [name for name, number in numbers.items() if math.isnan(number)]
    if empty:
        clip.note(f"{', '.join(empty)}: nothing to measure (all is changed, nothing is, or it stands still)")
    return numbers
