"""run.json: what a result was made of, so that it can be made again, and what must still be the same for that."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from eve_cli.editing.request import EditRequest
from eve_cli.errors import InputError, ModelError, UsageError
from eve_cli.media.clip import VideoInfo
from eve_cli.models.loading import LoadedModel

FORMAT = 1


def check_input(request: EditRequest) -> VideoInfo:
    """The facts of the input; InputError if it cannot be read."""
    from eve_cli.media.decode import VideoReader

    with VideoReader(request.input, request.start, request.end) as reader:
        return reader.info


def describe_input(path: str) -> dict[str, str]:
    """Name and sha256 of the input; of a folder, over the names and contents of its files."""
    return {"name": Path(path).name, "sha256": _hash(Path(path))}


def check_same_input(path: str, kept: dict[str, str]) -> None:
    """InputError unless the input is the one that was edited."""
    if not Path(path).exists():
        raise InputError(f"{path}: this input is no longer there; put it back to do the edit again.")
    if _hash(Path(path)) != kept["sha256"]:
        raise InputError(f"{path}: this is not the file that was edited (its sha256 is not {kept['sha256'][:12]}…).")


def check_same_model(model: LoadedModel, kept: dict[str, Any]) -> None:
    """ModelError unless the weights are those that were used."""
    if model.hashes != kept["sha256"]:
        names = set(model.hashes) | set(kept["sha256"])
        changed = sorted(name for name in names if model.hashes.get(name) != kept["sha256"].get(name))
        raise ModelError(f"The model {model.name} is not the one that was used: {', '.join(changed)} changed.")


def read(path: Path) -> dict[str, Any]:
    """The content of a run.json; UsageError if it is none."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read this file ({(error.strerror or str(error)).lower()}).") from error
    except ValueError as error:
        raise UsageError(f"{path}: this is not a run.json; give the file that lies beside a result.") from error
    if not isinstance(kept, dict) or not {"settings", "input", "model", "versions", "shots"} <= kept.keys():
        raise UsageError(f"{path}: this is not a run.json; give the file that lies beside a result.")
    if kept.get("format") != FORMAT:
        raise UsageError(f"{path}: this run.json has format {kept.get('format')}; this version of eve reads {FORMAT}.")
    return kept


def complete(kept: dict[str, Any], path: str, output: Path, events: list[dict[str, Any]]) -> dict[str, Any]:
    """The record as it lies beside a result: with what the result itself does not name.

    That are the places on this machine, and the `events` of this run: what went wrong and was put right.
    """
    source = kept["input"] | {"path": str(Path(path).absolute())}
    return kept | {"input": source, "output": output.name, "events": events}


def result_of(path: Path, kept: dict[str, Any]) -> Path:
    """Where the result of a run.json lies: beside it."""
    return path.with_name(kept.get("output", path.name.removesuffix(".run.json") + ".mp4"))


def _hash(path: Path) -> str:
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    stamps = tuple((each.stat().st_mtime_ns, each.stat().st_size) for each in files)
    return _hash_of(path, tuple(files), stamps)


@lru_cache(maxsize=64)
def _hash_of(path: Path, files: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    """The hash, once for as long as the files stay as they are."""
    digest = hashlib.sha256()
    for file in files:
        if path.is_dir():
            digest.update(file.name.encode())
        with open(file, "rb") as content:
            while part := content.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()
