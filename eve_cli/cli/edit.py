"""`eve edit`, `eve resume` and `eve rerun`: what people see of an edit."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eve_cli.cli import console, describe
from eve_cli.cli.flags import EditFlags, request_of
from eve_cli.cli.options import add_command
from eve_cli.editing.progress import EditCallbacks, text_notes
from eve_cli.registry import load
from eve_cli.runtime import distributed
from eve_cli.storage.paths import shell_word

if TYPE_CHECKING:
    from eve_cli.editing.edit_plan import EditPlan
    from eve_cli.editing.pipeline import EditResult
    from eve_cli.estimate.estimator import Estimate
    from eve_cli.media.clip import VideoInfo
    from eve_cli.models.loading import LoadedModel

app, resume_app, rerun_app = (typer.Typer(add_completion=False) for _ in range(3))
UNCHANGED = 0.01

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of the path.")]


def edit(flags: Any) -> None:
    """Edit a video or a picture by an instruction."""
    request = request_of(flags)
    if request.dry_run:
        load("eve_cli.cli.plan:plan")(flags)
        return
    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    with ConsoleCallbacks(quiet=request.quiet, no_progress=request.no_progress, estimates=True) as callbacks:
        if distributed.is_main():
            callbacks.report(load("eve_cli.editing.pipeline:edit")(request, callbacks), as_json=request.as_json)
        else:
            load("eve_cli.editing.pipeline:assist")()


@resume_app.command("resume")
def resume(
    run_dir: Annotated[Path, typer.Argument(help="The folder of an interrupted edit.", metavar="RUN_DIR")],
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Resume an interrupted edit; the result is the same as without the interruption."""
    with ConsoleCallbacks(quiet=quiet) as callbacks:
        if distributed.is_main():
            callbacks.report(load("eve_cli.editing.pipeline:resume")(run_dir, callbacks), as_json=json_output)
        else:
            load("eve_cli.editing.pipeline:assist")()


@rerun_app.command("rerun")
def rerun(
    run_json: Annotated[Path, typer.Argument(help="The run.json beside a result.", metavar="RUN.json")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write the result (default: as before).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the result if it exists.")] = False,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Repeat an edit exactly; an error says if the input or the model has changed."""
    with ConsoleCallbacks(quiet=quiet) as callbacks:
        if distributed.is_main():
            result = load("eve_cli.editing.pipeline:rerun")(run_json, output, overwrite, callbacks)
            callbacks.report(result, as_json=json_output)
        else:
            load("eve_cli.editing.pipeline:assist")()


class ConsoleCallbacks(EditCallbacks):
    """Prints the source, the plan, progress and the result of an edit; says how to resume if it is interrupted.

    With `estimates` it prints beforehand what the edit should take, and adds what it took to this machine's history.
    """

    resumable = True

    def __init__(self, *, quiet: bool, no_progress: bool = False, estimates: bool = False) -> None:
        self.quiet, self.no_progress, self.estimates = quiet, no_progress, estimates
        self.began = time.monotonic()
        self.picture = False
        self.bars: dict[str, console.Progress] = {}
        self.run_dir: Path | None = None
        self.model: LoadedModel | None = None
        self.estimate: Estimate | None = None

    def __enter__(self) -> ConsoleCallbacks:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is not None and self.resumable and self.run_dir is not None and self.run_dir.is_dir():
            console.say("stop", f"finished windows are kept; resume with: eve resume {shell_word(self.run_dir)}")

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def say(self, label: str, text: str) -> None:
        """One line, unless quiet."""
        if not self.quiet:
            self.close()
            console.say(label, text)

    def on_note(self, text: str) -> None:
        self.say("note", text)

    def on_plan(self, plan: EditPlan, model: LoadedModel, info: VideoInfo, run_dir: Path) -> None:
        self.run_dir, self.model, self.picture = run_dir, model, plan.edit.picture
        self.say("in", describe.source(info, plan))
        for text in info.notes:
            self.on_note(text)
        for text in text_notes(plan):
            self.on_note(text)
        self.say("plan", describe.plan(plan))
        if self.estimates:
            with suppress(Exception):  # an edit does not need its estimate
                self.estimate = estimate = load("eve_cli.estimate.estimator:estimate_edit")(plan, model, info)
                self.say("needs", f"{describe.times(estimate)} · {describe.memory(estimate)}")

    def on_progress(self, stage: str, done: float, total: int) -> None:
        unit = {"edit": "windows", "finetune": "steps"}.get(stage, "frames")
        if stage not in self.bars:
            self.close()
            quiet = self.quiet or self.no_progress or self.picture
            self.bars[stage] = console.Progress(stage, total, unit, quiet=quiet)
            self.bars[stage].skip(done)
        self.bars[stage].update(done)

    def report(self, result: EditResult, *, as_json: bool) -> None:
        """Prints the result: its path on stdout, or a JSON object."""
        self.close()
        frames, edit = result.plan.frames, result.plan.edit
        if edit.method != "copy" and result.change < UNCHANGED:
            self.on_note(
                "almost nothing changed; try a higher --guidance-scale, another --seed, or a --caption of the result"
            )
        for text in result.notes:
            self.on_note(text)
        size = f"{result.output.stat().st_size / 1e6:.1f} MB"
        self.say("out", f"{result.output}   {size if edit.picture else f'{frames} frames · {size}'}")
        if self.estimate is not None and self.model is not None:
            actual = self.seconds
            self.say("time", f"estimated {console.clock(self.estimate.seconds)}, actual {console.clock(actual)}")
            with suppress(Exception):
                started = actual - result.timings.total
                load("eve_cli.estimate.estimator:remember")(self.estimate, result, self.model, started)
        speed = "" if edit.picture else f" · {frames / self.seconds:.1f} frames/s"
        repeat = f"repeat: eve rerun {shell_word(result.record)}"
        self.say("done", f"{console.clock(self.seconds)}{speed} · seed {edit.seed} · {repeat}")
        console.result(_as_json(result, self.seconds) if as_json else result.output, as_json=as_json)

    def close(self) -> None:
        """Ends the progress bars."""
        for bar in self.bars.values():
            bar.close()


def _as_json(result: EditResult, seconds: float) -> dict[str, Any]:
    plan = result.plan
    return {
        "output": str(result.output),
        "run": str(result.record),
        "seed": plan.edit.seed,
        "frames": plan.frames,
        "shots": [[shot.start, shot.stop] for shot in plan.shots],
        "windows": len(plan.windows),
        "change": round(result.change, 6),
        "unknown_words": list(plan.unknown_words),
        "unread": list(plan.unread),
        "seconds": round(seconds, 3),
    }


add_command(app, "edit", EditFlags, edit)
