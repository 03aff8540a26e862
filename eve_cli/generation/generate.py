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
from eve_cli.editing.progress import EditCallbacks
from eve_cli.editing.render import METADATA_KEY
from eve_cli.editing.request import EditRequest
from eve_cli.generation import camera
from eve_cli.generation.request import Animating, Generating, Making, Subject
from eve_cli.media.encode import VideoWriter
from eve_cli.methods.finetune import Tuning, finetuned
from eve_cli.models.canvas import to_bytes, to_floats
from eve_cli.models.editor import Editor
from eve_cli.models.loading import LoadedModel, load_model, plan_model
from eve_cli.models.spec import ModelSpec
from eve_cli.runtime.environment import versions
from eve_cli.settings import to_mapping
from eve_cli.training.recipes.lora import views

OVERLAP = 2
TEXT_CFG = 3.0
"""Guidance on the prompt for a model whose own setting is for edits, and turns it off."""
FEW, MANY = 3, 10
Asked = TypeVar("Asked", Generating, Subject, Animating)


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
    """Clean latents (count, c, h, w): the backbone makes the first frame, the video adapter goes on from it.

    As Emu Video does; longer clips go on window by window, each held to the last frames of the one before.
    """
    text, schedule, lone = editor.embed([prompt]), editor.schedule, editor.image_schedule
    times = schedule.trailing(steps)
    size = editor.latent_size(editor.settings.pixels, editor.settings.pixels)
    windows = list(split(count, min(editor.settings.frames, count), OVERLAP))

    def noise(indices: Sequence[int]) -> Tensor:
        return frame_noise(seed, indices, (editor.parts.backbone.config["in_channels"], *size)).to(editor.device)

    made = ddim(editor.guided_image(text, guidance_scale, with_lora=True), lone, noise(range(1)), lone.trailing(steps))
    for number, (start, stop, shared) in enumerate(windows):
        held = made[start : start + shared]
        denoise = editor.guided_video(text, made[start : start + 1], guidance_scale=guidance_scale)
        correct = hold_to(held[None], steps) if shared else None
        clip = ddim(denoise, schedule, noise(range(start, stop))[None], times, correct=correct)[0]
        made = torch.cat([made[: start + shared], clip[shared:]])
        progress(number + 1, len(windows))
    return made


def generate(asked: Generating, callbacks: EditCallbacks | None = None) -> Path:
    """Writes a video of a text; gives its path."""
    asked, target = _settled(asked)
    model = _load(asked)
    return _write(asked, target, model, model.editor, {}, callbacks or EditCallbacks())


def subject(asked: Subject, callbacks: EditCallbacks | None = None) -> Path:
    """Learns a subject from pictures, frame by frame (Dreamix, section 5: alpha = 0), and writes a video of it."""
    callbacks = callbacks or EditCallbacks()
    asked, target = _settled(asked)
    items = folders.pictures(asked.images, f"{FEW} to {MANY}")
    if not FEW <= len(items) <= MANY:
        callbacks.on_note(f"{len(items)} picture{'s' * (len(items) > 1)}: {FEW} to {MANY} work best")
    model = _load(asked)
    shown, captions = views(items, asked.token, "subject", model.editor.settings.pixels)
    with torch.no_grad():
        latents = model.editor.encode(shown.to(model.editor.device))
    tuning = Tuning(asked.tune_steps, 0.0, asked.tune_lr)
    editor = finetuned(
        model.editor, latents, tuning, captions, lambda done, of: callbacks.on_progress("finetune", done, of)
    )
    kept = {"images": [provenance.describe_input(str(item.path)) for item in items]}
    return _write(asked, target, model, editor, kept, callbacks)


def animate(asked: Animating, callbacks: EditCallbacks | None = None) -> pipeline.EditResult:
    """Lets the camera move over a picture, keeps that beside the result, and edits it by Dreamix."""
    asked, target = _settled(asked)
    views = camera.path(asked.camera)
    picture = to_floats(frames.read(Path(asked.image), 1))[0]
    coarse = target.with_name(f"{target.stem}.coarse.mkv")
    with VideoWriter(coarse, codec="ffv1", fps=asked.fps, audio="none") as writer:
        for frame in camera.shot(picture, views, asked.frames):
            writer.write(np.ascontiguousarray(to_bytes(frame).numpy()))
    own = {"tune_steps": asked.tune_steps, "strength": asked.strength, "preset": "frames", "method": "dreamix"}
    shared = {item.name: getattr(asked, item.name) for item in fields(EditRequest) if hasattr(asked, item.name)}
    texts = {"instruction": asked.prompt, "caption": asked.prompt}
    files = {"input": str(coarse), "output": target}
    request = EditRequest.of(shared | texts | files | own | {"scene_cuts": "off"}, "eve animate")
    try:
        return pipeline.edit(request, callbacks)
    except BaseException:
        if not target.with_name(f"{target.stem}.eve-run").is_dir():  # else eve resume reads it
            coarse.unlink(missing_ok=True)
        raise


def _load(asked: Making) -> LoadedModel:
    return load_model(ModelSpec(asked.model, device=asked.device, dtype=asked.dtype))


def _settled(asked: Asked) -> tuple[Asked, Path]:
    """With a seed, and where the result goes."""
    if asked.seed is None:
        asked = replace(asked, seed=secrets.randbelow(2**31))
    return asked, asked.target(asked.prompt)


def _write(
    asked: Generating | Subject, target: Path, model: LoadedModel, editor: Editor, kept: dict, callbacks: EditCallbacks
) -> Path:
    """Makes the video and writes it, with what it was made of inside."""
    own = editor.settings
    if unknown := editor.unknown_words(" ".join(asked.prompt.replace(getattr(asked, "token", ""), " ").split())):
        callbacks.on_note(f"the model {asked.model} never learned {', '.join(unknown)} and will guess")
    guidance_scale = asked.guidance_scale if asked.guidance_scale is not None else max(own.guidance_scale, TEXT_CFG)
    assert asked.seed is not None
    count = asked.frames or own.frames
    latents = text_to_video(
        editor,
        asked.prompt,
        count,
        seed=asked.seed,
        steps=asked.steps,
        guidance_scale=guidance_scale,
        progress=lambda done, of: callbacks.on_progress("edit", done, of),
    )
    settings = {name: value for name, value in to_mapping(asked).items() if name not in ("output", "images")}
    told = kept | {
        "settings": settings | {"guidance_scale": guidance_scale},
        "model": plan_model(model),
        "versions": versions(),
    }
    metadata = {METADATA_KEY: json.dumps(told, sort_keys=True)}
    with VideoWriter(
        target, codec=asked.codec, fps=asked.fps, audio="none", overwrite=asked.overwrite, metadata=metadata
    ) as writer:
        for latent in latents:
            with torch.no_grad():
                writer.write(to_bytes(editor.decode(latent[None]))[0].cpu().numpy())
    return target
