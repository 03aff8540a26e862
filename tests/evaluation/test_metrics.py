"""What all metrics promise, and what the faulty editors of the world are caught by."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.faults import FAULTS
from eve_cli.data.world.edits import render_edit, sample_edit
from eve_cli.evaluation.metrics import METRICS
from eve_cli.evaluation.metrics.base import NEEDS, Cache, Column, Judged, Plain, fingerprint
from eve_cli.evaluation.pairs import Pair
from eve_cli.registry import load

PLAIN = [name for name, spec in METRICS.items() if issubclass(load(spec), Plain)]
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
    assert all(isinstance(v, float) for row in column.anchors.values() for v in row.values())


@pytest.mark.parametrize("name", METRICS)
def test_needs_are_known(name: str) -> None:
    assert load(METRICS[name]).needs <= set(NEEDS)


@cache
def drawn():
    return render_edit(EDITS, 8, 64, truth=True)


def judged(row: int, output: Tensor, frames: int | None = None) -> Judged:
    clips, edit = drawn(), EDITS[row]
    assert clips.after.flow is not None and clips.after.visible is not None
    eight = [(clip[:frames] * 255).round().to(torch.uint8) for clip in (output, clips.source[row], clips.edited[row])]
    count = len(eight[0])
    return Judged(
        Pair(str(row), str(row), edit.task, Path("a"), Path("b"), edit.instruction, edit.source_caption, edit.caption),
        *eight[:2],
        mask=clips.changed[row][:frames],
        reference=eight[2],
        world={"flow": clips.after.flow[row][: count - 1], "visible": clips.after.visible[row][: count - 1]},
    )


def score(clip: Judged) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in PLAIN:
        found |= load(METRICS[name])(None, "cpu").score(clip)
    return found


@cache
def scores(fault: str) -> list[dict[str, float]]:
    made = FAULTS[fault](drawn(), EDITS)
    return [score(judged(row, output)) for row, output in enumerate(made)]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("frames", [1, 2, 8])
def test_every_column_has_a_value_or_a_reason(name: str, frames: int) -> None:
    metric = load(METRICS[name])(None, "cpu")
    clip = judged(0, drawn().edited[0], frames)
    found = metric.score(clip)
    assert metric.missing() is None and list(found) and set(found) == {column.name for column in metric.columns}
    undefined = [column for column, value in found.items() if math.isnan(value)]
    assert all(any(column in note for note in clip.notes) for column in undefined), (undefined, clip.notes)


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_not_known_is_no_number(name: str) -> None:
    metric = load(METRICS[name])(None, "cpu")
    clip = judged(0, drawn().edited[0])
    clip.mask = clip.world = None
    if "truth" not in metric.needs:
        clip.reference = None
    found = metric.score(clip)
    unknown = {"kept_psnr", "leak", "change_in", "warp_outside", "success"} & found.keys()
    assert all(math.isnan(found[column]) for column in unknown)


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
