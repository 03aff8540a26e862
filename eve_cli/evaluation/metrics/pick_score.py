"""PickScore of an edit's frames (Kirstain et al. 2023), as in the TGVE script and in EditVerse."""

from __future__ import annotations

from eve_cli.evaluation.metrics.base import Column, EditClip
from eve_cli.evaluation.metrics.networks import WithClip
from eve_cli.perception import pickscore

TGVE = {
    "Tune-A-Video": 20.36,
    "SDEdit": 20.18,
    "STDF": 20.40,
    "Fairy": 19.80,
    "InsV2V": 20.76,
    "EVE": 20.76,
    "TokenFlow": 20.49,
    "RAVE": 20.35,
}
PLUS = {"Tune-A-Video": 20.47, "SDEdit": 20.35, "STDF": 20.60, "Fairy": 19.81, "InsV2V": 20.37, "EVE": 20.88}


class PickScore(WithClip):
    """Predicted human preference for the output caption, mean over frames; varies little between good editors."""

    checkpoint = "pick-h14"
    needs = frozenset({"weights", "captions"})
    columns = (
        Column(
            "pick_score",
            "tgve/pick-h14",
            "logit",
            1,
            "18-22",
            "PickScore of frames for the output caption",
            {"tgve": TGVE, "tgve+": PLUS},
        ),
    )

    def score(self, clip: EditClip) -> dict[str, float]:
        caption = self.encode_text(clip, clip.pair.output_caption)
        features = self.encode_frames(clip, clip.edited)
        return {self.columns[0].name: pickscore.score(features, caption, self.encoder.scale)}


class Pick672(PickScore):
    """EditVerse's: frames no larger than 672 pixels, not made square."""

    square, longest = None, 672
    columns = (
        Column("editverse_pick", "editverse/pick672", "logit", 1, "18-22", "PickScore of frames of at most 672 pixels"),
    )
