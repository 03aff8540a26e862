"""What the pieces of an edit cost: each counted once on this machine, and kept in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from eve_cli import __version__, registry
from eve_cli.diffusion.guidance import two_scale_weights
from eve_cli.editing import detail
from eve_cli.editing.contract import Clip, EditMethod, Guidance
from eve_cli.editing.cost import META, Cost, count, ghost
from eve_cli.editing.effect import effect
from eve_cli.editing.folder import BLOCK, write_atomically
from eve_cli.editing.loading import LoadedModel
from eve_cli.editing.memory import Rung
from eve_cli.editing.methods import METHODS
from eve_cli.editing.places import cache
from eve_cli.editing.request import EditRequest
from eve_cli.editing.tuning import Learner, cost
from eve_cli.editing.windows import Window
from eve_cli.errors import EveError
from eve_cli.settings import from_mapping, to_mapping

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

FILE, KEPT = "costs.json", 200
DECISIVE = ("method", "window", "overlap", "long", "keyframes", "reuse", "guided")
"""Settings that change what one step of a window costs."""
ALIKE = 16
"""Windows whose lengths differ by less than so many frames are counted once."""


class Prices:
    """What the pieces of an edit cost, counted once and kept in a file, since it never changes.

    `rungs` are the ways to need less that are taken beforehand.
    """

    def __init__(self, model: LoadedModel, plan: Mapping[str, Any], rungs: Sequence[Rung] = ()) -> None:
        self.model, self.rungs = model, rungs
        self.request = from_mapping(EditRequest, plan["request"], "plan.json")
        self.size = plan["size"]
        self.guidance = Guidance.of(self.request)
        self.once = replace(self.guidance, steps=1)
        self.method: EditMethod = registry.pick(METHODS, self.request.method, "method")()
        settings = [getattr(self.request, name) for name in DECISIVE]
        settings += [weight != 0 for weight in two_scale_weights(self.guidance.text_cfg, self.guidance.video_cfg)]
        facts = [
            __version__,
            torch.__version__,
            model.hashes,
            settings,
            list(self.size),
            {name: value for name, value in to_mapping(self.request.options).items() if not isinstance(value, str)},
            str(model.editor.dtype),
            [r.name for r in rungs],
        ]
        self.key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        self.path = cache() / FILE
        self.known: dict[str, Cost] = {name: Cost(*row) for name, row in self._read().get(self.key, {}).items()}
        self.counted = len(self.known)

    @cached_property
    def ghost(self) -> Editor:
        """The editor without content, with the rungs taken."""
        made = ghost(self.model.editor)
        for rung in self.rungs:
            if not rung.gpu:
                rung.take(made)
        with torch.inference_mode(False), torch.no_grad():  # an editor reads a text once, so no window is to pay for it
            for guidance in (self.guidance, self.guidance.idle()):
                guidance.condition(made)
        return made

    def of(self, unit: str, work: Callable[[], Any]) -> Cost:
        """The cost of `work`, which is named `unit`."""
        if unit not in self.known:
            self.known[unit] = count(self.ghost, work)
        return self.known[unit]

    def stages(self, plan: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Cost]:
        """The costs of all stages of a plan; `size` is (width, height) of the source."""
        windows, frames = [Window(**each) for each in plan["windows"]], plan["record"]["frames"]
        total: dict[str, Cost] = dict.fromkeys(("encode", "window", "effect", "decode", "write"), Cost())
        for window, many in self._kinds(windows).items():
            total["window"] += self.window(window).times(many)
            if self.request.keep == "on":
                total["effect"] += self.effect(window).times(many)
        total["window"] += self.learning().times(len(plan["record"]["shots"]))
        block, most = min(BLOCK, frames), max(len(window.new) for window in windows)
        new = min(self.model.editor.settings.frames, most)
        encoded = self.of(f"encode {block}", lambda: self.ghost.encode(self._pixels(block)))
        total["encode"] = encoded.times(frames / block)
        total["decode"] = self.decoding(new).times((1 if self.request.method == "copy" else 2) * frames / new)
        width, height = size
        total["write"] = self.of(f"write {width}x{height}", lambda: self._write(width, height, new))
        self.save()
        return total

    def window(self, window: Window) -> Cost:
        """All steps of a window; where they are not alike, each is counted."""
        if self.guidance.reuse > 1 or self.guidance.guided < 1:
            return self.steps(window, self.guidance.steps)
        one, count = self.steps(window, 1), _steps(self.method, self.model.editor, self.guidance)
        if count == 1 or not self.model.editor.settings.image_steps:
            return one.times(count)
        two = self.steps(window, 2)
        return one + Cost(two.flops - one.flops, two.calls - one.calls, two.bytes).times(count - 1)

    def learning(self) -> Cost:
        """What a method learns of a shot before it edits it, unless it is known from before."""
        tuning = self.method.tuning(self.guidance) if isinstance(self.method, Learner) else None
        if tuning is None or not tuning.steps:
            return Cost()
        name = f"learn {tuning.steps} {tuning.rank} {tuning.alpha > 0} {tuning.alpha < 1}"
        if name not in self.known:
            self.known[name] = cost(self.ghost, self.clip(Window(0, 0, 0, 0)).source, tuning)
        return self.known[name]

    def steps(self, window: Window, count: int) -> Cost:
        """So many steps of a window."""
        guidance = replace(self.guidance, steps=count)
        name = f"window {self.length(window)} {window.overlap} {count}"
        return self.of(name, lambda: self.method.edit(self.ghost, self.clip(window), guidance))

    def effect(self, window: Window) -> Cost:
        """What the instruction does to a window."""
        new = len(window.new)
        return self.of(f"effect {new}", lambda: effect(self.ghost, self.clip(window).part(0, new), self.once))

    def decoding(self, frames: int) -> Cost:
        """Frames that come out of the codec."""
        whole = Window(0, 0, frames, 0)
        return self.of(f"decode {frames}", lambda: self.ghost.decode(self.clip(whole).source[:frames]))

    def length(self, window: Window) -> int:
        """How many frames the networks see of a window: a short one is filled up, but for a lone frame."""
        return 1 if len(window.frames) == 1 else max(len(window.frames), self.request.window or 1)

    def _kinds(self, windows: Sequence[Window]) -> dict[Window, float]:
        """Windows that stand for all, and for how many: of those nearly alike, the longest."""
        kinds: dict[tuple[int, int], list[Window]] = {}
        for window in windows:
            length = self.length(window)
            kinds.setdefault((-(-length // ALIKE) * (length > 1), window.overlap), []).append(window)
        longest = (max(members, key=self.length) for members in kinds.values())
        lengths = [sum(map(self.length, members)) for members in kinds.values()]
        return {window: frames / self.length(window) for window, frames in zip(longest, lengths, strict=True)}

    def clip(self, window: Window, device: torch.device | None = None) -> Clip:
        """A window without content, or one of zeros on a device; of a shot without content, which is not learned."""
        editor, device, length = self.model.editor, device or self.ghost.device, self.length(window)
        height, width = editor.latent_size(self.size[1], self.size[0])
        channels: Any = editor.parts.codec.config["latent_channels"]
        source = torch.zeros(length, channels, height, width, device=device)
        hint = self._pixels(length, device) if editor.settings.hint == "pixels" else source
        return Clip(source, hint, range(length), source[: window.overlap], shot=lambda: source.to(META))

    def _pixels(self, frames: int, device: torch.device | None = None) -> Tensor:
        return torch.zeros(frames, 3, self.size[1], self.size[0], device=device or self.ghost.device)

    def _write(self, width: int, height: int, frames: int) -> Tensor:
        small = self._pixels(frames)
        picture = torch.zeros(1, 3, height, width, device=self.ghost.device)
        return detail.apply(picture, detail.plan(small, small, small[None].expand(2, -1, -1, -1, -1)).frame(0))

    def _read(self) -> dict[str, Any]:
        try:
            read = json.loads(self.path.read_text(encoding="utf-8"))
            return read if isinstance(read, dict) else {}
        except (OSError, ValueError):
            return {}

    def save(self) -> None:
        """Keeps what was counted."""
        if len(self.known) == self.counted:
            return
        rows = {name: [cost.flops, cost.calls, cost.bytes] for name, cost in self.known.items()}
        others = {key: value for key, value in self._read().items() if key != self.key}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = dict([*others.items(), (self.key, rows)][-KEPT:])
            write_atomically(self.path, json.dumps(kept).encode())
        except (OSError, EveError):
            pass


def _steps(method: EditMethod, editor: Editor, guidance: Guidance) -> int:
    """How many steps a method takes; some begin half way."""
    timesteps: Any = getattr(method, "timesteps", None)
    return guidance.steps if timesteps is None else len(timesteps(editor.schedule, guidance))
