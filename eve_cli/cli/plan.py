"""`eve plan`, which is `eve edit --dry-run`: what an edit would do, take and need."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from eve_cli.cli import console, describe
from eve_cli.cli.flags import EditFlags, request_of
from eve_cli.cli.options import add_command
from eve_cli.editing.progress import text_notes
from eve_cli.errors import OutOfMemory

if TYPE_CHECKING:
    from eve_cli.estimate.report import PlanReport

app = typer.Typer(add_completion=False)


def plan(flags: Any) -> None:
    """Print what an edit would do, how long it would take and what it needs, without running it."""
    from eve_cli.estimate.report import plan_report

    request = request_of(flags)
    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    report = plan_report(request)
    console.result(_as_json(report) if request.as_json else "\n".join(_lines(report)), as_json=request.as_json)
    if not report.fits:
        need, limit = map(describe.gigabytes, (report.estimate.needs, report.estimate.has))
        raise OutOfMemory(
            f"This edit needs about {need} of memory and there are {limit}, which is too little with all out-of-memory "
            "fallbacks: try a shorter --window or a smaller model."
        )


def _lines(report: PlanReport) -> list[str]:
    estimate = report.estimate
    work = f"{estimate.total.calls} network calls · {describe.operations(estimate.total.flops)} · on {report.device}"
    rows = [
        ("in", describe.source(report.info, report.plan)),
        *(("note", text) for text in text_notes(report.plan)),
        ("plan", describe.plan(report.plan)),
        ("work", work),
        ("time", describe.times(estimate)),
        ("needs", _fit(report)),
        ("disk", _disk(report)),
        ("out", f"{report.output}, and its .run.json"),
    ]
    return [f"{name:<5} {text}" for name, text in rows]


def _fit(report: PlanReport) -> str:
    """The memory, and the fallbacks with which the edit fits into it."""
    if report.estimate.fits:
        return describe.memory(report.estimate)
    how = "fits with" if report.fits else "does not fit, even with"
    return f"{describe.memory(report.estimate)}: {how} {', '.join(report.fallbacks)}"


def _disk(report: PlanReport) -> str:
    enough = "" if report.disk <= report.disk_free else ": not enough"
    return f"{describe.megabytes(report.disk)} of {describe.gigabytes(report.disk_free)} while it runs{enough}"


def _as_json(report: PlanReport) -> dict[str, Any]:
    estimate, plan = report.estimate, report.plan
    return {
        "input": report.info.name,
        "output": str(report.output),
        "settings": dict(plan.provenance.settings),
        "frames": plan.frames,
        "shots": [[shot.start, shot.stop] for shot in plan.shots],
        "windows": [asdict(window) for window in plan.windows],
        "network_calls": estimate.total.calls,
        "flops": estimate.total.flops,
        "seconds": round(estimate.seconds, 3),
        "seconds_low": round(estimate.low, 3),
        "seconds_high": round(estimate.high, 3),
        "basis": estimate.basis,
        "stages": {name: round(seconds, 3) for name, seconds in estimate.stages.items()},
        "device": report.device,
        "memory_bytes": estimate.needs,
        "memory_limit_bytes": estimate.has,
        "fits": report.fits,
        "fallbacks": list(report.fallbacks),
        "disk_bytes": report.disk,
        "disk_free_bytes": report.disk_free,
        "unknown_words": list(plan.unknown_words),
        "unread": list(plan.unread),
    }


HELP = """Print what an edit would do, how long it would take and what it needs, without running it.

Times are estimated from past edits on this machine, and from a short trial where there are none. Exit code 5 if the
edit would not fit into memory."""

add_command(app, "plan", EditFlags, plan, HELP)
