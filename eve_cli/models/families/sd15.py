"""The Stable Diffusion 1.5 family: the layouts of its parts as they are on the Hub, at any width, with random weights.

Sources: the config files of diffusers-format SD 1.5 and ControlNet 1.1, AnimateDiff v3's MotionAdapter and SparseCtrl
RGB (diffusers' own classes have the same defaults).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, ControlNetModel, MotionAdapter, SparseControlNetModel, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.adapters import PIXEL_CHANNELS, VideoAdapter
from eve_cli.models.parts import BundleSettings, Parts
from eve_cli.models.presets import LINEAR, SCALED_LINEAR, SD15, Preset
from eve_cli.models.tokenizer import word_tokenizer


@dataclass(frozen=True)
class Sizes:
    """What differs between the true model and a narrow one; depths, blocks, groups and heads are the same."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    codec_channels: tuple[int, ...] = (128, 256, 512, 512)
    hint_channels: tuple[int, ...] = PIXEL_CHANNELS
    text_width: int = 768
    text_inner: int = 3072
    text_layers: int = 12
    text_heads: int = 12
    vocabulary: int = 49408
    pixels: int = 512
    frames: int = 16


FULL = Sizes()
TINY = Sizes(
    channels=(32, 32, 64, 64),
    codec_channels=(32, 32, 32, 32),
    hint_channels=(4, 4, 8, 8),
    text_width=32,
    text_inner=64,
    text_layers=2,
    text_heads=2,
    vocabulary=640,
    pixels=64,
    frames=8,
)
"""For tests: every layer of the true model, in a few seconds on one core."""
NAMED = {"tiny": TINY, "full": FULL}
WORDS = [
    "make",
    "it",
    "snowy",
    "turn",
    "the",
    "car",
    "red",
    "into",
    "a",
    "painting",
    "add",
    "remove",
    "sky",
    "night",
    "sunset",
]


def vae(sizes: Sizes = FULL) -> AutoencoderKL:
    levels = len(sizes.codec_channels)
    down: Any = ("DownEncoderBlock2D",) * levels
    up: Any = ("UpDecoderBlock2D",) * levels
    channels: Any = sizes.codec_channels
    return AutoencoderKL(
        down_block_types=down,
        up_block_types=up,
        block_out_channels=channels,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=sizes.pixels,
        scaling_factor=0.18215,
    )


def text_encoder(sizes: Sizes = FULL) -> CLIPTextModel:
    """The text half of CLIP ViT-L/14."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.text_width,
            intermediate_size=sizes.text_inner,
            projection_dim=sizes.text_width,
            num_hidden_layers=sizes.text_layers,
            num_attention_heads=sizes.text_heads,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=1,
        )
    )


def backbone(sizes: Sizes = FULL) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=sizes.pixels // 8,
        block_out_channels=sizes.channels,
        cross_attention_dim=sizes.text_width,
        attention_head_dim=8,
    )


def edit(sizes: Sizes = FULL) -> ControlNetModel:
    """ControlNet 1.1, which is shown pixels."""
    channels: Any = sizes.channels
    control_image: Any = sizes.hint_channels
    return ControlNetModel(
        block_out_channels=channels,
        cross_attention_dim=sizes.text_width,
        attention_head_dim=8,
        conditioning_embedding_out_channels=control_image,
    )


def motion(sizes: Sizes = FULL, mid: bool = False) -> MotionAdapter:
    """AnimateDiff v3's motion layers; v2's, AnimateLCM's and Lightning's have some in the middle block (`mid`) too."""
    channels: Any = sizes.channels
    return MotionAdapter(block_out_channels=channels, motion_norm_num_groups=32, use_motion_mid_block=mid)


def sparse_control(sizes: Sizes = FULL) -> SparseControlNetModel:
    """SparseCtrl RGB: reads the latents of the given frames and a mask, never the noisy ones."""
    return SparseControlNetModel(block_out_channels=sizes.channels, cross_attention_dim=sizes.text_width)


def config(part: str) -> dict[str, Any]:
    """What the config.json of a network holds in the true size, by field name of `Parts`."""
    build: dict[str, Callable[[], Any]] = {
        "vae": vae,
        "text_encoder": text_encoder,
        "backbone": backbone,
        "edit": edit,
        "video": motion,
        "sparse": sparse_control,
    }
    with torch.device("meta"):
        made = build[part]().config
    return made.to_dict() if part == "text_encoder" else {k: v for k, v in made.items() if k != "_use_default_values"}


def random_parts(
    size: Literal["tiny", "full"] | Sizes = "tiny",
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    sparse: bool = True,
    mid: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample"] = "epsilon",
) -> Parts:
    """All parts with random weights and a stand-in tokenizer, frozen: same modules, names and shapes as the real ones.

    No output is zero: layers that training starts from zero are random as well. With `sparse` the first frame is read
    by SparseCtrl, else by a convolution of our own. On the `meta` device, of the full size, it shows shapes at no cost.
    """
    sizes = size if isinstance(size, Sizes) else NAMED[size]
    own, image = (Schedule.from_diffusers(c | {"prediction_type": prediction}) for c in (LINEAR, SCALED_LINEAR))
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        parts = Parts(
            vae=vae(sizes),
            text_encoder=text_encoder(sizes),
            tokenizer=word_tokenizer(WORDS, 77),
            backbone=backbone(sizes),
            edit=edit(sizes),
            video=VideoAdapter(motion(sizes, mid), 4, "sparse" if sparse else "repeat"),
            sparse=sparse_control(sizes) if sparse else None,
            schedule=own,
            image_schedule=image,
            settings=settings(sizes, sparse),
        )
        for _, module in parts.modules():
            _wake(module)
    return parts.freeze()


def meta_copy(preset: Preset) -> Parts:
    """What a preset holds, in its true size and without its weights, on the meta device."""
    parts = random_parts("full", device="meta", mid="domain" not in preset.sources)
    parts.settings = BundleSettings(name=preset.name, **preset.settings)
    return parts


def settings(sizes: Sizes = FULL, sparse: bool = True) -> BundleSettings:
    """What the family's editors are told, with ControlNet ip2p."""
    told: dict[str, Any] = {**SD15.settings, "pixels": sizes.pixels, "frames": sizes.frames}
    told["first_frame"] = "sparse" if sparse else "repeat"
    return BundleSettings(name="sd15", **told)


@torch.no_grad()
def _wake(module: nn.Module) -> None:
    """Gives every matrix and kernel that is all zeros small random values."""
    for parameter in module.parameters():
        if parameter.ndim > 1 and parameter.device.type != "meta" and not parameter.any():
            parameter.normal_(0, 0.02)
