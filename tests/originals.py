"""Weights by the names of their authors' own files: the inverse of what the readers do, written apart from them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from eve_cli.models.parts import Parts

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}
CODEC_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """A UNet or a ControlNet by the names of latent diffusion."""
    with_attention = {name.split(".")[1] for name in tensors if re.match(r"up_blocks\.\d+\.attentions", name)}
    return {f"{prefix}{_unet(name, with_attention)}": value for name, value in tensors.items()}


def _unet(name: str, with_attention: Sequence[str] | set[str]) -> str:
    for ours, theirs in TOP.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    if found := re.match(r"controlnet_down_blocks\.(\d+)\.(.*)", name):
        return f"zero_convs.{found[1]}.0.{found[2]}"
    if found := re.match(r"controlnet_cond_embedding\.blocks\.(\d+)\.(.*)", name):
        return f"input_hint_block.{2 * (int(found[1]) + 1)}.{found[2]}"
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name):
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{_inner(found[1], found[3])}"
    found = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
    assert found, name
    way, block, kind, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if kind == "downsamplers":
        return f"input_blocks.{3 * block + 3}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * block + 2}.{2 if str(block) in with_attention else 1}.{rest}"
    place = f"input_blocks.{3 * block + layer + 1}" if way == "down" else f"output_blocks.{3 * block + layer}"
    return f"{place}.{1 if kind == 'attentions' else 0}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    head, _, tail = rest.partition(".")
    return rest if kind == "attentions" else f"{RESNET[head]}.{tail}"


def vae(tensors: Mapping[str, Tensor], prefix: str = "first_stage_model.") -> dict[str, Tensor]:
    """An AutoencoderKL by the names of latent diffusion, its attention as convolutions."""
    made = {}
    for name, value in tensors.items():
        new = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        new = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2", new)
        new = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", new)
        new = re.sub(r"decoder\.up_blocks\.(\d)", lambda m: f"decoder.up.{3 - int(m[1])}", new)
        new = new.replace(".resnets.", ".block.").replace(".upsamplers.0", ".upsample")
        new = re.sub(r"mid_block\.block\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        if ".mid_block.attentions.0." in new:
            for ours, theirs in CODEC_ATTENTION.items():
                new = new.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}.")
            value = value[:, :, None, None] if value.ndim == 2 else value
            new = new.replace("mid_block.attentions.0", "mid.attn_1")
        made[prefix + new] = value
    return made


def text_encoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"cond_stage_model.transformer.text_model.{n.removeprefix('text_model.')}": v for n, v in tensors.items()}


def motion(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Motion layers by AnimateDiff's own names."""
    made = {}
    for name, value in tensors.items():
        new = re.sub(r"(motion_modules\.\d+)\.", r"\1.temporal_transformer.", name)
        if new.endswith(".pos_embed.pe"):
            for place in (0, 1):
                key = new.replace(".pos_embed.pe", f".attention_blocks.{place}.pos_encoder.pe")
                made[key] = value
            continue
        for ours, theirs in ((".norm1", ".norms.0"), (".norm2", ".norms.1"), (".norm3", ".ff_norm")):
            new = new.replace(ours, theirs) if "temporal_transformer" in new else new
        for place in (1, 2):
            if "temporal_transformer" in new:
                new = new.replace(f".attn{place}.", f".attention_blocks.{place - 1}.")
        made[new] = value
    return made


def save_checkpoint(parts: Parts, file: Path) -> Path:
    """Saves parts as a Stable Diffusion 1.5 checkpoint in one file, as the webui reads them."""
    tensors = unet(parts.backbone.state_dict(), "model.diffusion_model.")
    tensors |= vae(parts.vae.state_dict()) | text_encoder(parts.text_encoder.state_dict())
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file({n: v.half() if v.is_floating_point() else v for n, v in tensors.items()}, file)
    return file
