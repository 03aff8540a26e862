"""The rows of a batch: from a table, from lines of JSON, or from a folder of videos."""

from __future__ import annotations

import csv
import io
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from eve_cli.editing.request import EditRequest, default_output
from eve_cli.errors import EveError, InputError, UsageError
from eve_cli.media import input_resolver
from eve_cli.methods.registry import option_fields
from eve_cli.settings import field_types
from eve_cli.storage import jsonl
from eve_cli.storage.hashing import json_sha256

OF_BATCH = ("run_dir", "dry_run", "format", "json", "quiet", "no_progress", "overwrite", "offline", "on_oom")
"""Settings that a row cannot have, since they are the batch's."""
FIELDS = {name: kind for name, kind in field_types(EditRequest).items() if name not in (*OF_BATCH, "options")}
FIELDS |= {name: kind for name, kind, _ in option_fields()}
SHOWN = 8
"""Names in a note."""
YES, NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


@dataclass(frozen=True)
class Row:
    """One edit of a batch, or what is wrong with it; rows count from 1, `id` is the manifest's own name for it."""

    number: int
    id: str
    request: EditRequest | None = None
    error: EveError | None = None

    @property
    def key(self) -> str:
        """Changes with anything that the result depends on."""
        assert self.request is not None
        settings = [self.request.input, str(self.request.output), self.request.recorded()]
        return json_sha256(settings)[:16]


def read(
    source: Path,
    instruction: str | None,
    shared: Mapping[str, Any],
    out: Path,
    note: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """All rows; `shared` are settings for those that say nothing else, and results go into the folder `out`.

    `note` is called with what is passed over in a folder. UsageError or InputError if the manifest as a whole is wrong;
    what is wrong with one row is in that row.
    """
    rows: list[Row] = []
    outputs: dict[Path, int] = {}
    for number, (values, base_dir) in enumerate(_raw(source, note), 1):
        name = str(values.pop("id", None) or values.get("input") or number)
        try:
            defaults = {"instruction": instruction} if instruction is not None else {}
            request = _request({**shared, **defaults, **values}, base_dir, out, set(values))
            rows.append(Row(number, name, _with_unique_output(request, out, outputs, number, "output" in values)))
        except EveError as error:
            rows.append(Row(number, name, error=error))
    return rows


def _raw(source: Path, note: Callable[[str], None]) -> Iterator[tuple[dict[str, Any], Path]]:
    """The values of each row, and the folder that its input is named from."""
    if source.is_dir():
        entries = sorted((e for e in source.iterdir() if not e.name.startswith(".")), key=input_resolver.natural)
        paths = [each for each in entries if _is_clip(each)]
        if not paths:
            raise InputError(f"{source}: there is no video and no picture in this folder.")
        if others := [each.name + "/" * each.is_dir() for each in entries if each not in paths]:
            more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
            note(f"passed over, no video and no picture: {', '.join(others[:SHOWN])}{more}")
        yield from (({"input": str(each)}, Path()) for each in paths)
        return
    table, lines = source.suffix.lower() in (".csv", ".tsv"), source.suffix.lower() in (".jsonl", ".ndjson")
    if source.is_file() and not (table or lines):
        raise UsageError(f"{source}: name a folder of videos, or a manifest that ends in .csv or .jsonl.")
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{source}: cannot read this manifest ({(error.strerror or str(error)).lower()}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: this manifest is not text in UTF-8; save it as such.") from error
    yield from ((values, source.parent) for values in (_table if table else _lines)(source, text))


def _is_clip(path: Path) -> bool:
    """Whether `eve edit` takes a file for a video or a picture: by its type, or because it can be opened."""
    from eve_cli.media.decode import probe

    if not path.is_file() or path.suffix.lower() in (*input_resolver.VIDEOS, *input_resolver.PICTURES):
        return path.is_file()
    try:
        return probe(path) is not None
    except EveError:
        return False


def _table(source: Path, text: str) -> Iterator[dict[str, Any]]:
    mark = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
    if not any(_plain(name) == "input" for name in reader.fieldnames or []):
        raise UsageError(f"{source}: the first line must name the columns, one of them input.")
    for row in reader:
        nameless: Any = row.pop(None, None)  # pyright: ignore
        values = {_plain(name): value.strip() for name, value in row.items() if value and value.strip()}
        if nameless:
            values[f"a column without a name ({nameless[0]})"] = ""
        if values:
            yield values


def _lines(source: Path, text: str) -> Iterator[dict[str, Any]]:
    for _, values in jsonl.parse(text, str(source), UsageError):
        yield {_plain(name): value for name, value in values.items() if value is not None}


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _request(values: dict[str, Any], base_dir: Path, out: Path, row_names: set[str]) -> EditRequest:
    if not values.get("input"):
        raise UsageError("no input is named.")
    if values.get("instruction") is None:
        if values.get("method") != "copy":
            raise UsageError("no instruction is given; add a column instruction, or name one for all rows.")
        values["instruction"] = ""
    for name in row_names - {"input"}:
        if name in OF_BATCH:
            raise UsageError(f"{name} is an option of eve batch, not of a row.")
        if isinstance(values[name], str) and name in FIELDS:
            values[name] = _read(values[name], FIELDS[name], name)
    values["input"] = str(base_dir / str(values["input"]))
    if values.get("output") is not None:
        values["output"] = _inside(Path(str(values["output"])), out)
    request = EditRequest.of(values, "row")
    if request.seed is None:
        facts = [Path(request.input).name, request.recorded()]
        request = request.changed(seed=int(json_sha256(facts)[:7], 16))
    return request.changed(output=request.output or out / default_output(request))


def _inside(name: Path, out: Path) -> Path:
    """A row's own name for its result, which must lie in the batch's folder."""
    if name.is_absolute() or ".." in name.parts or len(name.parts) != 1 or name.name.startswith((".", "-")):
        raise UsageError(f"output {name} must be the plain name of a file, which goes into {out}.")
    return out / name


def _with_unique_output(
    request: EditRequest, out: Path, outputs: dict[Path, int], number: int, is_named: bool
) -> EditRequest:
    """No two rows write the same file: one that only happens to is renamed."""
    path = request.output
    assert path is not None
    key = Path(str(path).lower())  # some file systems ignore case
    if key in outputs and is_named:
        raise UsageError(f"output {path.name} is also that of row {outputs[key]}.")
    while key in outputs:
        path = path.with_stem(f"{path.stem}-{number}")
        key = Path(str(path).lower())
    outputs[key] = number
    return request.changed(output=path)


def _read(text: str, kind: Any, name: str) -> Any:
    """A value from a table's text."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    for one in kinds:
        try:
            if one is bool:
                return (*YES, *NO).index(text.lower()) < len(YES)
            if one in (int, float):
                return one(text)
        except ValueError:
            raise UsageError(f"{name} cannot be {text!r}.") from None
    return text
