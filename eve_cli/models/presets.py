"""The models that eve knows by name: what each is made of, where that lies, and whose licence holds. Imports no torch.

Every commit was looked up in public pages of the Hub or in public code that pins it. Sizes are those that the Hub's
pages show; `eve models pull` asks for the exact ones, and for the sha256 of each file, before it downloads anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

OPENRAIL_M = "CreativeML OpenRAIL-M"
UNTAGGED = "no licence tag; the authors' original files are Apache-2.0"
CONFIG, NETWORK, LANGUAGE_MODEL = "config.json", "diffusion_pytorch_model.safetensors", "model.safetensors"
LORA = "pytorch_lora_weights.safetensors"
TOKENIZER = ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Source:
    """One part in a repository of the Hub."""

    repository: str
    revision: str
    """A commit; or `main`, which stands for whatever is there when it is first pulled."""
    files: Mapping[str, str]
    """The path in the repository of each file of the part's folder."""
    megabytes: int
    licence: str
    config: Mapping[str, Any] | None = None
    """What `config.json` holds, where the repository has none."""

    @property
    def address(self) -> str:
        return f"{self.repository}@{self.revision[:12]}"


@dataclass(frozen=True)
class Preset:
    """A row of the table; without `sources` it is embedded in the package."""

    name: str
    summary: str
    licence: str
    sources: Mapping[str, Source] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the bundle (`BundleSettings`), where they are not the defaults."""
    schedule: Mapping[str, Any] = field(default_factory=dict)
    """Of the video adapter and the student, as a diffusers scheduler's config."""
    image_schedule: Mapping[str, Any] | None = None
    """Of the backbone and the edit adapter, where it is another one."""
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def megabytes(self) -> int:
        return sum(source.megabytes for source in self.sources.values())

    @property
    def licences(self) -> list[str]:
        """Each licence once; a model has all of them."""
        return list(dict.fromkeys([*(s.licence for s in self.sources.values())] or [self.licence]))


SCALED_LINEAR: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}
"""Of Stable Diffusion 1.5 and its ControlNets (their scheduler_config.json)."""
LINEAR: dict[str, Any] = {**SCALED_LINEAR, "beta_schedule": "linear"}
"""Of AnimateDiff, whose motion layers were trained with linear betas (diffusers' documentation of AnimateDiff)."""


def _plain(path: str = "", name: str = NETWORK, stored: str | None = None) -> dict[str, str]:
    """The two files of a network in a folder of its repository."""
    return {CONFIG: f"{path}{CONFIG}", name: f"{path}{stored or name}"}


def _half(name: str) -> str:
    return name.replace(".safetensors", ".fp16.safetensors")


def backbone(repository: str, revision: str, licence: str, half: bool = True) -> dict[str, Source]:
    """The parts that a Stable Diffusion 1.5 in diffusers' form brings."""
    path = _half if half else str
    scale = 1 if half else 2
    return {
        "backbone": Source(repository, revision, _plain("unet/", NETWORK, path(NETWORK)), 1719 * scale, licence),
        "vae": Source(repository, revision, _plain("vae/", NETWORK, path(NETWORK)), 167 * scale, licence),
        "text_encoder": Source(
            repository,
            revision,
            _plain("text_encoder/", LANGUAGE_MODEL, path(LANGUAGE_MODEL)),
            246 * scale,
            licence,
        ),
        "tokenizer": Source(repository, revision, {name: f"tokenizer/{name}" for name in TOKENIZER}, 2, licence),
    }


SD15 = Preset(
    name="sd15",
    summary="Stable Diffusion 1.5, ControlNet ip2p, AnimateDiff v3 with its domain LoRA, SparseCtrl RGB; 512x512",
    licence=OPENRAIL_M,
    sources={
        **backbone(
            "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14", OPENRAIL_M
        ),
        "edit": Source(
            "lllyasviel/control_v11e_sd15_ip2p",
            "1fed6ebb905c61929a60514830eb05b039969d6d",
            _plain(stored=_half(NETWORK)),
            723,
            "OpenRAIL",
        ),
        "video": Source(
            "guoyww/animatediff-motion-adapter-v1-5-3",
            "2e8139b1d1269fd8a21deb96ad19455e187692eb",
            _plain(),
            1670,
            UNTAGGED,
        ),
        "sparse": Source(
            "guoyww/animatediff-sparsectrl-rgb",
            "b8003d681d813c095e459b9141122894daff2d13",
            _plain(stored=_half(NETWORK)),
            994,
            UNTAGGED,
        ),
        "domain": Source(
            "guoyww/animatediff-motion-lora-v1-5-3",
            "8b5ff2775000d82040bf595e66f14db7246c1534",
            {LORA: NETWORK},
            102,
            UNTAGGED,
        ),
    },
    settings={
        "pixels": 512,
        "frames": 16,
        "text_tokens": 77,
        "steps": 25,
        "guidance_scale": 7.5,
        "image_guidance_scale": 1.0,
        "control_image": "pixels",
        "edit_text": "instruction",
        "first_frame": "sparse",
    },
    schedule=LINEAR,
    image_schedule=SCALED_LINEAR,
)

LIGHTNING = replace(
    SD15,
    name="sd15-lightning",
    summary="sd15 with AnimateDiff-Lightning, distilled to 4 steps, in place of AnimateDiff v3 and its domain LoRA",
    sources={
        **{part: source for part, source in SD15.sources.items() if part != "domain"},
        "video": Source(
            "ByteDance/AnimateDiff-Lightning",
            "027c893eec01df7330f5d4b733bc9485ee02e8b2",
            {NETWORK: "animatediff_lightning_4step_diffusers.safetensors"},
            908,
            OPENRAIL_M,
            config={"_class_name": "MotionAdapter"},
        ),
    },
    settings={**SD15.settings, "steps": 4, "guidance_scale": 1.0, "image_steps": 25, "picture_guidance_scale": 7.5},
)

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="mini",
            summary="small model of a procedural world, trained from nothing in this repository; 64x64, 8 frames",
            licence="Apache-2.0",
        ),
        SD15,
        LIGHTNING,
    )
}
