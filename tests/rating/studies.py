"""Studies for tests: systems in manifests, and simulated raters."""

import csv
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from eve_cli.rating import create, study
from eve_cli.rating.settings import CreateSettings
from eve_cli.rating.study import Plan
from tests.clips import make_clip, pictures

TASKS = ("style", "object")
CAPTION = "<img src=x onerror=\"document.title='owned'\"> a swan"
INSTRUCTION = "</script><script>document.title='owned'</script> make it snow"


def manifests(folder: Path, systems: Sequence[str], videos: int, real: bool = False) -> list[str]:
    """A manifest for each system, as arguments of `eve rate create`; without `real`, the videos are empty files."""
    words = []
    for number, system in enumerate(systems):
        rows = []
        for video in range(videos):
            source = folder / f"v{video}.mkv"
            frames = pictures(6, 48, 32, seed=video) if real else None
            _clip(source, frames)
            for task in TASKS:
                edited = folder / system / f"v{video}.{task}.mkv"
                edited.parent.mkdir(exist_ok=True)
                _clip(edited, None if frames is None else frames[:, [number % 3, 1, 2]])
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


def _clip(path: Path, frames: object) -> None:
    if frames is None:
        path.touch()
    elif not path.exists():
        make_clip(path, frames)  # type: ignore[arg-type]


def make_study(folder: Path, systems: Sequence[str], videos: int, real: bool = False, **settings: object) -> Path:
    """The folder of a study of these systems."""
    words = manifests(folder, systems, videos, real)
    chosen = CreateSettings(words, out=folder / "study", **settings)  # type: ignore[arg-type]
    create.StudyWriter(chosen, create.draft(chosen)).write(lambda done: None)
    return folder / "study"


RaterModel = Callable[[random.Random, Sequence[str], str, str], int]


def simulate(folder: Path, raters: int, rater_model: RaterModel, seed: int = 0) -> Plan:
    """Writes the answers of raters to all their trials; `rater_model` (rng, systems shown, question, video) chooses."""
    plan, key = study.load(folder), study.load_key(folder)
    for seat in range(raters):
        rng = random.Random(f"{seed} {seat}")
        lines: list[dict[str, object]] = [{"kind": "start", "seat": seat}]
        for trial in plan.trials_for(seat):
            shown = [key["media"][name]["system"] for name in trial.edits]
            for question in plan.questions_for(seat):
                choice = rater_model(rng, shown, question.id, key["trials"][trial.id]["video"])
                answer = {"trial": trial.id, "question": question.id, "choice": choice, "shown": trial.edits}
                lines.append({"kind": "answer", "seat": seat, "rt_ms": 4000, **answer})
        (folder / f"answers-r{seat:02d}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return plan
