"""Settings of `eve eval` and `eve bench`: plain dataclasses, light to import (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eve_cli.errors import UsageError
from eve_cli.settings import setting


@dataclass(frozen=True)
class AlignmentBenchSettings:
    """Measure the effect of alignment on held-out edits of the world, which have a true result.

    The rows are baselines, smoothed controls, the model without its alignment, and each aligned model. Means come with
    95 % bootstrap intervals; ▲ and ▼ mark paired differences from the unaligned row whose interval excludes zero.
    """

    model: str = setting("mini", "Model whose adapters are evaluated.", flags=("--model", "-m"))
    aligned: str = setting("", "Aligned models, as full=runs/a/model,no-sds=runs/b/model.", metavar="NAME=DIR,...")
    steps: str = setting("3,10,20", "Numbers of denoising steps, one table each.")
    each: int = setting(40, "Edits per task.", min=1)
    tasks: str = setting("", "Tasks (default: the seven tasks of alignment), as add,remove.")
    seed: int = setting(0, "Random seed of the held-out edits.", min=0)
    guidance_scale: float | None = setting(None, "Guidance scale of the text (default: the model's own).")
    controls: bool = setting(True, "Include baselines and smoothed controls.", flags=("--controls/--no-controls",))
    out: Path = setting(
        Path("runs/bench-alignment"), "Folder for values and tables.", flags=("--out", "-o"), metavar="DIR"
    )
    strips: int = setting(0, "Write pictures of the first N edits, all rows below each other.", min=0)

    def __post_init__(self) -> None:
        _ = self.step_counts, self.aligned_models  # raise UsageError early

    @property
    def step_counts(self) -> tuple[int, ...]:
        """The numbers of steps."""
        try:
            counts = tuple(int(part) for part in self.steps.split(","))
        except ValueError:
            counts = ()
        if not counts or min(counts) < 1:
            raise UsageError(f"--steps must be numbers such as 3,10,20, not {self.steps!r}.")
        return counts

    @property
    def aligned_models(self) -> dict[str, str]:
        """The aligned models by name."""
        models = {}
        for item in filter(None, self.aligned.split(",")):
            name, equals, folder = item.partition("=")
            if not equals or not name or not folder:
                raise UsageError(f"--aligned must look like full=runs/align/model, not {item!r}.")
            models[name] = folder
        return models


@dataclass(frozen=True)
class ScoreSettings:
    """How edits are scored, whichever tool made them."""

    metrics: str = setting("all", "Metrics, as preservation,warp, or groups: all, core (no networks), tgve, eve.")
    weights: Path | None = setting(
        None, "Folder with the networks of the metrics (default: the Hub's cache).", metavar="DIR"
    )
    download: bool = setting(False, "Download missing networks from the Hub.", flags=("--download",))
    device: str = setting("auto", "auto, cpu, cuda.")
    out: Path = setting(Path("runs/eval"), "Folder for the results.", flags=("--out", "-o"), metavar="DIR")
    resume: bool = setting(False, "Continue with the results in --out.", flags=("--resume",))
    overwrite: bool = setting(False, "Replace the results in --out.", flags=("--overwrite",))
    limit: int | None = setting(None, "Only the first N edits.", metavar="N", min=1)
    max_frames: int | None = setting(None, "Only the first N frames of each clip.", metavar="N", min=1)
    align: Literal["first", "spread"] = setting(
        "first", "Where lengths differ: compare the first frames, or frames spread over each clip."
    )
    seed: int = setting(0, "Random seed of the bootstrap.", min=0)
    videos: bool = setting(True, "Include the videos in the page.", flags=("--videos/--no-videos",))
    allow_partial: bool = setting(
        False, "Exit with 0 even if some edits could not be scored.", flags=("--allow-partial",)
    )
    json: bool = setting(False, "Print summary.json instead of the table.", flags=("--json",))

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite exclude each other.")


@dataclass(frozen=True)
class EvalSettings(ScoreSettings):
    """Evaluate edits of eve or any other tool: a table with intervals, a page with the videos, and every value.

    Select the edits by --manifest, by --tgve (and --plus) with --edits, or by --source with --edited.
    """

    manifest: Path | None = setting(
        None, "Table with one row per edit (csv, jsonl, parquet).", metavar="FILE", panel="Data"
    )
    tgve: Path | None = setting(None, "Folder of LOVEU-TGVE-2023, or its csv.", metavar="DIR", panel="Data")
    plus: Path | None = setting(None, "The table of TGVE+.", metavar="FILE", panel="Data")
    edits: str = setting("", "Folders of edits.", metavar="DIR | NAME=DIR,...", panel="Data")
    instructions: Path | None = setting(None, "InsV2V's instructions for TGVE.", metavar="FILE", panel="Data")
    map: str = setting("", "Columns of the table with non-standard names.", metavar="FIELD=COLUMN,...", panel="Data")
    source: Path | None = setting(None, "A source clip.", metavar="PATH", panel="One edit")
    edited: Path | None = setting(None, "Its edit.", metavar="PATH", panel="One edit")
    mask: Path | None = setting(None, "Mask, white in the region of the edit.", metavar="PATH", panel="One edit")
    reference: Path | None = setting(None, "The true edit.", metavar="PATH", panel="One edit")
    instruction: str = setting("", "The instruction.", panel="One edit")
    input_caption: str = setting("", "Caption of the source.", panel="One edit")
    caption: str = setting("", "Caption of the requested result.", panel="One edit")
    task: str = setting("", "The kind of edit.", panel="One edit")
    identity: bool = setting(True, "Score the unedited input, too.", flags=("--identity/--no-identity",))

    def __post_init__(self) -> None:
        super().__post_init__()
        sources = [self.manifest, self.tgve, self.source]
        if sum(each is not None for each in sources) != 1:
            raise UsageError(
                "Select the edits with one of --manifest FILE, --tgve DIR, or --source PATH --edited PATH."
            )
        for wrong, reason in (
            (self.source is not None and self.edited is None, "--source needs --edited."),
            (self.plus is not None and self.tgve is None, "--plus needs --tgve DIR, the folder of the videos."),
            (self.tgve is not None and not self.edits, "--tgve needs --edits DIR."),
        ):
            if wrong:
                raise UsageError(reason)


@dataclass(frozen=True)
class BenchSettings(ScoreSettings):
    """Run methods over clips and score the edits: one table, one page. The same command resumes an interrupted run.

    A method is one of `eve edit --method`, or `all` for each, METHOD@MODEL for another model, or NAME=DIR for edits
    of another tool.
    """

    methods: str = setting("eve,sdedit,per_frame,copy", "Methods, separated by commas; `all` for each.")
    data: str = setting("world", "`world`, the folder or csv of TGVE, or a manifest.", metavar="world | PATH")
    model: str = setting("mini", "Model of the methods.", flags=("--model", "-m"))
    steps: int | None = setting(None, "Denoising steps (default: the model's).", min=1, max=1000)
    guidance_scale: float | None = setting(None, "Guidance scale of the text (default: the model's).", min=0)
    image_guidance_scale: float | None = setting(None, "Guidance scale of the source (default: the model's).", min=0)
    captions: bool = setting(
        True,
        "Pass the captions of source and result to the methods, where known.",
        flags=("--captions/--no-captions",),
    )
    instructions: Path | None = setting(None, "InsV2V's instructions for TGVE.", metavar="FILE", panel="Files")
    map: str = setting("", "Columns of the table with non-standard names.", metavar="FIELD=COLUMN,...", panel="Files")
    tasks: str = setting("", "Tasks (default: the seven tasks of alignment), as add,remove.", panel="World")
    each: int = setting(4, "Edits per task.", min=1, panel="World")
    frames: int = setting(8, "Frames of each clip.", min=2, panel="World")
    side: int = setting(64, "Pixels of a side.", min=16, panel="World")
    edit_seed: int = setting(0, "Random seed of the world's edits and of the noise.", min=0)
    out: Path = setting(Path("runs/bench"), "Folder for edits and results.", flags=("--out", "-o"), metavar="DIR")


@dataclass(frozen=True)
class CompareSettings:
    """Compare two runs edit by edit: mean differences with intervals, win rates, and sign tests over source videos."""

    one: str = setting(help="RUN or RUN:METHOD (default: its first method).", argument=True, metavar="RUN[:METHOD]")
    other: str = setting(help="The run to compare with.", argument=True, metavar="RUN[:METHOD]")
    out: Path | None = setting(None, "Folder for the table and plots.", flags=("--out", "-o"), metavar="DIR")
    seed: int = setting(0, "Random seed of the bootstrap.", min=0)
    json: bool = setting(False, "Print JSON instead of the table.", flags=("--json",))
