"""ViCLIP (Wang et al. 2024, InternVid): CLIP for clips, with attention over space and time together.

A class of our own on transformers' CLIP blocks; `from_file` and `to_file` map the names of OpenGVLab's checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoder


@dataclass(frozen=True)
class ViclipSizes:
    """Widths and depths of a ViCLIP; the defaults are L/14."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    patch: int = 14
    side: int = 224
    frames: int = 8
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    context: int = 32
    vocabulary: int = 49408
    embed: int = 768


L14 = ViclipSizes()
B16 = ViclipSizes(width=768, layers=12, heads=12, patch=16, text_width=512, text_heads=8, embed=512)


class VideoTower(nn.Module):
    """Clips (n, frames, 3, side, side), normalised, to features (n, embed): one class token attends to all patches."""

    def __init__(self, sizes: ViclipSizes) -> None:
        super().__init__()
        width, patches = sizes.width, (sizes.side // sizes.patch) ** 2
        self.patch_embedding = nn.Conv2d(3, width, sizes.patch, sizes.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(patches + 1, width) * width**-0.5)
        self.temporal_positional_embedding = nn.Parameter(torch.zeros(1, sizes.frames, width))
        self.pre_layernorm = nn.LayerNorm(width)
        config = CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            hidden_act="quick_gelu",
            attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
        )
        self.encoder = CLIPEncoder(config)  # pyright: ignore[reportArgumentType]
        self.post_layernorm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, sizes.embed, bias=False)

    def forward(self, clips: Tensor) -> Tensor:
        n, frames = clips.shape[:2]
        patches = self.patch_embedding(clips.flatten(0, 1)).flatten(2).transpose(1, 2)
        patches = (patches + self.positional_embedding[1:]).view(n, frames, -1, patches.shape[-1])
        when = self.temporal_positional_embedding
        patches = patches + (when if frames > 1 else when.mean(1, keepdim=True)).unsqueeze(2)
        first = (self.class_embedding + self.positional_embedding[0]).expand(n, 1, -1)
        tokens = self.pre_layernorm(torch.cat([first, patches.flatten(1, 2)], 1))
        token = self.encoder(inputs_embeds=tokens).last_hidden_state[:, 0]
        return self.projection(self.post_layernorm(token))


class Viclip(nn.Module):
    """Both towers; features are not normalised."""

    def __init__(self, sizes: ViclipSizes = L14) -> None:
        super().__init__()
        self.sizes = sizes
        self.vision = VideoTower(sizes)
        self.text = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=sizes.vocabulary,
                hidden_size=sizes.text_width,
                intermediate_size=4 * sizes.text_width,
                projection_dim=sizes.embed,
                num_hidden_layers=sizes.text_layers,
                num_attention_heads=sizes.text_heads,
                max_position_embeddings=sizes.context,
                hidden_act="quick_gelu",
                attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
                bos_token_id=sizes.vocabulary - 2,
                eos_token_id=sizes.vocabulary - 1,
                pad_token_id=0,
            )
        )
        self.temp = nn.Parameter(torch.tensor(0.01))

    def encode_clips(self, clips: Tensor) -> Tensor:
        """Clips (n, frames, 3, side, side), normalised, to features (n, embed)."""
        return self.vision(clips)

    def encode_texts(self, ids: Tensor) -> Tensor:
        """Token numbers (n, context) to features (n, embed), taken where the end token first stands."""
        return self.text(input_ids=ids).text_embeds


BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
TOWERS = {  # prefixes of blocks: theirs, ours
    "vision_encoder.transformer.resblocks.": "vision.encoder.layers.",
    "text_encoder.transformer.resblocks.": "text.text_model.encoder.layers.",
}
SINGLE = {  # theirs, ours
    "vision_encoder.conv1.weight": "vision.patch_embedding.weight",
    "vision_encoder.class_embedding": "vision.class_embedding",
    "vision_encoder.positional_embedding": "vision.positional_embedding",
    "vision_encoder.temporal_positional_embedding": "vision.temporal_positional_embedding",
    "vision_encoder.ln_pre.weight": "vision.pre_layernorm.weight",
    "vision_encoder.ln_pre.bias": "vision.pre_layernorm.bias",
    "vision_encoder.ln_post.weight": "vision.post_layernorm.weight",
    "vision_encoder.ln_post.bias": "vision.post_layernorm.bias",
    "vision_encoder.proj": "vision.projection.weight",
    "text_encoder.token_embedding.weight": "text.text_model.embeddings.token_embedding.weight",
    "text_encoder.positional_embedding": "text.text_model.embeddings.position_embedding.weight",
    "text_encoder.ln_final.weight": "text.text_model.final_layer_norm.weight",
    "text_encoder.ln_final.bias": "text.text_model.final_layer_norm.bias",
    "text_encoder.text_projection": "text.text_projection.weight",
    "temp": "temp",
}
TURNED = ("vision_encoder.proj", "text_encoder.text_projection")  # kept as (in, out), where Linear wants (out, in)
JOINT = ("q_proj", "k_proj", "v_proj")  # kept as one matrix


def from_file(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors under our names; KeyError for a name that no ViCLIP has."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tower = next((prefix for prefix in TOWERS if name.startswith(prefix)), None)
        if tower is None:
            tensor = tensor.T if name in TURNED else tensor.sum(2) if name.endswith("conv1.weight") else tensor
            renamed[SINGLE[name]] = tensor
            continue
        number, _, rest = name.removeprefix(tower).partition(".")
        ours = f"{TOWERS[tower]}{number}."
        if rest.startswith("attn.in_proj_"):
            kind = rest.removeprefix("attn.in_proj_")
            renamed |= {f"{ours}self_attn.{p}.{kind}": t for p, t in zip(JOINT, tensor.chunk(3), strict=True)}
        else:
            part, _, kind = rest.rpartition(".")
            renamed[f"{ours}{BLOCK[part]}.{kind}"] = tensor
    return renamed


def to_file(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the names and in the shapes of a checkpoint: the inverse of `from_file`."""
    stored = {theirs: state[ours] for theirs, ours in SINGLE.items()}
    stored |= {name: stored[name].T for name in TURNED}
    stored["vision_encoder.conv1.weight"] = stored["vision_encoder.conv1.weight"].unsqueeze(2)
    for theirs, ours in TOWERS.items():
        for number in sorted(
            {name.removeprefix(ours).split(".")[0] for name in state if name.startswith(ours)}, key=int
        ):
            mine = f"{ours}{number}."
            for kind in ("weight", "bias"):
                joint = [state[f"{mine}self_attn.{part}.{kind}"] for part in JOINT]
                stored[f"{theirs}{number}.attn.in_proj_{kind}"] = torch.cat(joint)
                stored |= {f"{theirs}{number}.{a}.{kind}": state[f"{mine}{b}.{kind}"] for a, b in BLOCK.items()}
    return {name: tensor.contiguous() for name, tensor in stored.items()}


def file_shapes(sizes: ViclipSizes) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a checkpoint of these sizes, computed on the meta device."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in to_file(Viclip(sizes).state_dict()).items()}
