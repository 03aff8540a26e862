"""Evaluates edits into a folder of results: scores, csv, summary, plots, page, and a record of how they were made."""

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
from eve_cli.evaluation.clip_loader import FrameSelection
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
from eve_cli.evaluation.scorer import SCORES, Progress, Scorer, select_metrics
from eve_cli.evaluation.sets import EvalSet
from eve_cli.evaluation.settings import ScoreSettings
from eve_cli.evaluation.weights import Weights
from eve_cli.runtime.device import pick_device
from eve_cli.runtime.environment import versions
from eve_cli.settings import to_mapping
from eve_cli.storage.atomic import write_text
from eve_cli.storage.hashing import file_sha256

MARKDOWN = "summary.md"
FORMAT = 1
# Arguments of a command line that must not end up in a file that is shared.
SECRET = re.compile(r"(hf_|sk-|ghp_)[A-Za-z0-9_-]{8,}|(?<=://)[^/@\s]+:[^/@\s]+(?=@)")
SECRET_OPTION = re.compile(r"^(--?[\w-]*(?:token|key|password|secret)[\w-]*)(=.*)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation: its folder, the scores of each edit, and the contents of summary.json."""

    folder: Path
    results: Results
    summary: Mapping[str, Any]


def prepare(out: Path, resume: bool, overwrite: bool) -> None:
    """Creates the folder of results; OutputError if it has some and neither `resume` nor `overwrite` is set."""
    existing = [out / name for name in (SCORES, RUN) if (out / name).is_file()]
    if existing and not resume and not overwrite:
        raise OutputError(f"{out} contains results already; use --resume, --overwrite or another --out.")
    if overwrite:
        for file in existing:
            file.unlink()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be created: {error.strerror or error}.") from error


def evaluate(
    eval_set: EvalSet,
    settings: ScoreSettings,
    command: Sequence[str] = (),
    progress: Progress = lambda done, of: None,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Scores the set and writes everything into `settings.out`, which `prepare` has created.

    OutOfMemory and ModelError end the run; any other failure of one edit becomes the error in its row.
    """
    started, device = time.time(), str(pick_device(settings.device))
    weights = Weights(settings.weights, settings.download)
    pairs = [pair for pairs in eval_set.methods.values() for pair in pairs]
    metrics = select_metrics(settings.metrics, weights, device, pairs)
    used = _used(weights)
    selection = FrameSelection(settings.align, settings.max_frames)
    scorer = Scorer(settings.out, selection, settings.videos, salt=str(used))
    results = scorer.score(eval_set, metrics, progress)
    values = plain(summary.summarise(eval_set, results, metrics.not_run, settings.seed, notes))
    out = settings.out
    write_csv(out / PER_EDIT, results)
    write_json(out / SUMMARY, values)
    write_text(out / MARKDOWN, summary.markdown(values))
    plot_names = plots.write(out, values, results)
    videos = {
        (name, pair.id): {
            part: path.relative_to(out).as_posix() for part, path in scorer.video_paths(pair).items() if path.is_file()
        }
        for name, pairs in eval_set.methods.items()
        for pair in pairs
    }
    page.write(out, values, eval_set, results, videos if settings.videos else {}, plot_names)
    write_json(
        out / RUN,
        {
            "format": FORMAT,
            "command": without_secrets(command),
            "settings": to_mapping(settings),
            "data": {
                "name": eval_set.name,
                "whole": eval_set.whole,
                "edits": len(eval_set.pairs),
                "files": [{"name": file.name, "sha256": file_sha256(file)} for file in eval_set.files],
                "notes": list(eval_set.notes),
            },
            "methods": list(eval_set.methods),
            "columns": [described(column) for column in results.columns],
            "not_run": dict(metrics.not_run),
            "weights": used,
            "device": device,
            "versions": versions(),
            "machine": platform.machine(),
            "failed": len(results.failed),
            "seconds": round(time.time() - started, 3),
        },
    )
    return Evaluation(out, results, values)


def without_secrets(command: Sequence[str]) -> list[str]:
    """The arguments of a command line, with anything that looks like a token or password replaced."""
    arguments, hide = [], False
    for argument in command:
        option = SECRET_OPTION.match(argument)
        arguments.append("***" if hide else f"{option[1]}=***" if option and option[2] else SECRET.sub("***", argument))
        hide = bool(option) and not option[2] if option else False
    return arguments


def _used(weights: Weights) -> list[dict[str, Any]]:
    """A description of each checkpoint that the metrics use."""
    used = []
    for name, trouble in weights.checked.items():
        if trouble is None:
            try:
                used.append(weights.describe(name))
            except (EveError, OSError):  # a folder with only a tokenizer
                continue
    return used
