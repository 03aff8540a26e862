"""`eve edit`, `eve resume` and `eve rerun`: what people see of an edit."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.editing.request import EditRequest
from eve_cli.editing.watcher import Watcher

if TYPE_CHECKING:
    from eve_cli.editing.session import Result
    from eve_cli.media.clip import VideoInfo

app, resume_app, rerun_app = (typer.Typer(add_completion=False) for _ in range(3))
UNCHANGED = 0.01

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of the path.")]


def edit(request: EditRequest) -> None:
    """Edit a video or a picture by an instruction."""
    shown = Shown(quiet=request.quiet, no_progress=request.no_progress)
    if request.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"

    def work() -> "Result":
        from eve_cli.editing import session

        return session.edit(request, shown)

    shown.run(work, as_json=request.format == "json")


@resume_app.command("resume")
def resume(
    run_dir: Annotated[Path, typer.Argument(help="The folder that an interrupted edit left.", metavar="RUN_DIR")],
    quiet: Quiet = False,
    json_output: Json = False,
) -> None:
    """Go on with an edit that was interrupted; the result is the same as if it had not been."""
    shown = Shown(quiet=quiet)

    def work() -> "Result":
        from eve_cli.editing import session

        return session.resume(run_dir, shown)

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
        from eve_cli.editing import session

        return session.rerun(run_json, output, overwrite, shown)

    shown.run(work, as_json=json_output)


class Shown(Watcher):
    """A watcher that prints: what came in, what is planned, how far it is, what came out."""

    def __init__(self, *, quiet: bool, no_progress: bool = False) -> None:
        self.quiet, self.no_progress = quiet, no_progress
        self.started = time.monotonic()
        self.plan: dict[str, Any] = {}
        self.picture = False
        self.bars: dict[str, console.Progress] = {}
        self.run_dir: Path | None = None

    def say(self, label: str, text: str) -> None:
        """One line, unless all is to be quiet."""
        if not self.quiet:
            self._end_bars()
            console.say(label, text)

    def note(self, text: str) -> None:
        """Something that the user should know."""
        self.say("note", text)

    def found(self, info: "VideoInfo", plan: dict[str, Any], unknown: list[str], folder: Path) -> None:
        """The source and the plan."""
        self.plan, self.run_dir, self.picture = plan, folder, info.container == "picture"
        self.say("in", describe_source(info, plan))
        for text in info.notes:
            self.note(text)
        if unknown:
            self.note(unknown_sentence(plan["request"]["model"], unknown))
        self.say("plan", describe_plan(plan, self.picture))

    def progress(self, stage: str, done: int, total: int) -> None:
        """How far a stage is."""
        unit = {"edit": "windows", "learn": "steps"}.get(stage, "frames")
        if stage not in self.bars:
            self._end_bars()
            quiet = self.quiet or self.no_progress or self.picture
            self.bars[stage] = console.Progress(stage, total, unit, quiet=quiet)
        self.bars[stage].update(done)

    def run(self, work: "Callable[[], Result]", *, as_json: bool) -> None:
        """Does the work, prints its result, and says how to go on if it is stopped."""
        try:
            result = work()
        except BaseException:
            self._end_bars()
            if self.run_dir is not None and self.run_dir.is_dir():
                console.say("stop", f"what is finished is kept; go on with: eve resume {self.run_dir}")
            raise
        self._end_bars()
        self._report(result)
        console.result(_as_json(result, self.seconds) if as_json else result.output, as_json=as_json)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def _report(self, result: "Result") -> None:
        frames, method = self.plan["record"]["frames"], self.plan["request"]["method"]
        if method != "copy" and result.change < UNCHANGED:
            self.note("almost nothing changed; try a higher --text-cfg, another --seed, or a --caption of the result")
        for text in result.notes:
            self.note(text)
        size = f"{result.output.stat().st_size / 1e6:.1f} MB"
        self.say("out", f"{result.output}   {size if self.picture else f'{frames} frames · {size}'}")
        speed = "" if self.picture else f" · {frames / self.seconds:.1f} frames/s"
        seed = self.plan["record"]["seed"]
        self.say("done", f"{console.clock(self.seconds)}{speed} · seed {seed} · again: eve rerun {result.run}")

    def _end_bars(self) -> None:
        for bar in self.bars.values():
            bar.close()


def describe_source(info: "VideoInfo", plan: dict[str, Any]) -> str:
    """`surf.mp4   10.01 s · 29.97 fps · 300 frames · 1920×1080 · aac · 2 shots (cut at frame 130)`."""
    kept = plan["record"]
    if info.container == "picture":
        return f"{info.name}   {info.width}×{info.height}"
    facts = [
        *([f"{float(info.duration):.2f} s"] if info.duration else []),
        f"{float(info.fps):.5g} fps",
        f"{kept['frames']} frames",
        f"{info.width}×{info.height}",
        *[track.codec for track in info.audio],
    ]
    cuts = ", ".join(str(start) for start, _ in kept["shots"][1:])
    if cuts:
        facts.append(f"{len(kept['shots'])} shots (cut at frame {cuts})")
    return f"{info.name}   {' · '.join(facts)}"


def describe_plan(plan: dict[str, Any], picture: bool = False) -> str:
    """`mini · method eve · 5 windows of 8, overlap 2 · 10 steps · text 2.0, video 1.0 · seed 7`."""
    request = plan["request"]
    windows = len(plan["windows"])
    lora = plan["record"]["model"].get("lora")
    cut = f"{windows} window{'s' * (windows > 1)} of {request['window']}, overlap {request['overlap']}"
    parts = [
        str(request["model"]),
        *([f"lora {lora['token']}"] if lora else []),
        f"method {request['method']}",
        *([] if picture else [cut]),
        f"{request['steps']} steps",
        f"guidance {request['text_cfg']:g} text, {request['video_cfg']:g} video",
        f"seed {request['seed']}",
        *([f'of "{request["caption"]}"'] if request["caption"] else []),
    ]
    return " · ".join(parts)


def unknown_sentence(model: str, words: list[str]) -> str:
    """Which words the model never learned, and what to do."""
    quoted = ", ".join(f'"{word}"' for word in words)
    return f"the model {model} never learned {quoted} and will guess; say it with words that it knows"


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
