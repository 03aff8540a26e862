"""Many edits with one model: each row is an edit that can fail alone, and what is done stays done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
from eve_cli.storage import jsonl
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
) -> Iterator[Result]:
    """Runs the rows in order, and yields a result for each, which is also appended to the file `results`.

    A row that is done according to that file is skipped unless `again`, one that was interrupted is resumed, one that
    failed is tried again. UsageError while another process appends to that file.
    """
    with Lock(results.with_name(f".{results.name}.lock"), str(results)):
        if again:
            results.unlink(missing_ok=True)
        finished, models = before(results), ModelCache(load)
        for row in rows:
            last = finished.get(row.key) if row.request is not None else None
            if last is not None and Path(last["output"]).exists():
                yield {**last, "row": row.number, "id": row.id, "status": "before"}
                continue
            result = _result(row, callbacks(row), models)
            _append(results, result)
            yield result


def before(results: Path) -> dict[str, Result]:
    """The rows that are done according to a file of results, by their keys; half a line at its end is ignored."""
    try:
        lines = list(jsonl.read_log(results))
    except OSError as error:
        raise OutputError(f"{results}: this file of results cannot be read ({error}).") from error
    done = (line for line in lines if line is not None and line.get("status") == "done")
    return {line["key"]: line for line in done if {"key", "output"} <= line.keys()}


def _result(row: Row, callbacks: EditCallbacks, models: ModelCache) -> Result:
    started = time.monotonic()
    result: Result = {"row": row.number, "id": row.id}
    try:
        if row.error is not None or row.request is None:
            raise row.error or EveError("This row is empty.")
        result |= {"key": row.key, "input": row.request.input, "output": str(row.request.output)}
        result |= {"status": "done", **_facts(_edit(row.request, callbacks, models))}
    except Exception as error:
        message, code = describe(error)
        result |= {"status": "failed", "error": message, "exit_code": code}
    return {**result, "seconds": round(time.monotonic() - started, 3)}


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
        "seed": result.plan.edit.seed,
        "frames": result.plan.frames,
        "windows": len(result.plan.windows),
        "change": round(result.change, 6),
        "unknown_words": list(result.plan.unknown_words),
        "unread": list(result.plan.unread),
        "notes": result.notes,
    }


def _append(results: Path, result: Result) -> None:
    try:
        jsonl.append(results, result)
    except OSError as error:
        raise OutputError(f"{results}: cannot write ({(error.strerror or str(error)).lower()}).") from error
