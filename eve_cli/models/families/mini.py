"""The small family: everything that `mini` is made of, untrained."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from diffusers import AutoencoderDC, AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from eve_cli.diffusion.schedule import Schedule
from eve_cli.models.adapters import fresh_edit, fresh_video
from eve_cli.models.parts import BundleSettings, Parts
from eve_cli.models.tokenizer import WORD, word_tokenizer
from eve_cli.models.vae import Vae


@dataclass(frozen=True)
class MiniSizes:
    """Widths and depths of a small model; the vae halves a frame once less than it has widths."""

    vae: Literal["dc", "kl"] = "dc"
    codec_channels: tuple[int, ...] = (32, 64, 128, 128)
    codec_layers: int = 1
    codec_groups: int = 8
    latent_channels: int = 32
    text_width: int = 128
    text_layers: int = 3
    text_heads: int = 4
    text_inner: int = 512
    text_tokens: int = 32
    channels: tuple[int, ...] = (96, 192)
    layers: int = 1
    heads: int = 4
    groups: int = 16
    pixels: int = 64
    motion_heads: int = 4
    max_frames: int = 32


SETTINGS = BundleSettings(steps=3, guidance_scale=1.0, preserve=True)
"""What measured best with the shipped weights (docs/experiments.md)."""

TINY = MiniSizes(
    vae="kl",
    codec_channels=(8, 8, 8, 8),
    codec_groups=4,
    text_tokens=24,
    latent_channels=4,
    text_width=16,
    text_layers=1,
    text_heads=2,
    text_inner=16,
    channels=(16, 32),
    heads=2,
    groups=8,
    pixels=32,
    motion_heads=2,
)
"""Sizes for tests: builds in well under a second and means nothing."""


def vae(sizes: MiniSizes) -> Vae:
    """An autoencoder from frames in [-1, 1] to latents an eighth as high and wide (for four widths).

    The `dc` kind has shortcuts around every change of resolution and learns much quicker (docs/experiments.md).
    """
    widths: Any = sizes.codec_channels
    levels = len(widths)
    if sizes.vae == "dc":
        layers: Any = (0, *(sizes.codec_layers,) * (levels - 2), sizes.codec_layers + 1)
        return AutoencoderDC(
            in_channels=3,
            latent_channels=sizes.latent_channels,
            encoder_block_types="ResBlock",
            decoder_block_types="ResBlock",
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            encoder_layers_per_block=layers,
            decoder_layers_per_block=layers,
            downsample_block_type="pixel_unshuffle",
            upsample_block_type="interpolate",
            scaling_factor=1.0,
        )
    down: Any = ("DownEncoderBlock2D",) * levels
    up: Any = ("UpDecoderBlock2D",) * levels
    return AutoencoderKL(
        down_block_types=down,
        up_block_types=up,
        block_out_channels=widths,
        layers_per_block=sizes.codec_layers,
        latent_channels=sizes.latent_channels,
        norm_num_groups=sizes.codec_groups,
        sample_size=sizes.pixels,
        scaling_factor=1.0,
        force_upcast=False,
        mid_block_add_attention=False,
    )


def text_encoder(sizes: MiniSizes, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    ids: dict[str, Any] = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=sizes.text_width,
            intermediate_size=sizes.text_inner,
            projection_dim=sizes.text_width,
            num_hidden_layers=sizes.text_layers,
            num_attention_heads=sizes.text_heads,
            max_position_embeddings=sizes.text_tokens,
            **ids,
        )
    )


def backbone(sizes: MiniSizes) -> UNet2DConditionModel:
    """A text-to-image UNet over latents, with cross-attention at every level."""
    levels = len(sizes.channels)
    return UNet2DConditionModel(
        sample_size=sizes.pixels // 2 ** (len(sizes.codec_channels) - 1),
        in_channels=sizes.latent_channels,
        out_channels=sizes.latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        block_out_channels=sizes.channels,
        layers_per_block=sizes.layers,
        norm_num_groups=sizes.groups,
        cross_attention_dim=sizes.text_width,
        attention_head_dim=sizes.heads,  # diffusers reads it as the number of heads
    )


def add_words(parts: Parts, words: Sequence[str], seed: int = 0) -> Parts:
    """Adds a token for each new word to the tokenizer and, in random rows, to the text encoders.

    Texts of the other words are encoded as before. A model that was trained on free text stays as it is.
    """
    known = parts.settings.words
    new = tuple(word for word in dict.fromkeys(words) if word not in known)
    if not known or not new:
        return parts
    tokenizer = word_tokenizer((*known, *new), parts.settings.text_tokens)
    rows, numbers = parts.tokenizer.get_vocab(), tokenizer.get_vocab()
    old = torch.tensor([rows.get(token, -1) for token in sorted(numbers, key=lambda token: numbers[token])])
    generator = torch.Generator().manual_seed(seed)
    for encoder in (parts.text_encoder, parts.instruction_encoder):
        if encoder is None:
            continue
        embeddings: Any = encoder.get_input_embeddings
        table = embeddings().weight.detach()
        fresh = table.mean(0) + table.std(0) * torch.randn(len(old), table.shape[1], generator=generator)
        encoder.resize_token_embeddings(len(old), mean_resizing=False)
        embeddings().weight.data.copy_(torch.where((old >= 0).unsqueeze(1), table[old.clamp_min(0)], fresh))
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(encoder.config, name, getattr(tokenizer, name))
            if hasattr(encoder, name):
                setattr(encoder, name, getattr(tokenizer, name))
    parts.tokenizer = tokenizer
    parts.settings = replace(parts.settings, words=(*known, *new))
    return parts


def build(
    words: Sequence[str],
    sizes: MiniSizes | None = None,
    settings: BundleSettings | None = None,
    *,
    edit: bool = True,
    video: bool = True,
    own_instruction_encoder: bool = False,
    seed: int = 0,
) -> Parts:
    """All parts, untrained and frozen; fresh adapters change nothing, so each function equals the backbone's.

    `words` may be words or whole phrases. `settings` are the defaults if not given; what `sizes` and `words` decide is
    filled in either way.
    """
    sizes = sizes or MiniSizes()
    settings = settings or BundleSettings()
    words = tuple(dict.fromkeys(word for phrase in words for word in WORD.findall(phrase.lower())))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = word_tokenizer(words, sizes.text_tokens)
        encoder, unet = text_encoder(sizes, tokenizer), backbone(sizes)
        parts = Parts(
            vae=vae(sizes),
            text_encoder=encoder,
            tokenizer=tokenizer,
            backbone=unet,
            edit=fresh_edit(unet, settings.control_image) if edit else None,
            instruction_encoder=copy.deepcopy(encoder) if edit and own_instruction_encoder else None,
            video=fresh_video(unet, settings.first_frame, sizes.motion_heads, sizes.max_frames) if video else None,
            schedule=Schedule.zero_snr(),
            settings=replace(settings, pixels=sizes.pixels, text_tokens=sizes.text_tokens, words=words),
        )
    return parts.freeze()
