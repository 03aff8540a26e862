"""`eve edit`, `eve resume` and `eve rerun`: what people see of an edit."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eve_cli.cli import console, describe
from eve_cli.cli.options import add_command
from eve_cli.editing.progress import Watcher
from eve_cli.editing.request import EditRequest
from eve_cli.registry import load
from eve_cli.runtime import distributed

if TYPE_CHECKING:
    from eve_cli.editing.pipeline import Result
    from eve_cli.estimate.estimator import Forecast
    from eve_cli.media.clip import VideoInfo

app, resume_app, rerun_app = (typer.Typer(add_completion=False) for _ in range(3))
UNCHANGED = 0.01

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of the path.")]


def edit(request: EditRequest) -> None:
    """Edit a video or a picture by an instruction."""
    if request.dry_run:
        load("eve_cli.cli.plan:plan")(request)
        return
    shown = Shown(quiet=request.quiet, no_progress=request.no_progress)
    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"

    def work() -> "Result":
        from eve_cli.editing import pipeline

        return pipeline.edit(request, shown)

    shown.run(work, as_json=request.as_json)


@resume_app.command("resume")
def resume(
    run_dir: Annotated[Path, typer.Argument(help="The folder that an interrupted edit left.", metavar="RUN_DIR")],
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Go on with an edit that was interrupted; the result is the same as if it had not been."""
    shown = Shown(quiet=quiet)

    def work() -> "Result":
        from eve_cli.editing import pipeline

        return pipeline.resume(run_dir, shown)

    shown.run(work, as_json=json_output)


@rerun_app.command("rerun")
def rerun(
    run_json: Annotated[Path, typer.Argument(help="The run.json beside a result.", metavar="RUN.json")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the result goes (default: as then).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the result if it exists.")] = False,
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Do an edit again, exactly; says so if the input or the model are no longer the same."""
    shown = Shown(quiet=quiet)

    def work() -> "Result":
        from eve_cli.editing import pipeline

        return pipeline.rerun(run_json, output, overwrite, shown)

    shown.run(work, as_json=json_output)


class Shown(Watcher):
    """A watcher that prints: what came in, what is planned, how far it is, what came out."""

    foresees = True

    def __init__(self, *, quiet: bool, no_progress: bool = False) -> None:
        self.quiet, self.no_progress = quiet, no_progress
        self.began = self.started = time.monotonic()
        self.plan: dict[str, Any] = {}
        self.picture = False
        self.bars: dict[str, console.Progress] = {}
        self.run_dir: Path | None = None

    def say(self, label: str, text: str) -> None:
        """One line, unless all is to be quiet."""
        if not self.quiet:
            self.end()
            console.say(label, text)

    def note(self, text: str) -> None:
        """Something that the user should know."""
        self.say("note", text)

    def found(self, info: "VideoInfo", plan: dict[str, Any], unknown: list[str], folder: Path) -> None:
        """The source and the plan."""
        self.plan, self.run_dir, self.picture = plan, folder, info.container == "picture"
        self.say("in", describe.source(info, plan))
        for text in info.notes:
            self.note(text)
        if unknown:
            self.note(describe.unknown_words(plan["request"]["model"], unknown))
        self.say("plan", describe.plan(plan, self.picture))

    def foretold(self, forecast: "Forecast") -> None:
        """How long it should take."""
        self.say("needs", f"{describe.times(forecast)} · {describe.memory(forecast)}")

    def progress(self, stage: str, done: float, total: int) -> None:
        """How far a stage is."""
        unit = {"edit": "windows", "learn": "steps"}.get(stage, "frames")
        if stage not in self.bars:
            self.end()
            quiet = self.quiet or self.no_progress or self.picture
            self.bars[stage] = console.Progress(stage, total, unit, quiet=quiet)
            self.bars[stage].skip(done)
        self.bars[stage].update(done)

    def run(self, work: "Callable[[], Result]", *, as_json: bool) -> None:
        """Does the work, prints its result, and says how to go on if it is stopped; one process does so for all."""
        if not distributed.leads():
            load("eve_cli.editing.pipeline:assist")()
            return
        try:
            result = work()
        except BaseException:
            self.end()
            if self.run_dir is not None and self.run_dir.is_dir():
                console.say("stop", f"what is finished is kept; go on with: eve resume {self.run_dir}")
            raise
        self.end()
        self._report(result)
        console.result(_as_json(result, self.seconds) if as_json else result.output, as_json=as_json)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def _report(self, result: "Result") -> None:
        frames, method = self.plan["record"]["frames"], self.plan["request"]["method"]
        if method != "copy" and result.change < UNCHANGED:
            self.note(
                "almost nothing changed; try a higher --guidance-scale, another --seed, or a --caption of the result"
            )
        for text in result.notes:
            self.note(text)
        size = f"{result.output.stat().st_size / 1e6:.1f} MB"
        self.say("out", f"{result.output}   {size if self.picture else f'{frames} frames · {size}'}")
        speed = "" if self.picture else f" · {frames / self.seconds:.1f} frames/s"
        seed = self.plan["record"]["seed"]
        spent, expected = result.spent, result.spent.forecast
        if expected is not None:
            foretold = f"{console.clock(expected.seconds)}, took {console.clock(spent.seconds)}"
            self.say("time", f"foretold {foretold}")
        self.say("done", f"{console.clock(self.seconds)}{speed} · seed {seed} · again: eve rerun {result.run}")

    def end(self) -> None:
        """Ends the bars."""
        for bar in self.bars.values():
            bar.close()


def _as_json(result: "Result", seconds: float) -> dict[str, Any]:
    kept = result.plan["record"]
    return {
        "output": str(result.output),
        "run": str(result.run),
        "seed": kept["seed"],
        "frames": kept["frames"],
        "shots": kept["shots"],
        "windows": len(result.plan["windows"]),
        "change": round(result.change, 6),
        "unknown_words": result.unknown,
        "seconds": round(seconds, 3),
    }


add_command(app, "edit", EditRequest, edit)
