"""Studies to test with: systems in manifests, and raters whose minds are known."""

import csv
import json
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from eve_cli.rating import clips, create, study
from eve_cli.rating.settings import MakeSettings
from eve_cli.rating.study import Plan
from tests.clips import make_clip, pictures

TASKS = ("style", "object")
CAPTION = "<img src=x onerror=\"document.title='owned'\"> a swan"
INSTRUCTION = "</script><script>document.title='owned'</script> make it snow"


def manifests(folder: Path, systems: Sequence[str], videos: int, real: bool = False) -> list[str]:
    """A manifest for each system, as words of `eve rate make`; without `real`, the videos are empty files."""
    words = []
    for number, system in enumerate(systems):
        rows = []
        for video in range(videos):
            source = folder / f"v{video}.mkv"
            shown = pictures(6, 48, 32, seed=video) if real else None
            _clip(source, shown)
            for task in TASKS:
                edited = folder / system / f"v{video}.{task}.mkv"
                edited.parent.mkdir(exist_ok=True)
                _clip(edited, None if shown is None else shown[:, [number % 3, 1, 2]])
                texts = {"output_caption": CAPTION, "instruction": INSTRUCTION}
                paths = {"source": source.name, "edited": f"{system}/{edited.name}"}
                rows.append({"id": f"v{video}.{task}", "video": f"v{video}", "task": task, **paths, **texts})
        file = folder / f"{system}.csv"
        with file.open("w", newline="") as text:
            writer = csv.DictWriter(text, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        words.append(f"{system}={file}")
    return words


def _clip(path: Path, shown: object) -> None:
    if shown is None:
        path.touch()
    elif not path.exists():
        make_clip(path, shown)  # type: ignore[arg-type]


@pytest.fixture
def no_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes studies without encoding anything."""

    def touch(source: Path, target: Path, *_: object) -> Fraction:
        target.touch()
        return Fraction(1)

    monkeypatch.setattr(clips, "encode", touch)
    monkeypatch.setattr(clips, "wreck", touch)
    monkeypatch.setattr(clips, "rate", lambda path: Fraction(10))


def made(folder: Path, systems: Sequence[str], videos: int, real: bool = False, **settings: object) -> Path:
    """The folder of a study of these systems."""
    words = manifests(folder, systems, videos, real)
    chosen = MakeSettings(words, out=folder / "study", **settings)  # type: ignore[arg-type]
    create.Writer(chosen, create.draft(chosen)).write(lambda done: None)
    return folder / "study"


Mind = Callable[[random.Random, Sequence[str], str, str], int]


def simulate(folder: Path, raters: int, mind: Mind, seed: int = 0) -> Plan:
    """Lets raters answer all they are shown; `mind` (dice, systems shown, question, video) gives the choice."""
    plan, key = study.load(folder), study.load_key(folder)
    for seat in range(raters):
        dice = random.Random(f"{seed} {seat}")
        lines: list[dict[str, object]] = [{"kind": "start", "seat": seat}]
        for trial in plan.sheet(seat):
            shown = [key["media"][name]["system"] for name in trial.edits]
            for question in plan.asked(seat):
                choice = mind(dice, shown, question.id, key["trials"][trial.id]["video"])
                answer = {"trial": trial.id, "question": question.id, "choice": choice, "shown": trial.edits}
                lines.append({"kind": "answer", "seat": seat, "rt_ms": 4000, **answer})
        (folder / f"answers-r{seat:02d}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return plan
