"""Many edits with one model: each row is an edit that can fail alone, and what is done stays done."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eve_cli.editing import pipeline
from eve_cli.editing.batch_rows import Row
from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.pipeline import Load
from eve_cli.editing.progress import EditCallbacks
from eve_cli.editing.request import EditRequest
from eve_cli.editing.run_dir import RunDir
from eve_cli.errors import EveError, ModelError, OutputError, describe
from eve_cli.models.loading import LoadedModel, load_model
from eve_cli.models.spec import ModelSpec
from eve_cli.runtime.dispatch import Dispatcher, Outcome
from eve_cli.runtime.worker_processes import Report, Work
from eve_cli.storage import jsonl
from eve_cli.storage.hashing import content_sha256
from eve_cli.storage.lock import Lock

RESULTS = "results.jsonl"

Result = dict[str, Any]
"""What is reported of a row: row, id, status ("done", "before" or "failed"), input, output, seconds, and more."""


class ModelCache:
    """Loads a model when a row needs another one than the row before; holds one."""

    def __init__(self, load: Load = load_model) -> None:
        self._load = load
        self._spec: ModelSpec | None = None
        self._model: LoadedModel | EveError | None = None

    def __call__(self, spec: ModelSpec) -> LoadedModel:
        """The model of a spec; the same error again if it could not be loaded."""
        if spec != self._spec:
            self._spec, self._model = spec, None
            try:
                self._model = self._load(spec)
            except ModelError as error:
                self._model = error
        if isinstance(self._model, EveError):
            raise self._model
        assert self._model is not None
        return self._model


def run(
    rows: Sequence[Row],
    results: Path,
    callbacks: Callable[[Row], EditCallbacks] = lambda row: EditCallbacks(),
    *,
    again: bool = False,
    load: Load = load_model,
    dispatcher: Dispatcher[Row] | None = None,
) -> Iterator[Result]:
    """Runs the rows, and yields a result for each, which is also appended to the file `results`.

    In order in this process, or with `dispatcher` in its workers, which call `row_work()`, in order of completion. A
    row that is done according to that file is skipped unless `again` or its input has changed, one that was interrupted
    is resumed, one that failed is tried again. UsageError while another process appends to that file.
    """
    with Lock(results.with_name(f".{results.name}.lock"), str(results)):
        if again:
            results.unlink(missing_ok=True)
        finished = before(results)
        models, waiting = ModelCache(load), list[Row]()
        for row in rows:
            if last := _valid(row, finished):
                yield {**last, "row": row.number, "id": row.id, "status": "before"}
            elif dispatcher is None:
                yield _recorded(results, _result(row, callbacks(row), models))
            else:
                waiting.append(row)
        if dispatcher is not None:
            for outcome in dispatcher.run(waiting):
                yield _recorded(results, _result_of(outcome))


def _result_of(outcome: Outcome[Row]) -> Result:
    """What is reported of a row that a worker has done, or that no worker survives."""
    row, attempts = outcome.item, {"attempts": outcome.attempts} if outcome.attempts > 1 else {}
    if outcome.error is None:
        return outcome.result | attempts
    failure = {"status": "failed", "error": str(outcome.error), "exit_code": outcome.error.exit_code}
    return _named(row) | failure | attempts


def row_work() -> Work:
    """What a worker does with a row: the result is the row's line; progress and notes are reported on the way."""
    models = ModelCache()
    return lambda row, report: _result(row, ReportingCallbacks(report), models)


class ReportingCallbacks(EditCallbacks):
    """Reports progress and notes of a row from a worker."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_progress(self, stage: str, done: float, total: int) -> None:
        self.report("progress", None)

    def on_note(self, text: str) -> None:
        self.report("note", text)


def before(results: Path) -> dict[str, Result]:
    """The rows that are done according to a file of results, by their keys; half a line at its end is ignored."""
    done = (line for line in lines_of(results) if line.get("status") == "done")
    return {line["key"]: line for line in done if {"key", "output"} <= line.keys()}


def lines_of(results: Path) -> list[Result]:
    """The lines of a file of results that are whole."""
    try:
        return [line for line in jsonl.read_log(results) if line is not None]
    except OSError as error:
        raise OutputError(f"{results}: this file of results cannot be read ({error}).") from error


def _result(row: Row, callbacks: EditCallbacks, models: ModelCache) -> Result:
    started = time.monotonic()
    result = _named(row)
    try:
        if row.error is not None or row.request is None:
            raise row.error or EveError("This row is empty.")
        stamp = _stamp(row.request.input)  # before the edit: a file that is replaced meanwhile is another
        result |= {"status": "done", "input_stamp": stamp, **_facts(_edit(row.request, callbacks, models))}
    except Exception as error:
        message, code = describe(error)
        result |= {"status": "failed", "error": message, "exit_code": code}
    return {**result, "seconds": round(time.monotonic() - started, 3)}


def _named(row: Row) -> Result:
    """Number, name, key and files of a row."""
    named: Result = {"row": row.number, "id": row.id}
    if row.request is None or row.error is not None:
        return named
    return named | {"key": row.key, "input": row.request.input, "output": str(row.request.output)}


def _stamp(path: str) -> list[int] | None:
    """Size and time of change of a file; None for a folder, and where there is nothing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a name can hold what no file system takes
        return None
    return None if stat.S_ISDIR(status.st_mode) else [status.st_size, status.st_mtime_ns]


def _valid(row: Row, finished: Mapping[str, Result]) -> Result | None:
    """The line of a row that is done, if its result is there, and its input, if there, is the one that was edited."""
    last = finished.get(row.key) if row.request is not None else None
    if row.request is None or last is None or not Path(last["output"]).exists():
        return None
    recorded, path = last.get("input_sha256"), Path(row.request.input)
    if recorded is None or not path.exists() or (last.get("input_stamp") and last["input_stamp"] == _stamp(str(path))):
        return last
    return last if content_sha256(path) == recorded else None


def _edit(request: EditRequest, callbacks: EditCallbacks, models: ModelCache) -> pipeline.EditResult:
    """A new edit, or the rest of one that was interrupted; the run directory of another edit is replaced."""
    run_dir = pipeline.run_dir_of(request)
    if (run_dir / "plan.json").is_file() and _same(RunDir(run_dir).plan, request):
        return pipeline.resume(run_dir, callbacks, load=models)
    return pipeline.edit(request.changed(overwrite=True), callbacks, load=models)


def _same(plan: EditPlan, request: EditRequest) -> bool:
    """Whether a plan is that of a request, in which some settings are still open."""
    if plan.edit.input != str(Path(request.input).absolute()):
        return False
    settings = plan.provenance.settings
    return all(settings.get(name) == value for name, value in request.recorded().items() if value not in (None, "auto"))


def _facts(result: pipeline.EditResult) -> Result:
    return {
        "run": str(result.record),
        "input_sha256": result.plan.provenance.input["sha256"],
        "seed": result.plan.edit.seed,
        "frames": result.plan.frames,
        "windows": len(result.plan.windows),
        "change": round(result.change, 6),
        "unknown_words": list(result.plan.unknown_words),
        "unread": list(result.plan.unread),
        "notes": result.notes,
    }


def _recorded(results: Path, result: Result) -> Result:
    """The result, once it stands in the file of results."""
    try:
        jsonl.append(results, result)
    except OSError as error:
        raise OutputError(f"{results}: cannot write ({(error.strerror or str(error)).lower()}).") from error
    return result
