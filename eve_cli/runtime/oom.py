"""What is done where memory runs out: ways to need less, in order, each taken once and kept from then on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from torch import nn

if TYPE_CHECKING:
    from eve_cli.models.editor import Editor

Stage = Literal["encode", "window", "effect", "decode"]
CODEC, NETWORKS = ("encode", "decode", "effect"), ("window", "effect")
MOST_FRAMES = 8


@dataclass(frozen=True)
class Fallback:
    """One way to need less: what it is called, what it means, and the stages that it helps.

    `take` changes the editor; False if there is nothing (more) to gain from it here.
    """

    name: str
    means: str
    stages: tuple[str, ...]
    take: Callable[[Editor], bool]
    gpu: bool = False
    """Whether it moves weights off the device, which a CPU cannot."""


def vae_slices(editor: Editor) -> bool:
    """The vae takes a batch frame by frame; the frames stay as they were."""
    vae: Any = editor.parts.vae
    if getattr(vae, "use_slicing", True):
        return False
    vae.enable_slicing()
    return True


def vae_tiles(editor: Editor) -> bool:
    """The vae takes a frame in overlapping tiles, about half as wide as the frame."""
    vae: Any = editor.parts.vae
    unit = 4 * editor.factor  # so that an overlap of a quarter is whole, in latents too
    tile = -(-editor.settings.pixels // (2 * unit)) * unit
    if getattr(vae, "use_tiling", True) or tile >= editor.settings.pixels:
        return False
    vae.enable_tiling()
    for name, size in tile_sizes(tile, editor.factor).items():
        if hasattr(vae, name):
            setattr(vae, name, size)
    return True


def tile_sizes(tile: int, factor: int) -> dict[str, int]:
    """What diffusers' vae call the width of a tile and the step to the next, in pixels and in latents."""
    sizes = {"tile_sample_min_size": tile, "tile_latent_min_size": tile // factor}
    for side in ("height", "width"):
        sizes |= {f"tile_sample_min_{side}": tile, f"tile_sample_stride_{side}": tile * 3 // 4}
    return sizes


def fewer_frames(editor: Editor) -> bool:
    """Layers without a view of time take 8 frames at once, then 4, 2 and 1."""
    networks: Any = editor.networks
    if getattr(networks, "rows", 1) == 1:
        return False
    networks.rows = MOST_FRAMES if networks.rows is None else networks.rows // 2
    return True


def branches_in_turn(editor: Editor) -> bool:
    """The branches of guidance are computed one after the other."""
    was, editor.together = editor.together, False
    return was


def offload(editor: Editor) -> bool:
    """Parts that are not at work wait in main memory; False on a CPU, where they are there already."""
    vae: Any = editor.parts.vae
    if editor.device.type == "cpu" or hasattr(vae, "_hf_hook"):
        return False
    groups = groups_of(editor)
    for group in groups:
        others = [module for other in groups if other is not group for module in other]
        for module in group:
            add_hook_to_module(module, _Wake(group, others, editor.device))
    return True


def groups_of(editor: Editor) -> list[list[nn.Module]]:
    """The parts that are at work at the same time: the vae, the readers of text, the networks."""
    parts = dict(editor.parts.modules())
    words = [parts.pop(name) for name in ("text_encoder", "instruction_encoder") if name in parts]
    return [[parts.pop("vae")], words, [*parts.values(), *trees(editor)]]


class _Wake(ModelHook):
    """Before a module runs, its group comes to the device and all others leave it."""

    def __init__(self, group: list[nn.Module], others: list[nn.Module], device: torch.device) -> None:
        self.group, self.others, self.device = group, others, device

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        for other in self.others:
            move(other, "cpu")
        for member in self.group:
            move(member, self.device)
        return args, kwargs


def move(module: nn.Module, device: torch.device | str) -> None:
    """Moves a module's weights, unless they are there."""
    first = next(module.parameters(), None)
    if first is not None and first.device.type != torch.device(device).type:
        nn.Module.to(module, device)


def trees(editor: Editor) -> list[nn.Module]:
    """The joined networks of an editor, which share weights with its parts and hold the low-rank layers."""
    found = (editor.backbone, editor.lora_unet, editor.video, editor.student)
    return list(dict.fromkeys(cast(list[nn.Module], [each for each in found if each is not None])))


def modules_of(editor: Editor) -> list[nn.Module]:
    """All that holds weights, the joined networks included."""
    return [*(module for _, module in editor.parts.modules()), *trees(editor)]


FALLBACKS = (
    Fallback("vae-slices", "the vae takes one frame at a time", CODEC, vae_slices),
    Fallback("vae-tiles", "the vae takes each frame in tiles, whose borders can differ a little", CODEC, vae_tiles),
    Fallback("fewer-frames", "the networks take half as many frames at once", NETWORKS, fewer_frames),
    Fallback("branches-in-turn", "the branches of guidance are computed one by one", NETWORKS, branches_in_turn),
    Fallback("offload", "parts that are not at work wait in main memory", (*CODEC, *NETWORKS), offload, gpu=True),
)
