"""What the pieces of an edit cost: each counted once on this machine and stored in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from eve_cli.diffusion.guidance import two_scale_weights
from eve_cli.diffusion.windows import Window
from eve_cli.editing import detail
from eve_cli.editing.edit_plan import EditPlan
from eve_cli.editing.run_dir import BLOCK
from eve_cli.estimate.flops import META, Cost, count, meta_copy
from eve_cli.methods.base import Clip, EditMethod, Guidance
from eve_cli.methods.effect import effect
from eve_cli.methods.finetune import RARE, FinetuningMethod, Tuning, finetune_loss
from eve_cli.methods.particles import particles
from eve_cli.methods.registry import METHODS
from eve_cli.models.finetuned import with_clip_layers
from eve_cli.models.loading import LoadedModel
from eve_cli.runtime.oom import Fallback
from eve_cli.settings import to_mapping
from eve_cli.storage.cache import JsonTable
from eve_cli.storage.hashing import json_sha256
from eve_cli.storage.paths import cache
from eve_cli.version import __version__

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

FILE, MAX_ENTRIES = "costs.json", 200
DECISIVE = ("method", "window", "overlap", "long", "keyframes", "cache_interval", "cfg_end")
"""Settings that change what one step of a window costs."""
ALIKE = 16
"""Windows whose lengths differ by less than so many frames are counted once."""


class CostModel:
    """What the pieces of an edit cost, counted once and kept in a file, since it never changes.

    `fallbacks` are the ways to need less that are taken beforehand.
    """

    def __init__(self, model: LoadedModel, plan: EditPlan, fallbacks: Sequence[Fallback] = ()) -> None:
        self.model, self.fallbacks = model, fallbacks
        self.edit, self.frame_size = plan.edit, plan.frame_size
        self.guidance = plan.edit.guidance
        self.once = replace(self.guidance, steps=1)
        self.method: EditMethod = METHODS[plan.edit.method].load()()
        settings = [getattr(plan.edit, name) for name in DECISIVE]
        settings += [
            weight != 0
            for weight in two_scale_weights(self.guidance.guidance_scale, self.guidance.image_guidance_scale)
        ]
        key_parts = [
            __version__,
            torch.__version__,
            model.hashes,
            settings,
            list(self.frame_size),
            {name: value for name, value in to_mapping(plan.edit.options).items() if not isinstance(value, str)},
            str(model.editor.dtype),
            [r.name for r in fallbacks],
        ]
        self.key = json_sha256(key_parts)[:16]
        self.table = JsonTable(cache() / FILE, MAX_ENTRIES)
        self.costs: dict[str, Cost] = {name: Cost(*row) for name, row in (self.table.get(self.key) or {}).items()}
        self.counted = len(self.costs)

    @cached_property
    def meta_copy(self) -> Editor:
        """The editor without content, with the fallbacks taken."""
        editor = meta_copy(self.model.editor)
        for fallback in self.fallbacks:
            if not fallback.gpu:
                fallback.apply(editor)
        with torch.inference_mode(False), torch.no_grad():  # texts are embedded once, so no window counts that
            for guidance in (self.guidance, self.guidance.idle()):
                guidance.condition(editor)
        return editor

    def of(self, unit: str, work: Callable[[], Any]) -> Cost:
        """The cost of `work`, which is named `unit`."""
        if unit not in self.costs:
            self.costs[unit] = count(self.meta_copy, work)
        return self.costs[unit]

    def stages(self, plan: EditPlan, size: tuple[int, int]) -> dict[str, Cost]:
        """The costs of all stages of a plan; `size` is (width, height) of the source."""
        windows, frames = plan.windows, plan.frames
        total: dict[str, Cost] = dict.fromkeys(("encode", "window", "effect", "decode", "write"), Cost())
        for window, many in self._kinds(windows).items():
            total["window"] += self.window(window).times(many)
            if self.edit.preserve:
                total["effect"] += self.effect(window).times(many)
        total["window"] += self.finetuning().times(len(plan.shots))
        block, most = min(BLOCK, frames), max(len(window.new) for window in windows)
        new = min(self.model.editor.settings.frames, most)
        encoded = self.of(f"encode {block}", lambda: self.meta_copy.encode(self._pixels(block)))
        total["encode"] = encoded.times(frames / block)
        total["decode"] = self.decoding(new).times((1 if self.edit.method == "copy" else 2) * frames / new)
        width, height = size
        total["write"] = self.of(f"write {width}x{height}", lambda: self._write(width, height, new))
        self.save()
        return total

    def window(self, window: Window) -> Cost:
        """All steps of a window; where they are not alike, each is counted."""
        if self.guidance.cache_interval > 1 or self.guidance.cfg_end < 1:
            return self.steps(window, self.guidance.steps)
        one, count = self.steps(window, 1), _steps(self.method, self.model.editor, self.guidance)
        if count == 1 or not self.model.editor.settings.image_steps:
            return one.times(count)
        two = self.steps(window, 2)
        return one + Cost(two.flops - one.flops, two.calls - one.calls, two.bytes).times(count - 1)

    def finetuning(self) -> Cost:
        """Fine-tuning on a shot before it is edited."""
        tuning = self.method.tuning(self.guidance) if isinstance(self.method, FinetuningMethod) else None
        if tuning is None or not tuning.steps:
            return Cost()
        name = f"finetune {tuning.steps} {tuning.rank} {tuning.alpha > 0} {tuning.alpha < 1}"
        if name not in self.costs:
            self.costs[name] = finetuning_cost(self.meta_copy, self.clip(Window(0, 0, 0, 0)).source, tuning)
        return self.costs[name]

    def steps(self, window: Window, count: int) -> Cost:
        """So many steps of a window."""
        guidance = replace(self.guidance, steps=count)
        name = f"window {self.length(window)} {window.overlap} {count}"
        return self.of(name, lambda: self.method.edit(self.meta_copy, self.clip(window), guidance))

    def effect(self, window: Window) -> Cost:
        """What the instruction does to a window, with particles if the model has them: an edit may not need those."""
        new = len(window.new)
        clip = self.clip(window).part(0, new)
        cost = self.of(f"effect {new}", lambda: effect(self.meta_copy, clip, self.once))
        if self.model.editor.settings.particle_steps:
            cost += self.of(f"particles {new}", lambda: particles(self.meta_copy, clip, self.once))
        return cost

    def decoding(self, frames: int) -> Cost:
        """Frames that come out of the vae."""
        window = Window(0, 0, frames, 0)
        return self.of(f"decode {frames}", lambda: self.meta_copy.decode(self.clip(window).source[:frames]))

    def length(self, window: Window) -> int:
        """How many frames of a window the networks process: a short one is padded, unless it is a single frame."""
        return 1 if len(window.frames) == 1 else max(len(window.frames), self.edit.window)

    def _kinds(self, windows: Sequence[Window]) -> dict[Window, float]:
        """Representative windows and how many each represents: of those of similar length, the longest."""
        kinds: dict[tuple[int, int], list[Window]] = {}
        for window in windows:
            length = self.length(window)
            kinds.setdefault((-(-length // ALIKE) * (length > 1), window.overlap), []).append(window)
        longest = (max(members, key=self.length) for members in kinds.values())
        lengths = [sum(map(self.length, members)) for members in kinds.values()]
        return {window: frames / self.length(window) for window, frames in zip(longest, lengths, strict=True)}

    def clip(self, window: Window, device: torch.device | None = None) -> Clip:
        """A window of zeros on a device (default: meta); its shot is on the meta device, so is not fine-tuned on."""
        editor, device, length = self.model.editor, device or self.meta_copy.device, self.length(window)
        height, width = editor.latent_size(*reversed(self.frame_size))
        channels: Any = editor.parts.vae.config["latent_channels"]
        source = torch.zeros(length, channels, height, width, device=device)
        control_image = self._pixels(length, device) if editor.settings.control_image == "pixels" else source
        return Clip(source, control_image, range(length), source[: window.overlap], shot=lambda: source.to(META))

    def _pixels(self, frames: int, device: torch.device | None = None) -> Tensor:
        width, height = self.frame_size
        return torch.zeros(frames, 3, height, width, device=device or self.meta_copy.device)

    def _write(self, width: int, height: int, frames: int) -> Tensor:
        small = self._pixels(frames)
        picture = torch.zeros(1, 3, height, width, device=self.meta_copy.device)
        return detail.apply(picture, detail.plan(small, small, small[None].expand(2, -1, -1, -1, -1)).frame(0))

    def save(self) -> None:
        """Stores what was counted."""
        if len(self.costs) > self.counted:
            self.table.set(self.key, {name: [cost.flops, cost.calls, cost.bytes] for name, cost in self.costs.items()})


def finetuning_cost(editor: Editor, frames: Tensor, tuning: Tuning) -> Cost:
    """Fine-tuning on latents, where they and the editor are on the meta device: backward is twice forward."""
    tuned, g = with_clip_layers(editor, tuning.rank), torch.Generator()

    def work() -> None:
        embeddings = tuned.embed([RARE])
        with torch.enable_grad():
            finetune_loss(tuned, frames, embeddings, tuning, g)

    return count(tuned, work).times(3 * tuning.steps)


def _steps(method: EditMethod, editor: Editor, guidance: Guidance) -> int:
    """How many steps a method takes; some begin half way."""
    timesteps: Any = getattr(method, "timesteps", None)
    return guidance.steps if timesteps is None else len(timesteps(editor.schedule, guidance))
