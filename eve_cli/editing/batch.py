"""Many edits with one model: each row is an edit that can fail alone, and what is done stays done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eve_cli.editing import pipeline
from eve_cli.editing.manifest import Row
from eve_cli.editing.progress import Watcher
from eve_cli.editing.request import EditRequest
from eve_cli.editing.run_dir import RunFolder
from eve_cli.errors import EveError, ModelError, OutOfMemory, OutputError, is_out_of_memory
from eve_cli.models.loading import LoadedModel, load_model

RESULTS = "results.jsonl"
OF_MODEL = ("model", "backbone", "lora", "edit_text", "device", "dtype")
"""Settings that say which model is loaded."""

Line = dict[str, Any]
"""What is told of a row: row, id, status ("done", "before" or "failed"), input, output, seconds, and more."""


class Models:
    """Loads a model when a row needs another one than the row before; keeps one."""

    def __init__(self, load: Callable[[EditRequest], LoadedModel] = load_model) -> None:
        self._load = load
        self._wanted: tuple[Any, ...] | None = None
        self._found: LoadedModel | EveError | None = None

    def __call__(self, request: EditRequest) -> LoadedModel:
        """The model of a request; the same error again if it could not be loaded."""
        wanted = tuple(getattr(request, name) for name in OF_MODEL)
        if wanted != self._wanted:
            self._wanted, self._found = wanted, None
            try:
                self._found = self._load(request)
            except ModelError as error:
                self._found = error
        if isinstance(self._found, EveError):
            raise self._found
        assert self._found is not None
        return self._found


def run(
    rows: Sequence[Row],
    results: Path,
    watch: Callable[[Row], Watcher] = lambda row: Watcher(),
    *,
    load: Callable[[EditRequest], LoadedModel] = load_model,
) -> Iterator[Line]:
    """Does the rows in order, and gives a line for each, which goes to the end of the file `results` too.

    A row that is done according to that file is not done again, one that was interrupted is gone on with, one that
    failed is tried again.
    """
    known, models = before(results), Models(load)
    for row in rows:
        last = known.get(row.key) if row.request is not None else None
        if last is not None and Path(last["output"]).exists():
            yield {**last, "row": row.number, "id": row.id, "status": "before"}
            continue
        line = _line(row, watch(row), models)
        _append(results, line)
        yield line


def before(results: Path) -> dict[str, Line]:
    """The rows that are done according to a file of results, by their keys; half a line at its end is nothing."""
    found: dict[str, Line] = {}
    try:
        lines = results.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{results}: this file of results cannot be read ({error}).") from error
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and line.get("status") == "done" and {"key", "output"} <= line.keys():
            found[line["key"]] = line
    return found


def _line(row: Row, watcher: Watcher, models: Models) -> Line:
    started = time.monotonic()
    line: Line = {"row": row.number, "id": row.id}
    try:
        if row.error is not None or row.request is None:
            raise row.error or EveError("This row says nothing.")
        line |= {"key": row.key, "input": row.request.input, "output": str(row.request.output)}
        done = _edit(row.request, watcher, models)
        line |= {"status": "done", **_told(done)}
    except EveError as error:
        line |= {"status": "failed", "error": str(error), "exit_code": error.exit_code}
    except Exception as error:
        code = OutOfMemory.exit_code if is_out_of_memory(error) else 1
        line |= {"status": "failed", "error": f"{type(error).__name__}: {error}", "exit_code": code}
    return {**line, "seconds": round(time.monotonic() - started, 3)}


def _edit(request: EditRequest, watcher: Watcher, models: Models) -> pipeline.Result:
    """A new edit, or the rest of one that was interrupted; what is there of another one is replaced."""
    assert request.output is not None
    folder = pipeline.run_folder(request)
    if (folder / "plan.json").is_file() and _same(RunFolder(folder).plan["request"], request):
        return pipeline.resume(folder, watcher, load=models)
    return pipeline.edit(request.changed(overwrite=True), watcher, load=models)


def _same(planned: Mapping[str, Any], request: EditRequest) -> bool:
    """Whether a plan is that of a request, in which some settings are still open."""
    asked = request.as_kept() | {"input": str(Path(request.input).absolute())}
    return all(planned.get(name) == value for name, value in asked.items() if value not in (None, "auto"))


def _told(done: pipeline.Result) -> Line:
    kept = done.plan["record"]
    return {
        "run": str(done.run),
        "seed": kept["seed"],
        "frames": kept["frames"],
        "windows": len(done.plan["windows"]),
        "change": round(done.change, 6),
        "unknown_words": done.unknown,
        "notes": done.notes,
    }


def _append(results: Path, line: Line) -> None:
    try:
        with open(results, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OutputError(f"{results}: cannot write ({(error.strerror or str(error)).lower()}).") from error
