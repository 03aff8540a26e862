"""The contract of all metrics, and the columns that detect faulty editors of the world."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.faults import FAULTS
from eve_cli.data.world.edits import render_edit, sample_edit
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.metrics.base import NEEDS, Cache, Column, EditClip, PixelMetric, fingerprint
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.weights import Weights
from eve_cli.registry import load

PIXEL = [name for name, spec in METRICS.items() if issubclass(load(spec), PixelMetric)]
EDITS = [sample_edit(2**41 + 301_000 + seed, task, held_out=None) for seed, task in enumerate(("local", "texture"))]


def columns() -> list[Column]:
    return [column for spec in METRICS.values() for column in load(spec).columns]


def test_names_and_recipes_are_one_metrics_own() -> None:
    names, recipes = [c.name for c in columns()], [c.recipe for c in columns()]
    assert len(set(names)) == len(names) and len(set(recipes)) == len(recipes)


@pytest.mark.parametrize("column", columns(), ids=lambda column: column.name)
def test_a_column_says_what_it_is(column: Column) -> None:
    assert column.better in (-1, 0, 1) and column.help and len(column.help) < 70
    assert column.recipe.count("/") >= 1 and column.recipe == column.recipe.strip().lower()
    for published in column.anchors.values():
        assert published and all(in_range(value, column.range) for value in published.values())


@pytest.mark.parametrize("name", METRICS)
def test_needs_are_known(name: str) -> None:
    assert load(METRICS[name]).needs <= set(NEEDS)


@cache
def rendered():
    return render_edit(EDITS, 8, 64, truth=True)


def edit_clip(row: int, output: Tensor, frames: int | None = None) -> EditClip:
    clips, edit = rendered(), EDITS[row]
    assert clips.after.flow is not None and clips.after.visible is not None
    eight = [(clip[:frames] * 255).round().to(torch.uint8) for clip in (output, clips.source[row], clips.edited[row])]
    count = len(eight[0])
    return EditClip(
        Pair(str(row), str(row), edit.task, Path("a"), Path("b"), edit.instruction, edit.source_caption, edit.caption),
        *eight[:2],
        mask=clips.changed[row][:frames],
        reference=eight[2],
        world={"flow": clips.after.flow[row][: count - 1], "visible": clips.after.visible[row][: count - 1]},
    )


def score(clip: EditClip) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in PIXEL:
        found |= load(METRICS[name])(None, "cpu").score(clip)
    return found


@cache
def scores(fault: str) -> list[dict[str, float]]:
    made = FAULTS[fault](rendered(), EDITS)
    return [score(edit_clip(row, output)) for row, output in enumerate(made)]


@pytest.mark.parametrize("name", PIXEL)
@pytest.mark.parametrize("frames", [1, 2, 8])
def test_every_column_has_a_value_or_a_reason(name: str, frames: int) -> None:
    metric = load(METRICS[name])(None, "cpu")
    clip = edit_clip(0, rendered().edited[0], frames)
    found = metric.score(clip)
    assert metric.missing() is None and list(found) and set(found) == {column.name for column in metric.columns}
    undefined = [column for column, value in found.items() if math.isnan(value)]
    assert all(any(column in note for note in clip.notes) for column in undefined), (undefined, clip.notes)


# The columns that need the mask, the true edit, or the renderer's flow.
UNKNOWN = {
    "preservation": {"kept_psnr", "kept_ssim", "leak"},
    "change": {"change_in"},
    "warp": {"warp_outside"},
    "truth": {"warp_excess_true", "flicker_true", "success"},
}


@pytest.mark.parametrize("name", PIXEL)
def test_without_mask_and_flow_exactly_the_columns_that_need_them_are_undefined(name: str) -> None:
    metric = load(METRICS[name])(None, "cpu")
    clip = edit_clip(0, rendered().edited[0])
    clip.mask = clip.world = None
    if "truth" not in metric.needs:
        clip.reference = None
    undefined = {column for column, value in metric.score(clip).items() if math.isnan(value)}
    assert undefined == UNKNOWN.get(name, set())


# The value of each column where the edit is the source itself; a range where that depends on the clip.
IDENTITY: dict[str, float | tuple[float, float]] = {
    "kept_psnr": 60,
    "kept_ssim": 1,
    "leak": 0,
    "rest_psnr": 60,
    "rest_ssim": 1,
    "change_in": 0,
    "change_all": 0,
    "changed": 0,
    "warp": (0, 50),
    "warp_source": (0, 50),
    "warp_excess": 0,
    "warp_outside": 0,
    "warp_own": 0,
    "flicker": 0,
    "motion_ratio_source": 1,
    "seam": 0,
    "seam_after": 0,
    "sharpness": 1,
    "edit_acc": 0,
    "edit_amount": 0,
    "edit_direction": 0,
    "edit_colour": (1, 255),
    "bg_psnr": (30, 100),
    "bg_ssim": (0.9, 1),
    "colour_bias": (0, 2),
    "motion_ratio": (0.5, 2),
    "detail_ratio": (0.5, 2),
    "true_psnr": (5, 60),
    "warp_excess_true": (-5, 50),
    "flicker_true": (0, 20),
    "success": 0,
    "vbench_flicker": (0.8, 1),
}


@pytest.mark.parametrize("name", PIXEL)
def test_a_copy_of_the_source_has_the_known_value(name: str) -> None:
    found = load(METRICS[name])(None, "cpu").score(edit_clip(0, rendered().source[0]))
    for column, value in found.items():
        expected = IDENTITY[column]
        if isinstance(expected, tuple):
            assert expected[0] <= value <= expected[1], (column, value)
        else:
            assert value == pytest.approx(expected, abs=1e-5), (column, value)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in PIXEL])
def test_without_its_network_a_metric_gives_a_reason(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eve_cli.evaluation.weights.SHIPPED", ())
    monkeypatch.delenv("EVE_WEIGHTS", raising=False)
    monkeypatch.setattr("eve_cli.models.hub.snapshot", lambda *_, **__: tmp_path)
    metric = load(METRICS[name])(Weights(tmp_path), "cpu")
    reason = metric.missing()
    assert reason is not None and reason.startswith(f"{metric.checkpoint}: ") and "\n" not in reason


def in_range(value: float, text: str) -> bool:
    """Whether a value lies in the range that a column states, such as `0-255`, `-1-1`, `0 up`, `to 1`."""
    if text.startswith("to "):
        return value <= float(text[3:]) + 1e-6
    if text.endswith(" up"):
        return value >= float(text[:-3])
    if not text:
        return math.isfinite(value)
    low, high = text[:1] + text[1:].partition("-")[0], text[1:].partition("-")[2]
    return float(low) - 1e-6 <= value <= float(high) + 1e-6


def test_ranges_are_read() -> None:
    assert in_range(-1, "-1-1") and not in_range(1.1, "-1-1") and in_range(255, "0-255") and not in_range(-1, "0-60")
    assert in_range(5, "0 up") and not in_range(-5, "0 up") and in_range(-9, "to 1") and not in_range(2, "to 1")


@pytest.mark.parametrize("name", PIXEL)
@pytest.mark.parametrize("fault", ["the true edit", "the input copied", "the rest repainted", "flicker", "blur"])
def test_values_lie_in_the_stated_range(name: str, fault: str) -> None:
    for row in scores(fault):
        for column in load(METRICS[name]).columns:
            value = row[column.name]
            assert math.isnan(value) or in_range(value, column.range), (column.name, value)


CAUGHT = {  # by which columns without the true edit, and the least or most that shows it (test_faults.py: with it)
    "the input copied": [("change_in", "below", 0.001), ("change_all", "below", 0.001), ("changed", "below", 0.001)],
    "half of the frames": [("seam", "above", 1.0)],
    "the rest repainted": [("kept_psnr", "below", 35), ("leak", "above", 0.5), ("kept_ssim", "below", 0.99)],
    "flicker": [("flicker", "above", 5), ("kept_psnr", "below", 30), ("vbench_flicker", "below", 0.96)],
    "blur": [("sharpness", "below", 0.8), ("kept_ssim", "below", 0.9)],
    "shifted": [("kept_psnr", "below", 30), ("leak", "above", 0.1)],
}


@pytest.mark.parametrize(
    ("fault", "column", "side", "bound"), [(fault, *row) for fault, rows in CAUGHT.items() for row in rows]
)
def test_a_faulty_editor_is_caught_and_the_true_edit_is_not(fault: str, column: str, side: str, bound: float) -> None:
    for found, true in zip(scores(fault), scores("the true edit"), strict=True):
        caught, cleared = (row[column] < bound if side == "below" else row[column] > bound for row in (found, true))
        assert caught and not cleared, (column, found[column], true[column])


def test_a_frozen_clip_is_caught_where_the_source_moves() -> None:
    moving = [row for row in range(len(EDITS)) if not math.isnan(scores("the true edit")[row]["motion_ratio_source"])]
    assert moving
    for row in moving:
        assert scores("the first frame frozen")[row]["motion_ratio_source"] < 0.1
        assert scores("the true edit")[row]["motion_ratio_source"] > 0.7


def test_the_true_edit_is_perfect() -> None:
    for found in scores("the true edit"):
        assert found["edit_acc"] == pytest.approx(1) and found["success"] == 1 and found["leak"] == 0
        assert found["kept_psnr"] == 60 and abs(found["warp_outside"]) < 0.05 and abs(found["warp_excess_true"]) < 1e-6


def test_features_survive_in_a_folder_and_a_cut_file_is_made_again(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Tensor:
        made.append(1)
        return torch.arange(6.0).view(2, 3)

    for _ in range(2):
        assert torch.equal(Cache(tmp_path).get("k", "r", make), torch.arange(6.0).view(2, 3))
    assert len(made) == 1
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-4])
    assert torch.equal(Cache(tmp_path).get("k", "r", make), torch.arange(6.0).view(2, 3)) and len(made) == 2
    Cache(tmp_path).get("k", "another recipe", make)
    assert len(made) == 3


def test_fingerprints_tell_values_and_shapes_apart() -> None:
    frames = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    other = frames.clone()
    other[1, 0, 0, 0] = 1
    assert len({fingerprint(f) for f in (frames, other, frames.view(4, 3, 2, 4))}) == 3
    assert fingerprint(frames) == fingerprint(frames.clone())
