"""What an evaluation can be told: plain dataclasses, light to import (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eve_cli.errors import UsageError
from eve_cli.settings import setting


@dataclass(frozen=True)
class AlignmentBenchSettings:
    """Measure what alignment is worth on held-out edits of the world, where the right answer is known.

    The table's lines are base lines, smoothed controls, the model without its alignment, and each aligned model. Means
    come with 95 % bootstrap intervals; ▲ and ▼ mark paired differences from the unaligned line that are clear of zero.
    """

    model: str = setting("mini", "Model whose adapters are measured.", flags=("--model", "-m"))
    aligned: str = setting("", "Aligned models, as full=runs/a/model,no-sds=runs/b/model.", metavar="NAME=DIR,...")
    steps: str = setting("3,10,20", "Numbers of steps, one table each.")
    each: int = setting(40, "Edits of each task.", min=1)
    tasks: str = setting("", "Tasks (default: the seven that alignment sees), as add,remove.")
    seed: int = setting(0, "Which held-out edits.", min=0)
    guidance_scale: float | None = setting(None, "Guidance on the texts (default: the model's own).")
    controls: bool = setting(True, "Base lines and smoothed controls too.", flags=("--controls/--no-controls",))
    out: Path = setting(
        Path("runs/bench-alignment"), "Folder of values and tables.", flags=("--out", "-o"), metavar="DIR"
    )
    strips: int = setting(0, "Pictures of this many first edits, all lines above each other.", min=0)

    def __post_init__(self) -> None:
        _ = self.counts, self.folders  # to be told at once what is wrong

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of steps."""
        try:
            found = tuple(int(part) for part in self.steps.split(","))
        except ValueError:
            found = ()
        if not found or min(found) < 1:
            raise UsageError(f"--steps must be numbers such as 3,10,20, not {self.steps!r}.")
        return found

    @property
    def folders(self) -> dict[str, str]:
        """The aligned models by name."""
        found = {}
        for item in filter(None, self.aligned.split(",")):
            name, equals, folder = item.partition("=")
            if not equals or not name or not folder:
                raise UsageError(f"--aligned must look like full=runs/align/model, not {item!r}.")
            found[name] = folder
        return found


@dataclass(frozen=True)
class JudgeSettings:
    """How edits are judged, whoever made them."""

    metrics: str = setting("all", "Metrics, as preservation,warp, or groups: all, core (no networks), tgve, eve.")
    weights: Path | None = setting(None, "Folder of the metrics' networks (default: the Hub's cache).", metavar="DIR")
    download: bool = setting(False, "Fetch missing networks from the Hub.", flags=("--download",))
    device: str = setting("auto", "auto, cpu, cuda.")
    out: Path = setting(Path("runs/eval"), "Folder of the results.", flags=("--out", "-o"), metavar="DIR")
    resume: bool = setting(False, "Go on with the results that --out holds.", flags=("--resume",))
    overwrite: bool = setting(False, "Begin anew in --out.", flags=("--overwrite",))
    limit: int | None = setting(None, "Only the first N edits.", metavar="N", min=1)
    max_frames: int | None = setting(None, "Only the first N frames of each clip.", metavar="N", min=1)
    align: Literal["first", "spread"] = setting(
        "first", "Where lengths differ: judge the first frames, or frames spread over each clip."
    )
    seed: int = setting(0, "Of the bootstrap.", min=0)
    videos: bool = setting(True, "Put the videos on the page.", flags=("--videos/--no-videos",))
    allow_partial: bool = setting(
        False, "Exit with 0 though some edits could not be judged.", flags=("--allow-partial",)
    )
    json: bool = setting(False, "Print summary.json instead of the table.", flags=("--json",))

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite exclude each other.")


@dataclass(frozen=True)
class EvalSettings(JudgeSettings):
    """Judge edits, of eve or of any other tool: a table with intervals, a page with the videos, and every value.

    Say what to judge by --manifest, by --tgve (and --plus) with --edits, or by --source with --edited.
    """

    manifest: Path | None = setting(
        None, "Table with a row an edit (csv, jsonl, parquet).", metavar="FILE", panel="Data"
    )
    tgve: Path | None = setting(None, "Folder of LOVEU-TGVE-2023, or its csv.", metavar="DIR", panel="Data")
    plus: Path | None = setting(None, "The table of TGVE+.", metavar="FILE", panel="Data")
    edits: str = setting("", "Folders of edits.", metavar="DIR | NAME=DIR,...", panel="Data")
    instructions: Path | None = setting(None, "InsV2V's instructions for TGVE.", metavar="FILE", panel="Data")
    map: str = setting(
        "", "Columns of the table, where their names are not known.", metavar="FIELD=COLUMN,...", panel="Data"
    )
    source: Path | None = setting(None, "One source clip.", metavar="PATH", panel="One edit")
    edited: Path | None = setting(None, "Its edit.", metavar="PATH", panel="One edit")
    mask: Path | None = setting(None, "White where the edit may act.", metavar="PATH", panel="One edit")
    reference: Path | None = setting(None, "The true edit.", metavar="PATH", panel="One edit")
    instruction: str = setting("", "What was asked for.", panel="One edit")
    input_caption: str = setting("", "What the source shows.", panel="One edit")
    caption: str = setting("", "What the edit should show.", panel="One edit")
    task: str = setting("", "The kind of edit.", panel="One edit")
    identity: bool = setting(True, "Judge the input as it is, too.", flags=("--identity/--no-identity",))

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [self.manifest, self.tgve, self.source]
        if sum(each is not None for each in given) != 1:
            raise UsageError(
                "Say what to judge with one of --manifest FILE, --tgve DIR, or --source PATH --edited PATH."
            )
        for wrong, reason in (
            (self.source is not None and self.edited is None, "--source goes with --edited."),
            (self.plus is not None and self.tgve is None, "--plus goes with --tgve DIR, where the videos are."),
            (self.tgve is not None and not self.edits, "--tgve goes with --edits DIR."),
        ):
            if wrong:
                raise UsageError(reason)


@dataclass(frozen=True)
class BenchSettings(JudgeSettings):
    """Run methods over clips, then judge them: one table, one page. A second call goes on where the first one stopped.

    A method is one of `eve edit --method`, or `all` for each, METHOD@MODEL for another model, or NAME=DIR for edits
    made elsewhere.
    """

    methods: str = setting("eve,sdedit,per_frame,copy", "Methods, separated by commas; `all` for each.")
    data: str = setting("world", "`world`, the folder or csv of TGVE, or a manifest.", metavar="world | PATH")
    model: str = setting("mini", "Model of the methods.", flags=("--model", "-m"))
    steps: int | None = setting(None, "Denoising steps (default: the model's).", min=1, max=1000)
    guidance_scale: float | None = setting(None, "Guidance on the texts (default: the model's).", min=0)
    image_guidance_scale: float | None = setting(None, "Guidance on the source (default: the model's).", min=0)
    captions: bool = setting(
        True,
        "Tell the methods the captions of source and result, where they are known.",
        flags=("--captions/--no-captions",),
    )
    instructions: Path | None = setting(None, "InsV2V's instructions for TGVE.", metavar="FILE", panel="Files")
    map: str = setting(
        "", "Columns of the table, where their names are not known.", metavar="FIELD=COLUMN,...", panel="Files"
    )
    tasks: str = setting("", "Tasks (default: the seven that alignment sees), as add,remove.", panel="World")
    each: int = setting(4, "Edits of each task.", min=1, panel="World")
    frames: int = setting(8, "Frames of each clip.", min=2, panel="World")
    side: int = setting(64, "Pixels of a side.", min=16, panel="World")
    edit_seed: int = setting(0, "Of the world's edits, and of the methods' noise.", min=0)
    out: Path = setting(Path("runs/bench"), "Folder of edits and results.", flags=("--out", "-o"), metavar="DIR")


@dataclass(frozen=True)
class CompareSettings:
    """Two runs edit by edit: mean differences with intervals, win shares, and sign tests over source videos."""

    one: str = setting(help="RUN or RUN:METHOD (default: its first method).", argument=True, metavar="RUN[:METHOD]")
    other: str = setting(help="What it is compared with.", argument=True, metavar="RUN[:METHOD]")
    out: Path | None = setting(None, "Folder for the table and plots.", flags=("--out", "-o"), metavar="DIR")
    seed: int = setting(0, "Of the bootstrap.", min=0)
    json: bool = setting(False, "Print JSON instead of the table.", flags=("--json",))
