"""The parts of a model joined into the functions that EVE needs, each adapter on or off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import UNetMotionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from eve_cli.errors import ModelError
from eve_cli.models import align, bundle, lora, low_rank, wording
from eve_cli.models import codec as codecs
from eve_cli.models.forward.dense import dense
from eve_cli.models.forward.doubling import doubled
from eve_cli.models.forward.fast import Fast
from eve_cli.models.forward.layers import branched, known
from eve_cli.models.forward.merge import merged
from eve_cli.models.forward.networks import Networks, Plain, Residuals, added, padded
from eve_cli.models.forward.run import Run
from eve_cli.models.graft import image_tree, video_tree
from eve_cli.models.guided import Guided
from eve_cli.models.parts import UNKNOWN_TASK, Parts
from eve_cli.models.words import WORD

M = TypeVar("M", bound=nn.Module)
DOMAIN = "domain"
IN_CACHE = 8
"""Pictures of 64x64 that a codec on a CPU best takes at once (docs/engine.md)."""


@dataclass(frozen=True)
class Condition:
    """What the two networks read, each (n, tokens, dim)."""

    text: Tensor
    """For the backbone."""
    instruction: Tensor
    """For the edit adapter."""


class Editor(Guided):
    """One backbone with an edit adapter and a video adapter, apart and together.

    Latents are normalised, (n, c, h, w) for frames and (b, f, c, h, w) for clips; every `clean_*` function takes noisy
    latents and a timestep of shape (n,) or (b,) and returns clean latents. `source` and `first` may hold fewer rows
    than `noisy`: the rows behind them run without that condition. Autograd is left as the caller has it.

    The backbone, the video model (backbone + video adapter) and the student (the same + low-rank layers) are separate
    module trees over one set of weights, so no function needs switching and teachers are untouched by the student.

    Timesteps of `clean_image`, `clean_edit` and what is guided by them count on `image_schedule`, those of the video
    model and the student on `schedule`. The two are one unless the parts were trained on different ones.

    `weights` are those of a LoRA for a subject or a style. It acts in the student and in a further tree, which
    functions with `styled` use in place of the backbone; without a LoRA the two are the same.
    """

    def __init__(
        self,
        parts: Parts,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.parts = parts
        self.settings = parts.settings
        self.device, self.dtype = torch.device(device), dtype
        for _, module in parts.modules():
            nn.Module.to(module, self.device, dtype)
        self.schedule = parts.schedule.to(self.device)
        self.image_schedule = parts.image_schedule.to(self.device) if parts.image_schedule else self.schedule
        self.networks: Networks = Plain()
        self.together = True  # all branches of guidance in one batch
        self.at_once: int | None = None  # pictures of 64x64 that the codec takes; None: as many as there are
        self._texts: dict[Any, Tensor] | None = None
        self.backbone = self.styled = parts.backbone
        if weights is not None:
            self.styled = image_tree(parts.backbone)
            lora.attach(self.styled, weights)
        self.video: UNetMotionModel | None = None
        self.student: UNetMotionModel | None = None
        if parts.video is not None:
            self.video, self.student = self.video_tree(), self.video_tree()
            if weights is not None:
                lora.attach(self.student, weights)
            if parts.align is not None:
                align.attach(self.student, parts.align)

    @classmethod
    def load(
        cls,
        name: str | Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Editor:
        """The editor of a bundle, given by name or folder; ModelError if it is missing or damaged."""
        return cls(bundle.load(bundle.resolve(name), dtype=dtype), device, dtype, weights)

    def video_tree(self) -> UNetMotionModel:
        """A further tree of the video model, with the low-rank weights that belong to it."""
        assert self.parts.video is not None
        tree = video_tree(self.backbone, self.parts.video)
        if self.parts.domain is not None:
            low_rank.attach(tree, DOMAIN, self.parts.domain)
        return tree

    def follow(self, device: torch.device) -> None:
        """What the editor holds beside its parts goes to the device that they went to."""
        one = self.image_schedule is self.schedule
        self.device, self.schedule = device, self.schedule.to(device)
        self.image_schedule = self.schedule if one else self.image_schedule.to(device)

    def quicken(self) -> Editor:
        """Makes functions quick that need no gradients, for good: the engine of `models/forward`, texts read once.

        Low-rank layers are worked into weights of the trees' own, so parts are not to be saved from here on. Networks
        that the engine does not know stay as they are. Gives the editor back.
        """
        self._texts = {}
        self.at_once = IN_CACHE if self.device.type == "cpu" else None
        trees = [self.backbone, self.styled, self.video, self.student, self.parts.edit, self.parts.sparse]
        if all(tree is None or known(tree) for tree in trees):
            self.networks = Fast()
            self.parts.channels_last()
            for tree in (self.styled, self.student):
                if tree is not None and tree is not self.backbone:
                    merged(tree)
        kernels: dict[nn.Parameter, nn.Parameter] = {}
        joined = (self.styled, self.video, self.student)
        for tree in (*(module for _, module in self.parts.modules()), *(tree for tree in joined if tree is not None)):
            doubled(tree, kernels)
            dense(tree)
        return self

    @contextmanager
    def making(self) -> Iterator[None]:
        """No gradients, and bfloat16, for what is made in bulk ahead of a training."""
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16):
            yield

    # Pixels and words

    @property
    def factor(self) -> int:
        """How many pixels wide a latent is."""
        return codecs.factor(self.parts.codec)

    @property
    def unit(self) -> int:
        """What the sides of a frame must divide by, so that every level of the networks has whole places."""
        return self.factor * 2 ** (len(self.backbone.config["block_out_channels"]) - 1)

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the latents of a frame; ValueError unless both are multiples of `factor`."""
        if height % self.factor or width % self.factor:
            raise ValueError(f"Frames of {width}x{height} do not divide by {self.factor}: resize or pad them first.")
        return height // self.factor, width // self.factor

    def _latent_scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the codec's own latents per channel, (1 or c, 1, 1): the bundle's, else the codec's."""
        config = self.parts.codec.config
        mean = self.settings.latent_mean or config.get("latents_mean") or [config.get("shift_factor") or 0.0]
        std = self.settings.latent_std or config.get("latents_std") or [1.0]
        scale = 1.0 if self.settings.latent_std else config["scaling_factor"]
        rows = [torch.tensor(list(values), device=self.device).view(-1, 1, 1) for values in (mean, std)]
        return rows[0], rows[1] / scale

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (f, 3, height, width) in [0, 1] to latents (f, c, h, w); the mean of the posterior, so exact."""
        self.latent_size(*frames.shape[-2:])
        mean, std = self._latent_scale()
        pictures = frames.to(self.device, self.dtype) * 2 - 1
        latents = torch.cat([codecs.encode(self.parts.codec, piece) for piece in self._pieces(pictures, 1)])
        return (latents - mean) / std

    def decode(self, latents: Tensor, clamp: bool = True) -> Tensor:
        """Latents (f, c, h, w) to frames (f, 3, height, width) in [0, 1], or beyond where `clamp` is False."""
        mean, std = self._latent_scale()
        own = (latents * std + mean).to(self.dtype)
        pieces = [codecs.decode(self.parts.codec, piece) for piece in self._pieces(own, self.factor)]
        frames = torch.cat(pieces) / 2 + 0.5
        return frames.clamp(0, 1) if clamp else frames

    def _pieces(self, images: Tensor, scale: int) -> tuple[Tensor, ...]:
        """What the codec takes at once."""
        return (images,) if self.at_once is None else codecs.pieces(images, scale, self.at_once)

    def hint(self, latents: Tensor) -> Tensor:
        """What the edit adapter is shown of source latents (f, c, h, w), as the bundle's `hint` says: these, or the
        frames (f, 3, height, width) that they stand for, without gradients."""
        if self.settings.hint == "latents":
            return latents
        with torch.no_grad():
            return torch.cat([self.decode(piece) for piece in codecs.pieces(latents, self.factor)])

    def _read(self, encoder: CLIPTextModel, texts: Sequence[str]) -> Tensor:
        texts = [wording.read(text, self._taught)[0] for text in texts]
        if self._texts is None:
            return encoder(self.parts.tokens(texts).to(self.device)).last_hidden_state
        rows = []
        for text in texts:
            key = (encoder, self.device, self.dtype, text)
            if key not in self._texts:
                self._texts[key] = encoder(self.parts.tokens([text]).to(self.device)).last_hidden_state
            rows.append(self._texts[key])
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """What the backbone reads: (n, tokens, dim)."""
        return self._read(self.parts.text_encoder, texts)

    def embed_instruction(self, texts: Sequence[str]) -> Tensor:
        """What the edit adapter reads: (n, tokens, dim), from a text encoder of its own where the model has one."""
        return self._read(self.parts.instruction_encoder or self.parts.text_encoder, texts)

    def condition(self, instruction: str | Sequence[str], caption: str | Sequence[str] | None = None) -> Condition:
        """What each network reads of an instruction and, where known, the caption of the result."""
        instructions = [instruction] if isinstance(instruction, str) else list(instruction)
        captions = instructions if caption is None else [caption] if isinstance(caption, str) else list(caption)
        convention = self.settings.edit_text
        return Condition(
            text=self.embed(instructions if convention == "instruction" else captions),
            instruction=self.embed_instruction(captions if convention == "caption" else instructions),
        )

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the model was not taught, nor a synonym of, in order; none if it was taught a whole
        language."""
        known = self._taught
        words = dict.fromkeys(word.lower() for word in WORD.findall(wording.read(text, known)[0]))
        return [word for word in words if word not in known] if known else []

    def reworded(self, text: str) -> dict[str, str]:
        """Words of a text that the model was never taught, and the words that it reads in their place."""
        return wording.read(text, self._taught)[1]

    @property
    def _taught(self) -> frozenset[str]:
        return frozenset(self.settings.words)

    def fits(self, text: str) -> bool:
        """Whether the model reads all of a text; what goes beyond its `text_tokens` is cut off."""
        return len(self.parts.tokenizer(text).input_ids) <= self.settings.text_tokens

    # The functions

    def clean_image(self, noisy: Tensor, t: Tensor, text: Tensor, *, styled: bool = False, run: Run = Run()) -> Tensor:
        """The backbone alone: text to image."""
        return self._spatial(noisy, t, text, None, styled, run)

    def clean_edit(
        self,
        noisy: Tensor,
        t: Tensor,
        text: Tensor,
        instruction: Tensor,
        source: Tensor | None,
        task: Tensor | None = None,
        *,
        styled: bool = False,
        run: Run = Run(),
    ) -> Tensor:
        """Backbone + edit adapter on lone frames; `source` is latents or frames, as the bundle's `hint` says.

        `task` holds label numbers (n,); None is the label for "unknown".
        """
        residuals = self._residuals(noisy, t, instruction, source, task, run)
        return self._spatial(noisy, t, text, residuals, styled, run)

    def clean_video(self, noisy: Tensor, t: Tensor, text: Tensor, first: Tensor | None, *, run: Run = Run()) -> Tensor:
        """Backbone + video adapter; `first` (b, c, h, w) are clean latents of frame 0."""
        return self._temporal(self.video, noisy, t, text, first, None, run)

    def clean_student(
        self,
        noisy: Tensor,
        t: Tensor,
        text: Tensor,
        instruction: Tensor,
        source: Tensor | None,
        first: Tensor | None,
        task: Tensor | None = None,
        *,
        run: Run = Run(),
    ) -> Tensor:
        """Backbone + both adapters + LoRA and alignment, where there are some; `source` is (b, f, c, h, w)."""
        # the edit adapter learned on the image schedule: it gets the timestep of that one with as much noise
        level = self.schedule.matched(t, self.image_schedule)
        residuals = self._residuals(noisy.flatten(0, 1), level, instruction, source, task, run)
        return self._temporal(self.student, noisy, t, text, first, residuals, run)

    # Wiring

    def _residuals(
        self, noisy: Tensor, t: Tensor, instruction: Tensor, source: Tensor | None, task: Tensor | None, run: Run
    ) -> Residuals | None:
        """What the edit adapter adds to the backbone, for the frames of `source`, which come first."""
        if source is None or len(source) == 0:
            return None
        adapter = self._need(self.parts.edit, "edit adapter")
        rows, frames = len(source), source.shape[1] if source.ndim == 5 else 1
        labels, every = None, rows * run.shown
        if adapter.config["num_class_embeds"]:
            unknown = torch.full((rows,), UNKNOWN_TASK, device=noisy.device)
            labels = unknown if task is None else task[:every]
        told = instruction if len(instruction) <= every else instruction[:every]
        x = noisy[: rows * frames].to(self.dtype)
        return self.networks.control(adapter, x, t[:rows], told, source, labels, run)

    def _spatial(
        self, noisy: Tensor, t: Tensor, text: Tensor, residuals: Residuals | None, styled: bool, run: Run
    ) -> Tensor:
        tree = self.styled if styled else self.backbone
        out = self.networks.unet(tree, noisy.to(self.dtype), t, text, residuals, run)
        return self.image_schedule.to_clean(branched(noisy, run.branches), out, branched(t, run.branches))

    def _temporal(
        self,
        tree: UNetMotionModel | None,
        noisy: Tensor,
        t: Tensor,
        text: Tensor,
        first: Tensor | None,
        residuals: Residuals | None,
        run: Run,
    ) -> Tensor:
        tree = self._need(tree, "video adapter")
        adapter = self._need(self.parts.video, "video adapter")
        frames = noisy.shape[1] if run.team is None else run.team.frames
        x = noisy.flatten(0, 1).to(self.dtype)
        if first is not None and len(first):
            given = run.own(adapter.known(first.to(self.dtype), frames, run.keys)).flatten(0, 1)
            if self.parts.sparse is None:
                x = torch.cat([x, padded(given, len(x))], dim=1)
            else:
                rows, seen = len(first), x[: len(given)]
                words = text if len(text) <= rows * run.branches else text[:rows]
                more = self.networks.first_frame(self.parts.sparse, seen, t[:rows], words, given, run)
                residuals = more if residuals is None else added(residuals, more)
        out = self.networks.unet(tree, x, t, text, residuals, run)
        noisy = branched(noisy, run.branches)
        return self.schedule.to_clean(noisy, out.unflatten(0, noisy.shape[:2]), branched(t, run.branches))

    def need_student(self) -> UNetMotionModel:
        """The student's tree; ModelError unless the model has both adapters."""
        self._need(self.parts.edit, "edit adapter")
        return self._need(self.student, "video adapter")

    def _need(self, module: M | None, what: str) -> M:
        if module is None:
            raise ModelError(f"The model {self.settings.name} has no {what}: choose a model that has one.")
        return module
