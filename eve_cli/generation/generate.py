"""Videos of texts, of subjects and of pictures: what `eve generate`, `eve subject` and `eve animate` do."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from eve_cli.data import folders, frames
from eve_cli.diffusion.noise import frame_noise
from eve_cli.diffusion.samplers import ddim
from eve_cli.diffusion.windows import hold_to, split
from eve_cli.editing import pipeline, provenance
from eve_cli.editing.progress import EditCallbacks, unknown_words_note, unread_note
from eve_cli.editing.request import EditRequest
from eve_cli.generation import camera
from eve_cli.generation.request import AnimateRequest, GenerateRequest, GenerationSettings, SubjectRequest
from eve_cli.media.encode import VideoWriter
from eve_cli.methods.finetune import Tuning, finetuned
from eve_cli.models.canvas import to_bytes, to_floats
from eve_cli.models.editor import Editor
from eve_cli.models.loading import LoadedModel, load_model, plan_model
from eve_cli.models.spec import ModelSpec
from eve_cli.runtime.environment import versions
from eve_cli.settings import to_mapping
from eve_cli.training.crops import crops

OVERLAP = 2
DEFAULT_GUIDANCE = 3.0
"""Guidance on the prompt for a model whose own setting is for edits, and turns it off."""
MIN_PICTURES, MAX_PICTURES = 3, 10
Request = TypeVar("Request", GenerateRequest, SubjectRequest, AnimateRequest)


@torch.no_grad()
def text_to_video(
    editor: Editor,
    prompt: str,
    count: int,
    *,
    seed: int,
    steps: int,
    guidance_scale: float,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Tensor:
    """Clean latents (count, c, h, w): the backbone makes the first frame, the video adapter continues from it.

    As in Emu Video; longer clips continue window by window, each conditioned on the last frames of the one before.
    """
    text, schedule, image_schedule = editor.embed([prompt]), editor.schedule, editor.image_schedule
    times = schedule.trailing(steps)
    size = editor.latent_size(editor.settings.pixels, editor.settings.pixels)
    windows = list(split(count, min(editor.settings.frames, count), OVERLAP))

    def noise(indices: Sequence[int]) -> Tensor:
        return frame_noise(seed, indices, (editor.parts.backbone.config["in_channels"], *size)).to(editor.device)

    latents = ddim(
        editor.guided_image(text, guidance_scale, with_lora=True),
        image_schedule,
        noise(range(1)),
        image_schedule.trailing(steps),
    )
    for number, (start, stop, shared) in enumerate(windows):
        denoise = editor.guided_video(text, latents[start : start + 1], guidance_scale=guidance_scale)
        correct = hold_to(latents[None, start : start + shared], steps) if shared else None
        clip = ddim(denoise, schedule, noise(range(start, stop))[None], times, correct=correct)[0]
        latents = torch.cat([latents[: start + shared], clip[shared:]])
        progress(number + 1, len(windows))
    return latents


def generate(request: GenerateRequest, callbacks: EditCallbacks | None = None) -> Path:
    """Generates a video from a prompt; returns the path of the file."""
    request, target = _with_seed(request)
    model = _load(request)
    _writer(request, target).rehearse(*_size(model.editor))
    return _write(request, target, model, model.editor, {}, callbacks or EditCallbacks())


def subject(request: SubjectRequest, callbacks: EditCallbacks | None = None) -> Path:
    """Fine-tunes on pictures of a subject (Dreamix, section 5: alpha = 0), then generates a video of it."""
    callbacks = callbacks or EditCallbacks()
    request, target = _with_seed(request)
    items = folders.pictures(request.images, f"{MIN_PICTURES} to {MAX_PICTURES}")
    if not MIN_PICTURES <= len(items) <= MAX_PICTURES:
        callbacks.on_note(f"{len(items)} picture{'s' * (len(items) > 1)}: {MIN_PICTURES} to {MAX_PICTURES} work best")
    model = _load(request)
    _writer(request, target).rehearse(*_size(model.editor))
    pictures, captions = crops(items, request.token, "subject", model.editor.settings.pixels)
    with torch.no_grad():
        latents = model.editor.encode(pictures.to(model.editor.device))
    tuning = Tuning(request.tune_steps, 0.0, request.tune_lr)
    editor = finetuned(
        model.editor, latents, tuning, captions, lambda done, of: callbacks.on_progress("finetune", done, of)
    )
    facts = {"images": [provenance.describe_input(str(item.path)) for item in items]}
    return _write(request, target, model, editor, facts, callbacks)


def animate(request: AnimateRequest, callbacks: EditCallbacks | None = None) -> pipeline.EditResult:
    """Renders a camera path over a picture to a file beside the result, and edits that by Dreamix."""
    request, target = _with_seed(request)
    views = camera.path(request.camera)
    picture = to_floats(frames.read(Path(request.image), 1))[0]
    coarse = target.with_name(f"{target.stem}.coarse.mkv")
    with VideoWriter(coarse, codec="ffv1", fps=request.fps, audio="none") as writer:
        for frame in camera.shot(picture, views, request.frames):
            writer.write(np.ascontiguousarray(to_bytes(frame).numpy()))
    dreamix = {"tune_steps": request.tune_steps, "strength": request.strength, "preset": "frames", "method": "dreamix"}
    names = {item.name for item in fields(EditRequest)} - {"fps"}  # the coarse clip has its rate
    shared = {name: getattr(request, name) for name in names if hasattr(request, name)}
    texts = {"instruction": request.prompt, "caption": request.prompt}
    files = {"input": str(coarse), "output": target}
    edit_request = EditRequest.of(shared | texts | files | dreamix | {"scene_cuts": "off"}, "eve animate")
    try:
        return pipeline.edit(edit_request, callbacks)
    except BaseException:
        if not pipeline.run_dir_of(edit_request).is_dir():  # else eve resume reads it
            coarse.unlink(missing_ok=True)
        raise


def _load(request: GenerationSettings) -> LoadedModel:
    return load_model(ModelSpec(request.model, device=request.device, dtype=request.dtype))


def _with_seed(request: Request) -> tuple[Request, Path]:
    """With a seed, and where the result goes."""
    if request.seed is None:
        request = replace(request, seed=secrets.randbelow(2**31))
    return request, request.target(request.prompt)


def _size(editor: Editor) -> tuple[int, int]:
    return editor.settings.pixels, editor.settings.pixels


def _writer(request: GenerationSettings, target: Path, record: str | None = None) -> VideoWriter:
    overwrite = request.overwrite
    return VideoWriter(target, codec=request.codec, fps=request.fps, audio="none", overwrite=overwrite, record=record)


def _without_token(request: GenerateRequest | SubjectRequest) -> str:
    """The prompt without the word that stands for the subject."""
    token = request.token if isinstance(request, SubjectRequest) else None
    return " ".join((request.prompt.replace(token, " ") if token else request.prompt).split())


def _write(
    request: GenerateRequest | SubjectRequest,
    target: Path,
    model: LoadedModel,
    editor: Editor,
    facts: dict,
    callbacks: EditCallbacks,
) -> Path:
    """Generates the video and writes it, with its settings and sources as metadata."""
    if unknown := editor.unknown_words(_without_token(request)):
        callbacks.on_note(unknown_words_note(request.model, unknown))
    if unread := editor.unread(request.prompt):
        callbacks.on_note(unread_note(request.model, [unread]))
    guidance_scale = (
        request.guidance_scale
        if request.guidance_scale is not None
        else max(editor.settings.guidance_scale, DEFAULT_GUIDANCE)
    )
    assert request.seed is not None
    count = request.frames or editor.settings.frames
    latents = text_to_video(
        editor,
        request.prompt,
        count,
        seed=request.seed,
        steps=request.steps,
        guidance_scale=guidance_scale,
        progress=lambda done, of: callbacks.on_progress("edit", done, of),
    )
    settings = {name: value for name, value in to_mapping(request).items() if name not in ("output", "images")}
    facts = facts | {
        "settings": settings | {"guidance_scale": guidance_scale},
        "model": plan_model(model),
        "versions": versions(),
    }
    record = json.dumps(facts, sort_keys=True)
    with _writer(request, target, record) as writer:
        for latent in latents:
            with torch.no_grad():
                writer.write(to_bytes(editor.decode(latent[None]))[0].cpu().numpy())
    return target
