"""`eve plan`, which is `eve edit --dry-run`: what an edit would do, take and need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import typer

from eve_cli.cli import console, describe
from eve_cli.cli.options import add_command
from eve_cli.editing.request import EditRequest
from eve_cli.errors import OutOfMemory

if TYPE_CHECKING:
    from eve_cli.estimate.report import Outlook

app = typer.Typer(add_completion=False)


def plan(request: EditRequest) -> None:
    """Say what an edit would do, how long it would take and what it needs, without doing it.

    Times rest on the past edits of this machine, and on a short trial where there are none. Exit code 5 if the edit
    would not fit into memory.
    """
    from eve_cli.estimate.report import outlook

    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    found = outlook(request)
    console.result(_as_json(found) if request.as_json else "\n".join(_lines(found)), as_json=request.as_json)
    if not found.fits:
        need, limit = map(describe.gigabytes, (found.forecast.needs, found.forecast.has))
        raise OutOfMemory(
            f"This edit needs about {need} of memory and there are {limit}, which is too little with every way to need "
            "less: try a shorter --window or a smaller model."
        )


def _lines(found: Outlook) -> list[str]:
    forecast, picture = found.forecast, found.info.container == "picture"
    work = f"{forecast.total.calls} network calls · {describe.operations(forecast.total.flops)} · on {found.device}"
    rows = [
        ("in", describe.source(found.info, found.plan)),
        *([("note", describe.unknown_words(found.plan["request"]["model"], found.unknown))] if found.unknown else []),
        ("plan", describe.plan(found.plan, picture)),
        ("work", work),
        ("time", describe.times(forecast)),
        ("needs", _fit(found)),
        ("disk", _disk(found)),
        ("out", f"{found.output}, and its .run.json"),
    ]
    return [f"{name:<5} {text}" for name, text in rows]


def _fit(found: Outlook) -> str:
    """The memory, and what it takes to fit into it."""
    if found.forecast.fits:
        return describe.memory(found.forecast)
    how = "fits with" if found.fits else "does not fit, even with"
    return f"{describe.memory(found.forecast)}: {how} {', '.join(found.fallbacks)}"


def _disk(found: Outlook) -> str:
    enough = "" if found.disk <= found.disk_free else ": not enough"
    return f"{describe.megabytes(found.disk)} of {describe.gigabytes(found.disk_free)} while it runs{enough}"


def _as_json(found: Outlook) -> dict[str, Any]:
    forecast, kept = found.forecast, found.plan["record"]
    return {
        "input": found.info.name,
        "output": str(found.output),
        "settings": kept["settings"],
        "frames": kept["frames"],
        "shots": kept["shots"],
        "windows": found.plan["windows"],
        "network_calls": forecast.total.calls,
        "flops": forecast.total.flops,
        "seconds": round(forecast.seconds, 3),
        "seconds_low": round(forecast.low, 3),
        "seconds_high": round(forecast.high, 3),
        "basis": forecast.basis,
        "stages": {name: round(seconds, 3) for name, seconds in forecast.stages.items()},
        "device": found.device,
        "memory_bytes": forecast.needs,
        "memory_limit_bytes": forecast.has,
        "fits": found.fits,
        "fallbacks": list(found.fallbacks),
        "disk_bytes": found.disk,
        "disk_free_bytes": found.disk_free,
        "unknown_words": found.unknown,
    }


add_command(app, "plan", EditRequest, plan)
