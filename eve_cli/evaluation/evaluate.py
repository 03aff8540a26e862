"""From edits to a folder of results: scores, csv, summary, plots, page, and the record of how they came about."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eve_cli.errors import EveError, OutputError
from eve_cli.evaluation import summary
from eve_cli.evaluation.judging import Rule
from eve_cli.evaluation.report import page, plots
from eve_cli.evaluation.results import (
    PER_EDIT,
    RUN,
    SUMMARY,
    Results,
    described,
    plain,
    write_csv,
    write_json,
)
from eve_cli.evaluation.run import SCORES, Progress, Run, judges
from eve_cli.evaluation.sets import EvalSet
from eve_cli.evaluation.settings import JudgeSettings
from eve_cli.evaluation.weights import Weights
from eve_cli.runtime.device import pick_device
from eve_cli.runtime.environment import versions
from eve_cli.settings import to_mapping
from eve_cli.storage.atomic import write_text
from eve_cli.storage.hashing import file_sha256

MARKDOWN = "summary.md"
FORMAT = 1
# Words of a command line that nobody wants in a file that is handed on.
SECRET = re.compile(r"(hf_|sk-|ghp_)[A-Za-z0-9_-]{8,}|(?<=://)[^/@\s]+:[^/@\s]+(?=@)")
SECRET_OPTION = re.compile(r"^(--?[\w-]*(?:token|key|password|secret)[\w-]*)(=.*)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Outcome:
    """What a run gave: its folder, its rows, and all that summary.json says."""

    folder: Path
    results: Results
    told: Mapping[str, Any]


def prepare(out: Path, resume: bool, overwrite: bool) -> None:
    """Makes the folder of results; OutputError if it holds some and neither `resume` nor `overwrite` is set."""
    held = [out / name for name in (SCORES, RUN) if (out / name).is_file()]
    if held and not resume and not overwrite:
        raise OutputError(f"{out} holds results already; give --resume, --overwrite or another --out.")
    if overwrite:
        for file in held:
            file.unlink()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made: {error.strerror or error}.") from error


def evaluate(
    asked: EvalSet,
    settings: JudgeSettings,
    command: Sequence[str] = (),
    progress: Progress = lambda done, of: None,
    notes: Sequence[str] = (),
) -> Outcome:
    """Judges the set and writes everything into `settings.out`, which `prepare` has made.

    OutOfMemory and ModelError end the run; whatever is wrong with one edit becomes the reason in its row.
    """
    started, device = time.time(), str(pick_device(settings.device))
    weights = Weights(settings.weights, settings.download)
    ready = judges(settings.metrics, weights, device, [pair for pairs in asked.methods.values() for pair in pairs])
    used = _used(weights)
    run = Run(settings.out, Rule(settings.align, settings.max_frames), settings.videos, salt=str(used))
    results = run.score(asked, ready, progress)
    told = plain(summary.summarise(asked, results, ready.not_run, settings.seed, notes))
    out = settings.out
    write_csv(out / PER_EDIT, results)
    write_json(out / SUMMARY, told)
    write_text(out / MARKDOWN, summary.markdown(told))
    drawn = plots.write(out, told, results)
    shown = {
        (name, pair.id): {
            part: path.relative_to(out).as_posix() for part, path in run.shown(pair).items() if path.is_file()
        }
        for name, pairs in asked.methods.items()
        for pair in pairs
    }
    page.write(out, told, asked, results, shown if settings.videos else {}, drawn)
    write_json(
        out / RUN,
        {
            "format": FORMAT,
            "command": without_secrets(command),
            "settings": to_mapping(settings),
            "data": {
                "name": asked.name,
                "whole": asked.whole,
                "edits": len(asked.pairs),
                "files": [{"name": file.name, "sha256": file_sha256(file)} for file in asked.files],
                "notes": list(asked.notes),
            },
            "methods": list(asked.methods),
            "columns": [described(column) for column in results.columns],
            "not_run": dict(ready.not_run),
            "weights": used,
            "device": device,
            "versions": versions(),
            "machine": platform.machine(),
            "failed": len(results.failed),
            "seconds": round(time.time() - started, 3),
        },
    )
    return Outcome(out, results, told)


def without_secrets(command: Sequence[str]) -> list[str]:
    """The words of a command line, with anything that looks like a token or password replaced."""
    words, hide = [], False
    for word in command:
        option = SECRET_OPTION.match(word)
        words.append("***" if hide else f"{option[1]}=***" if option and option[2] else SECRET.sub("***", word))
        hide = bool(option) and not option[2] if option else False
    return words


def _used(weights: Weights) -> list[dict[str, Any]]:
    """The checkpoints that metrics asked for and that are here."""
    found = []
    for name, trouble in weights.checked.items():
        if trouble is None:
            try:
                found.append(weights.describe(name))
            except (EveError, OSError):  # a folder of words alone
                continue
    return found
