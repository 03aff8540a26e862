"""Metrics against the true edit of world scenes (`eve_cli.evaluation.truth`)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from eve_cli.evaluation import truth
from eve_cli.evaluation.metrics.base import Column, EditClip, PixelMetric, unit

IN_TIME = ("warp_excess_true", "flicker_true", "success")


class Truth(PixelMetric):
    """Agreement with the true edit; the temporal metrics need the renderer's flow."""

    needs = frozenset({"source", "truth"})
    columns = (
        Column("edit_acc", "world/edit-acc", "", 1, "to 1", "1 perfect, 0 unchanged, below 0 worse than unchanged"),
        Column("edit_amount", "world/edit-amount", "x", 0, "", "amount of the edit; 1: complete"),
        Column("edit_direction", "world/edit-dir", "cos", 1, "-1-1", "cosine of the actual and the true change"),
        Column("edit_colour", "world/edit-colour", "levels", -1, "0-255", "error of the changed region's mean colour"),
        Column("bg_psnr", "world/bg-psnr", "dB", 1, "0-100", "PSNR against the true edit outside the change"),
        Column("bg_ssim", "world/bg-ssim", "", 1, "-1-1", "SSIM against the true edit outside the change"),
        Column("colour_bias", "world/colour-bias", "levels", -1, "0-255", "error of the mean colour outside"),
        Column(
            "motion_ratio", "world/motion-ratio", "x", 0, "0 up", "change from frame to frame relative to the true edit"
        ),
        Column("detail_ratio", "world/detail-ratio", "x", 0, "0 up", "fine detail relative to the true edit"),
        Column("true_psnr", "world/psnr", "dB", 1, "0-100", "PSNR of all pixels against the true edit"),
        Column(
            "warp_excess_true", "world/warp-excess", "x1e-3", -1, "", "warp error along the edited world's true flow"
        ),
        Column("flicker_true", "world/flicker", "x1e-2", -1, "0 up", "change of the error over time"),
        Column("success", "world/success", "share", 1, "0-1", "all metrics within the bounds of success"),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        assert clip.source is not None and clip.reference is not None
        edit = [unit(frames).unsqueeze(0) for frames in (clip.source, clip.reference, clip.edited)]
        source, target, output = edit
        values = {
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
        values["motion_ratio"] = truth.motion_ratio(target, output)
        values["detail_ratio"] = truth.detail_ratio(target, output)
        values["true_psnr"] = truth.psnr(output, target)
        if clip.world is None or len(clip.edited) < 2:
            clip.note(f"{', '.join(IN_TIME)}: the true flow is unknown")
            return as_numbers(clip, values) | dict.fromkeys(IN_TIME, torch.nan)
        flow, visible = clip.world["flow"].unsqueeze(0), clip.world["visible"].unsqueeze(0)
        values["warp_excess_true"] = truth.warp_excess(target, output, flow, visible) * 1e3
        values["flicker_true"] = truth.flicker(target, output, flow, visible) * 1e2
        values["success"] = truth.success(source, target, output, flow, visible)
        return as_numbers(clip, values)


def as_numbers(clip: EditClip, values: Mapping[str, Tensor]) -> dict[str, float]:
    """The values as numbers, with a note on those that are undefined for this edit."""
    numbers = {name: float(row) for name, row in values.items()}
    undefined = [name for name, number in numbers.items() if math.isnan(number)]
    if undefined:
        clip.note(f"{', '.join(undefined)}: undefined (everything or nothing changes, or the true edit is still)")
    return numbers
