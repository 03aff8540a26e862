"""A model as a folder that diffusers' own pipelines load."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from eve_cli.errors import OutputError, UsageError
from eve_cli.models import bundle, bundle_manifest
from eve_cli.models.adapters import without_labels
from eve_cli.models.bundle_manifest import FOLDERS
from eve_cli.models.presets import CONFIG, NETWORK
from eve_cli.tasks import TASKS, UNKNOWN_TASK

AS_THEY_ARE = ("vae", "text_encoder", "tokenizer", "backbone", "video", "sparse", "domain", "align", "schedule")
LORAS = {"align": "the alignment", "domain": "the domain LoRA"}


@dataclass(frozen=True)
class Exported:
    """The folder, and in words what diffusers does not do of what eve does with the model."""

    path: Path
    told: list[str]


def export(model: str | Path, out: Path, task: str | None = None, overwrite: bool = False) -> Exported:
    """Writes the parts of a model for diffusers; weights are shared with the model where the disk can.

    A ControlNet with task labels, which pipelines cannot give, gets the one of `task` in its biases. UsageError for an
    unknown task, OutputError if something is at `out`.
    """
    if task is not None and task not in TASKS:
        raise UsageError(f"--task {task} is unknown; use one of: {', '.join(TASKS)}.")
    place = bundle_manifest.resolve(model)
    manifest = bundle_manifest.verify(place, again=False)
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already: choose another name, or give --overwrite.")
    with bundle_manifest.appearing(out.absolute(), "model_index.json", "pipeline") as fresh:
        for part in manifest.parts:
            if part in AS_THEY_ARE:
                bundle_manifest.link_folder(place / FOLDERS[part], fresh / FOLDERS[part])
        (fresh / FOLDERS["video"] / bundle.FIRST_FRAME).unlink(missing_ok=True)
        if "edit" in manifest.parts:
            _edit(place, fresh / FOLDERS["edit"], UNKNOWN_TASK if task is None else TASKS.index(task))
        vae = json.loads((fresh / FOLDERS["vae"] / CONFIG).read_text(encoding="utf-8"))["_class_name"]
        bundle_manifest.write_json(bundle_manifest.model_index(manifest.parts, vae), fresh / "model_index.json")
    return Exported(out, _told(manifest, vae))


def _edit(place: Path, target: Path, label: int) -> None:
    origin = place / FOLDERS["edit"]
    config = json.loads((origin / CONFIG).read_text(encoding="utf-8"))
    if not config.get("num_class_embeds"):
        bundle_manifest.link_folder(origin, target)
        return
    adapter: Any = bundle.load(place, parts=("edit",)).edit
    plain = without_labels(adapter, label)
    target.mkdir()
    bundle_manifest.write_json({**config, "num_class_embeds": None}, target / CONFIG)
    save_file({k: v.half().contiguous() for k, v in plain.state_dict().items()}, target / NETWORK, {"format": "pt"})


def _told(manifest: bundle_manifest.Manifest, vae: str) -> list[str]:
    """What a pipeline of diffusers leaves out."""
    settings, parts = manifest.settings, manifest.parts
    said = [
        f"load {what} with pipe.load_lora_weights(..., subfolder={FOLDERS[part]!r})"
        for part, what in LORAS.items()
        if part in parts
    ]
    if "edit" in parts and settings.get("edit_text", "split") == "split":
        said.append("pipelines give one text to the ControlNet and the unet; eve gives the caption to the unet")
    if "instruction_encoder" in parts:
        said.append("the ControlNet's own text encoder is left out: pipelines have one")
    if "video" in parts:
        said.append("the first frame is not given to the video model: pipelines for that are other ones")
    if settings.get("latent_mean") or vae != "AutoencoderKL":
        said.append("its latents are normalised as no pipeline does: use its parts by their classes")
    return said
