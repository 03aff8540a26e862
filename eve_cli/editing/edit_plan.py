"""What an edit will do, with nothing left open; JSON only where it is written to disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from eve_cli.diffusion.windows import Window
from eve_cli.errors import UsageError
from eve_cli.methods.base import Guidance
from eve_cli.methods.options import MethodOptions
from eve_cli.methods.registry import METHODS, options_from
from eve_cli.models.spec import ModelSpec
from eve_cli.settings import to_mapping

FORMAT = 2
"""Of plan.json and run.json; 1 had other names."""


@dataclass(frozen=True)
class ResolvedEdit:
    """The settings of an edit: every one has a value, paths are absolute."""

    input: str
    output: Path
    instruction: str
    caption: str | None
    task: str | None
    method: str
    options: MethodOptions
    model: ModelSpec
    seed: int
    steps: int
    guidance_scale: float
    image_guidance_scale: float
    window: int
    overlap: int
    long: Literal["sequential", "joint"]
    span: int
    keyframes: int
    cache_interval: int
    cfg_end: float
    preserve: bool
    size: Literal["source", "model"]
    side_by_side: bool
    codec: str
    crf: int | None
    lossless: bool
    start: float | None
    end: float | None
    scene_cuts: Literal["auto", "off"]
    overwrite: bool
    run_dir: Path | None
    on_oom: Literal["retry", "fail"]
    picture: bool
    """Whether the input is one picture, and so the result."""
    fps: float | None = None
    """Frames a second of a folder of pictures."""

    @property
    def guidance(self) -> Guidance:
        """The settings that a method reads."""
        return Guidance(
            instruction=self.instruction,
            caption=self.caption,
            task=self.task,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            image_guidance_scale=self.image_guidance_scale,
            seed=self.seed,
            options=self.options,
            window=self.window if self.long == "joint" else None,
            overlap=self.overlap,
            keyframes=self.keyframes,
            cache_interval=self.cache_interval,
            cfg_end=self.cfg_end,
        )


@dataclass(frozen=True)
class Provenance:
    """What run.json records of an edit, so that it can be repeated exactly."""

    settings: Mapping[str, Any]
    """The resolved settings, by the names of `EditRequest` and of the method's options."""
    input: Mapping[str, str]
    """Name and sha256 of the input."""
    model: Mapping[str, Any]
    """Name and the sha256 of each file; with LoRAs, their tokens and kinds."""
    versions: Mapping[str, str]


@dataclass(frozen=True)
class EditPlan:
    """What will be done, fully resolved."""

    edit: ResolvedEdit
    provenance: Provenance
    shots: tuple[range, ...]
    windows: tuple[Window, ...]
    frame_size: tuple[int, int]
    """(width, height) of the frames in the model."""
    unknown_words: tuple[str, ...] = ()
    """Words of the instruction and captions that are not in the vocabulary of the model."""
    unread: tuple[str, ...] = ()
    """Ends of the instruction and captions that the model does not read, since its texts are shorter."""

    @property
    def frames(self) -> int:
        """How many frames are edited."""
        return self.shots[-1].stop

    def record(self) -> dict[str, Any]:
        """What run.json and the result's own metadata hold, as JSON."""
        return {
            "format": FORMAT,
            "settings": dict(self.provenance.settings),
            "seed": self.edit.seed,
            "input": dict(self.provenance.input),
            "model": dict(self.provenance.model),
            "versions": dict(self.provenance.versions),
            "frames": self.frames,
            "shots": [[shot.start, shot.stop] for shot in self.shots],
            "unread": list(self.unread),
        }

    def as_json(self) -> dict[str, Any]:
        """The plan as plan.json holds it."""
        edit = to_mapping(self.edit) | {"options": to_mapping(self.edit.options), "model": asdict(self.edit.model)}
        return {
            "format": FORMAT,
            "edit": edit,
            "provenance": asdict(self.provenance),
            "shots": [[shot.start, shot.stop] for shot in self.shots],
            "windows": [asdict(window) for window in self.windows],
            "frame_size": list(self.frame_size),
            "unknown_words": list(self.unknown_words),
            "unread": list(self.unread),
        }

    @classmethod
    def from_json(cls, content: Any, origin: str) -> EditPlan:
        """The plan in a plan.json; UsageError if it is none, or of another version of eve."""
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            version = content.get("record", {}).get("versions", {}).get("eve", "another") if content else "another"
            raise UsageError(
                f"{origin}: this plan was written by eve {version} in another format: resume it with that version, or "
                "start the edit again."
            )
        try:
            values = dict(content["edit"])
            if values["method"] not in METHODS:
                raise UsageError(f"{origin}: this eve has no method {values['method']!r}: update eve.")
            values |= {
                "options": options_from(values["method"], values["options"]),
                "model": ModelSpec(**values["model"]),
                "output": Path(values["output"]),
                "run_dir": Path(values["run_dir"]) if values["run_dir"] else None,
            }
            return cls(
                edit=ResolvedEdit(**values),
                provenance=Provenance(**content["provenance"]),
                shots=tuple(range(*shot) for shot in content["shots"]),
                windows=tuple(Window(**window) for window in content["windows"]),
                frame_size=tuple(content["frame_size"]),
                unknown_words=tuple(content["unknown_words"]),
                unread=tuple(content.get("unread", ())),
            )
        except (KeyError, TypeError) as error:
            raise UsageError(f"{origin}: this is not a whole plan ({error}): start the edit again.") from error

    def with_windows(self, windows: tuple[Window, ...]) -> EditPlan:
        """The same plan with other windows."""
        return replace(self, windows=windows)
