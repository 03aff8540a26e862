"""The parts of a model joined into the functions that EVE needs, each adapter on or off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from diffusers import UNetMotionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from eve_cli.diffusion.samplers import Denoise
from eve_cli.errors import ModelError
from eve_cli.models import alignment_lora, bundle, lora, low_rank, vae, wording
from eve_cli.models.guidance import Branch, branches_of, guided, texts_of
from eve_cli.models.inference import modules
from eve_cli.models.inference.fast import Fast
from eve_cli.models.inference.layers import branched, supports
from eve_cli.models.inference.networks import Networks, Plain, Residuals, added, padded
from eve_cli.models.inference.sampling import Sampling
from eve_cli.models.parts import Parts
from eve_cli.models.share_weights import shared_motion_unet, shared_unet
from eve_cli.runtime.device import half
from eve_cli.tasks import UNKNOWN_TASK

M = TypeVar("M", bound=nn.Module)
DOMAIN = "domain"
CPU_VAE_BATCH = 8
"""The number of images of 64x64 that a vae on a CPU computes fastest in one batch (docs/explanation/inference.md)."""


@dataclass(frozen=True)
class Condition:
    """The text embeddings of the two networks, each (n, tokens, dim)."""

    text: Tensor
    """For the backbone."""
    instruction: Tensor
    """For the edit adapter."""


class Editor:
    """One backbone with an edit adapter and a video adapter, apart and together.

    Latents are normalised, (n, c, h, w) for frames and (b, f, c, h, w) for clips; every `clean_*` function takes noisy
    latents and a timestep of shape (n,) or (b,) and returns clean latents, and every `guided_*` function returns such a
    denoiser under classifier-free guidance. `source` and `first` may hold fewer rows than `noisy`: the rows behind them
    are computed without that condition. Autograd is left as the caller has it.

    The backbone, the video model (backbone + video adapter) and the student (the same + low-rank layers) are separate
    modules over one set of weights, so no function has to switch layers, and the student's cannot change a teacher.

    Timesteps of `clean_image`, `clean_edit` and their guided forms count on `image_schedule`, those of the video model
    and the student on `schedule`. The two are one unless the parts were trained on different ones.

    `weights` are those of a LoRA for a subject or a style. It acts in the student and in `lora_unet`, which functions
    with `with_lora` use in place of the backbone; without a LoRA the two are the same.
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
        self.in_one_batch = True  # all branches of guidance
        self.vae_batch: int | None = None  # images of 64x64 that the vae computes in one batch; None: all
        self.fallbacks: list[str] = []  # names of those that were applied (`runtime/oom.py`)
        self._text_cache: dict[Any, Tensor] | None = None
        self.backbone = self.lora_unet = parts.backbone
        if weights is not None:
            self.lora_unet = shared_unet(parts.backbone)
            lora.attach(self.lora_unet, weights)
        self.video: UNetMotionModel | None = None
        self.student: UNetMotionModel | None = None
        if parts.video is not None:
            self.video, self.student = self.shared_motion_unet(), self.shared_motion_unet()
            if weights is not None:
                lora.attach(self.student, weights)
            if parts.align is not None:
                alignment_lora.attach(self.student, parts.align)

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

    def shared_motion_unet(self) -> UNetMotionModel:
        """A further module of the video model, with the low-rank weights that belong to it."""
        assert self.parts.video is not None
        unet = shared_motion_unet(self.backbone, self.parts.video)
        if self.parts.domain is not None:
            low_rank.attach(unet, DOMAIN, self.parts.domain)
        return unet

    def unets(self) -> list[nn.Module]:
        """The backbone and the networks that share its weights, each once; they hold the low-rank layers."""
        unets = (self.backbone, self.lora_unet, self.video, self.student)
        return list(dict.fromkeys(cast(list[nn.Module], [unet for unet in unets if unet is not None])))

    def modules(self) -> list[nn.Module]:
        """All modules that hold weights."""
        return [*(module for _, module in self.parts.modules()), *self.unets()]

    def module_groups(self) -> list[list[nn.Module]]:
        """The modules that are used at the same time: the vae, the text encoders, the denoising networks."""
        parts = dict(self.parts.modules())
        encoders = [parts.pop(name) for name in ("text_encoder", "instruction_encoder") if name in parts]
        return [[parts.pop("vae")], encoders, [*parts.values(), *self.unets()]]

    def to(self, device: torch.device) -> Editor:
        """Moves the parts, the networks over their weights and the schedules; returns the editor.

        Every network is moved by itself: they share weights, which move once, but each has buffers of its own then.
        """
        for module in self.modules():
            nn.Module.to(module, device)
        same = self.image_schedule is self.schedule
        self.device, self.schedule = device, self.schedule.to(device)
        self.image_schedule = self.schedule if same else self.image_schedule.to(device)
        return self

    def optimize_for_inference(self) -> Editor:
        """Makes all functions faster, for good and without gradients; returns the editor.

        Text embeddings are cached, low-rank layers are merged into weights of their own, and layers are replaced by
        faster ones (`inference/`), so the parts must not be saved from here on. Networks of another architecture keep
        their forward functions.
        """
        self._text_cache = {}
        self.vae_batch = CPU_VAE_BATCH if self.device.type == "cpu" else None
        networks = [*self.unets(), self.parts.edit, self.parts.sparse]
        if all(network is None or supports(network) for network in networks):
            self.networks = Fast()
            self.parts.channels_last()
            for unet in (self.lora_unet, self.student):
                if unet is not None and unet is not self.backbone:
                    modules.merge_low_rank(unet)
        kernels: dict[nn.Parameter, nn.Parameter] = {}
        for module in self.modules():
            modules.optimize_for_inference(module, kernels)
        return self

    @contextmanager
    def making(self) -> Iterator[None]:
        """No gradients, and half precision, for latents that are computed in bulk ahead of a training."""
        with torch.no_grad(), torch.autocast(self.device.type, half(self.device)):
            yield

    # Images and texts

    @property
    def factor(self) -> int:
        """The width of a latent in pixels."""
        return vae.factor(self.parts.vae)

    @property
    def unit(self) -> int:
        """Sides of frames that are multiples of this many pixels are whole numbers at every level of the backbone."""
        return self.factor * 2 ** (len(self.backbone.config["block_out_channels"]) - 1)

    def frame_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) to which frames of a size are resized for the model."""
        return self.settings.frame_size(width, height, self.unit)

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the latents of a frame; ValueError unless both are multiples of `factor`."""
        if height % self.factor or width % self.factor:
            raise ValueError(f"Frames of {width}x{height} do not divide by {self.factor}: resize or pad them first.")
        return height // self.factor, width // self.factor

    def _latent_scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the vae's own latents per channel, (1 or c, 1, 1): the bundle's, else the vae's."""
        config = self.parts.vae.config
        mean = self.settings.latent_mean or config.get("latents_mean") or [config.get("shift_factor") or 0.0]
        std = self.settings.latent_std or config.get("latents_std") or [1.0]
        scale = 1.0 if self.settings.latent_std else config["scaling_factor"]
        rows = [torch.tensor(list(values), device=self.device).view(-1, 1, 1) for values in (mean, std)]
        return rows[0], rows[1] / scale

    def encode(self, frames: Tensor) -> Tensor:
        """Frames (f, 3, height, width) in [0, 1] to latents (f, c, h, w): the mean of the posterior, so no chance."""
        self.latent_size(*frames.shape[-2:])
        mean, std = self._latent_scale()
        images = frames.to(self.device, self.dtype) * 2 - 1
        latents = torch.cat([vae.encode(self.parts.vae, piece) for piece in self._pieces(images, 1)])
        return (latents - mean) / std

    def decode(self, latents: Tensor, clamp: bool = True) -> Tensor:
        """Latents (f, c, h, w) to frames (f, 3, height, width), in [0, 1] unless `clamp` is False."""
        mean, std = self._latent_scale()
        own = (latents * std + mean).to(self.dtype)
        pieces = [vae.decode(self.parts.vae, piece) for piece in self._pieces(own, self.factor)]
        frames = torch.cat(pieces) / 2 + 0.5
        return frames.clamp(0, 1) if clamp else frames

    def _pieces(self, images: Tensor, scale: int) -> tuple[Tensor, ...]:
        """The batches of the vae."""
        return (images,) if self.vae_batch is None else vae.pieces(images, scale, self.vae_batch)

    def control_image(self, latents: Tensor) -> Tensor:
        """The edit adapter's input for source latents (f, c, h, w), as the bundle's `control_image` says: the same
        latents, or the decoded frames (f, 3, height, width), without gradients."""
        if self.settings.control_image == "latents":
            return latents
        with torch.no_grad():
            return torch.cat([self.decode(piece) for piece in vae.pieces(latents, self.factor)])

    def _encode_texts(self, encoder: CLIPTextModel, texts: Sequence[str]) -> Tensor:
        texts = [wording.normalized(text, self._vocabulary)[0] for text in texts]
        if self._text_cache is None:
            return encoder(self.parts.tokens(texts).to(self.device)).last_hidden_state
        rows = []
        for text in texts:
            key = (encoder, self.device, self.dtype, text)
            if key not in self._text_cache:
                self._text_cache[key] = encoder(self.parts.tokens([text]).to(self.device)).last_hidden_state
            rows.append(self._text_cache[key])
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Text embeddings for the backbone: (n, tokens, dim)."""
        return self._encode_texts(self.parts.text_encoder, texts)

    def embed_instruction(self, texts: Sequence[str]) -> Tensor:
        """Text embeddings for the edit adapter, (n, tokens, dim), by an encoder of its own if the model has one."""
        return self._encode_texts(self.parts.instruction_encoder or self.parts.text_encoder, texts)

    def condition(self, instruction: str | Sequence[str], caption: str | Sequence[str] | None = None) -> Condition:
        """The embeddings of an instruction and, if known, the caption of the result, for each network."""
        instructions = [instruction] if isinstance(instruction, str) else list(instruction)
        captions = instructions if caption is None else [caption] if isinstance(caption, str) else list(caption)
        convention = self.settings.edit_text
        return Condition(
            text=self.embed(instructions if convention == "instruction" else captions),
            instruction=self.embed_instruction(captions if convention == "caption" else instructions),
        )

    def unknown_words(self, text: str) -> list[str]:
        """The words and symbols (emoji) of a text that are neither in the model's vocabulary nor replaced by one of it,
        in order; the whole text if there is no word in it.

        There are none if it was trained on free text.
        """
        known = self._vocabulary
        words = [word.lower() for word in wording.words(wording.normalized(text, known)[0])] or text.split()
        return [word for word in dict.fromkeys(words) if word not in known] if known else []

    def replaced_words(self, text: str) -> dict[str, str]:
        """The words of a text that are replaced by words of the model's vocabulary, and by which."""
        return wording.normalized(text, self._vocabulary)[1]

    @property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(self.settings.words)

    def unread(self, text: str) -> str:
        """The end of a text that goes beyond the model's `text_tokens` tokens, from the first word that is cut off."""
        text, limit = wording.normalized(text, self._vocabulary)[0], self.settings.text_tokens
        tokens: Any = self.parts.tokenizer(text, truncation=True, max_length=limit, return_offsets_mapping=True)
        end = tokens["offset_mapping"][-2][1]  # the last token is the end of the text
        if len(text) > end > 0 and text[end - 1 : end + 1].isalnum():  # in a word
            end = text.rfind(" ", 0, end) + 1 or end
        return text[end:].strip(" ,;:.!?")

    # Denoisers

    def clean_image(
        self, noisy: Tensor, t: Tensor, text: Tensor, *, with_lora: bool = False, run: Sampling | None = None
    ) -> Tensor:
        """The backbone alone: text to image."""
        run = run or Sampling()
        unet = self.lora_unet if with_lora else self.backbone
        output = self.networks.unet(unet, noisy.to(self.dtype), t, text, None, run)
        return self.image_schedule.to_clean(branched(noisy, run.branches), output, branched(t, run.branches))

    def clean_edit(
        self,
        noisy: Tensor,
        t: Tensor,
        text: Tensor,
        instruction: Tensor,
        source: Tensor | None,
        task: Tensor | None = None,
        *,
        with_lora: bool = False,
        run: Sampling | None = None,
    ) -> Tensor:
        """Backbone + edit adapter on single frames.

        `source` is latents or frames, as the bundle's `control_image` says; `task` holds label numbers (n,), and None
        is the label for "unknown".
        """
        run = run or Sampling()
        unet = self.lora_unet if with_lora else self.backbone
        residuals = self._edit_residuals(noisy, t, instruction, source, task, run)
        output = self.networks.unet(unet, noisy.to(self.dtype), t, text, residuals, run)
        return self.image_schedule.to_clean(branched(noisy, run.branches), output, branched(t, run.branches))

    def clean_video(
        self, noisy: Tensor, t: Tensor, text: Tensor, first: Tensor | None, *, run: Sampling | None = None
    ) -> Tensor:
        """Backbone + video adapter; `first` (b, c, h, w) are clean latents of frame 0."""
        run = run or Sampling()
        unet = self._need(self.video, "video adapter")
        frames, residuals = self._with_first_frame(noisy, t, text, first, None, run)
        output = self.networks.unet(unet, frames, t, text, residuals, run)
        return self._to_clean_clips(noisy, output, t, run)

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
        run: Sampling | None = None,
    ) -> Tensor:
        """Backbone + both adapters + LoRA and alignment, if there are some; `source` is (b, f, c, h, w)."""
        run = run or Sampling()
        unet = self._need(self.student, "video adapter")
        # the edit adapter was trained on the image schedule: its timestep is the one there with as much noise
        level = self.schedule.matched(t, self.image_schedule)
        residuals = self._edit_residuals(noisy.flatten(0, 1), level, instruction, source, task, run)
        frames, residuals = self._with_first_frame(noisy, t, text, first, residuals, run)
        output = self.networks.unet(unet, frames, t, text, residuals, run)
        return self._to_clean_clips(noisy, output, t, run)

    def _edit_residuals(
        self,
        noisy: Tensor,
        t: Tensor,
        instruction: Tensor,
        source: Tensor | None,
        task: Tensor | None,
        run: Sampling,
    ) -> Residuals | None:
        """The edit adapter's residuals for the frames of `source`, which come first."""
        if source is None or len(source) == 0:
            return None
        adapter = self._need(self.parts.edit, "edit adapter")
        rows, frames = len(source), source.shape[1] if source.ndim == 5 else 1
        labels, all_rows = None, rows * run.source_branches
        if adapter.config["num_class_embeds"]:
            unknown = torch.full((rows,), UNKNOWN_TASK, device=noisy.device)
            labels = unknown if task is None else task[:all_rows]
        if len(instruction) > all_rows:
            instruction = instruction[:all_rows]
        x = noisy[: rows * frames].to(self.dtype)
        return self.networks.control(adapter, x, t[:rows], instruction, source, labels, run)

    def _with_first_frame(
        self,
        noisy: Tensor,
        t: Tensor,
        text: Tensor,
        first: Tensor | None,
        residuals: Residuals | None,
        run: Sampling,
    ) -> tuple[Tensor, Residuals | None]:
        """The video model's input frames, and the residuals, with the first frame in the one or the other."""
        adapter = self._need(self.parts.video, "video adapter")
        x = noisy.flatten(0, 1).to(self.dtype)
        if first is None or len(first) == 0:
            return x, residuals
        count = noisy.shape[1] if run.group is None else run.group.frames
        known = run.own(adapter.known(first.to(self.dtype), count, run.keyframes)).flatten(0, 1)
        if self.parts.sparse is None:
            return torch.cat([x, padded(known, len(x))], dim=1), residuals
        rows = len(first)
        text = text if len(text) <= rows * run.branches else text[:rows]
        more = self.networks.first_frame(self.parts.sparse, x[: len(known)], t[:rows], text, known, run)
        return x, more if residuals is None else added(residuals, more)

    def _to_clean_clips(self, noisy: Tensor, output: Tensor, t: Tensor, run: Sampling) -> Tensor:
        noisy = branched(noisy, run.branches)
        return self.schedule.to_clean(noisy, output.unflatten(0, noisy.shape[:2]), branched(t, run.branches))

    # Denoisers under guidance. Scales that are None are the bundle's; a `run` is for one clip.

    def guided_image(
        self,
        text: Tensor,
        guidance_scale: float | None = None,
        *,
        with_lora: bool = False,
        run: Sampling | None = None,
    ) -> Denoise:
        """Text to image with guidance on the text."""
        branches = self._branches(guidance_scale, 1.0)
        return guided(
            partial(self.clean_image, with_lora=with_lora),
            branches,
            run or Sampling(),
            in_one_batch=self.in_one_batch,
            text=texts_of(branches, text, self.embed([""])),
        )

    def guided_edit(
        self,
        text: Tensor,
        instruction: Tensor,
        source: Tensor,
        task: Tensor | None = None,
        *,
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        with_lora: bool = False,
        run: Sampling | None = None,
    ) -> Denoise:
        """Frame editing with guidance on the texts and on the source (InstructPix2Pix, equation 3)."""
        branches = self._branches(guidance_scale, image_guidance_scale)
        return guided(
            partial(self.clean_edit, with_lora=with_lora),
            branches,
            run or Sampling(),
            in_one_batch=self.in_one_batch,
            text=texts_of(branches, text, self.embed([""])),
            **self._edit_conditions(branches, instruction, source, task),
        )

    def guided_video(
        self,
        text: Tensor,
        first: Tensor | None,
        *,
        guidance_scale: float | None = None,
        first_cfg: float = 1.0,
        run: Sampling | None = None,
    ) -> Denoise:
        """Text to video; all branches are given the first frame unless `first_cfg` asks for guidance on it."""
        branches, run = self._branches(guidance_scale, first_cfg), run or Sampling()
        denoise = guided(
            self.clean_video,
            branches,
            run,
            in_one_batch=self.in_one_batch,
            text=texts_of(branches, text, self.embed([""])),
            first=None if first is None else [first for branch in branches if branch.source],
        )
        return run.gathered(denoise)

    def guided_student(
        self,
        text: Tensor,
        instruction: Tensor,
        source: Tensor,
        first: Tensor | None,
        task: Tensor | None = None,
        *,
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        run: Sampling | None = None,
    ) -> Denoise:
        """Clip editing, guided as `guided_edit`; all branches are given the first frame."""
        branches, run = self._branches(guidance_scale, image_guidance_scale), run or Sampling()
        denoise = guided(
            self.clean_student,
            branches,
            run,
            in_one_batch=self.in_one_batch,
            text=texts_of(branches, text, self.embed([""])),
            first=None if first is None else [first] * len(branches),
            **self._edit_conditions(branches, instruction, run.own(source), task),
        )
        return run.gathered(denoise)

    def _branches(self, guidance_scale: float | None, source_scale: float | None) -> list[Branch]:
        settings = self.settings
        return branches_of(
            settings.guidance_scale if guidance_scale is None else guidance_scale,
            settings.image_guidance_scale if source_scale is None else source_scale,
        )

    def _edit_conditions(
        self, branches: Sequence[Branch], instruction: Tensor, source: Tensor, task: Tensor | None
    ) -> dict[str, list[Tensor] | None]:
        """Conditions of the edit adapter, for the branches that are given the source."""
        branches = [branch for branch in branches if branch.source]
        unknown = torch.tensor([UNKNOWN_TASK], device=source.device)
        return {
            "instruction": texts_of(branches, instruction, self.embed_instruction([""])),
            "source": [source] * len(branches),
            "task": None if task is None else texts_of(branches, task, unknown.to(task.device)),
        }

    def need_student(self) -> UNetMotionModel:
        """The student's network; ModelError unless the model has both adapters."""
        self._need(self.parts.edit, "edit adapter")
        return self._need(self.student, "video adapter")

    def _need(self, module: M | None, what: str) -> M:
        if module is None:
            raise ModelError(f"The model {self.settings.name} has no {what}: choose a model that has one.")
        return module
