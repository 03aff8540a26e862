"""run.json: what a result was made from, so that the edit can be repeated, and the checks that nothing has changed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eve_cli.editing.edit_plan import FORMAT, EditPlan
from eve_cli.errors import InputError, ModelError, UsageError
from eve_cli.media.clip import VideoInfo
from eve_cli.models.loading import LoadedModel
from eve_cli.storage.hashing import content_sha256


def check_input(path: str, start: float | None, end: float | None, fps: float | None = None) -> VideoInfo:
    """The facts of the input between two seconds; InputError if it cannot be read. `fps` is a folder's of pictures."""
    from eve_cli.media.decode import VideoReader

    with VideoReader(path, start, end, fps=fps) as reader:
        return reader.info


def describe_input(path: str) -> dict[str, str]:
    """Name and sha256 of the input; of a folder, over the names and contents of its files."""
    return {"name": Path(path).name, "sha256": content_sha256(Path(path))}


def check_same_input(path: str, recorded: Mapping[str, str]) -> None:
    """InputError unless the input is the one that was edited."""
    if not Path(path).exists():
        raise InputError(f"{path}: this input is no longer there; put it back to do the edit again.")
    if content_sha256(Path(path)) != recorded["sha256"]:
        raise InputError(
            f"{path}: this is not the file that was edited (its sha256 is not {recorded['sha256'][:12]}…)."
        )


def check_same_model(model: LoadedModel, recorded: Mapping[str, Any]) -> None:
    """ModelError unless the weights are those that were used."""
    if model.hashes != recorded["sha256"]:
        names = set(model.hashes) | set(recorded["sha256"])
        changed = sorted(name for name in names if model.hashes.get(name) != recorded["sha256"].get(name))
        raise ModelError(f"The model {model.name} is not the one that was used: {', '.join(changed)} changed.")


def read(path: Path) -> dict[str, Any]:
    """The content of a run.json; UsageError if it is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read this file ({(error.strerror or str(error)).lower()}).") from error
    except ValueError as error:
        raise UsageError(f"{path}: this is not a run.json; name the file beside a result.") from error
    if not isinstance(record, dict) or not {"settings", "input", "model", "versions", "shots"} <= record.keys():
        raise UsageError(f"{path}: this is not a run.json; name the file beside a result.")
    if record.get("format") != FORMAT:
        raise UsageError(
            f"{path}: this run.json was written by eve {record['versions'].get('eve', 'of another version')} in format "
            f"{record.get('format')}, and this eve reads format {FORMAT}: repeat the edit with that version."
        )
    return record


def complete(plan: EditPlan, events: list[dict[str, Any]]) -> dict[str, Any]:
    """The record as it is written beside a result: with paths on this machine, and this run's recovered failures."""
    record = plan.record()
    source = record["input"] | {"path": plan.edit.input}
    return record | {"input": source, "output": plan.edit.output.name, "events": events}


def output_of(path: Path) -> str | None:
    """The file name of the result whose run.json this is; None if it is none."""
    try:
        return result_of(path, read(path)).name
    except UsageError:
        return None


def result_of(path: Path, record: dict[str, Any]) -> Path:
    """The result of a run.json, which is beside it."""
    return path.with_name(record.get("output", path.name.removesuffix(".run.json") + ".mp4"))
