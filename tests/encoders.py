"""Random-weight networks in the layouts of the released ones, small enough for tests."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

from eve_cli.models.tokenizer import word_tokenizer
from eve_cli.perception import viclip_encoders
from eve_cli.perception.viclip import Viclip, ViclipSizes

WORDS = ("a", "red", "blue", "car", "dog", "in", "the", "snow", "at", "night", "two", "sharks", "swim")
CONTEXT = 20
SMALL = ViclipSizes(32, 2, 4, 16, 32, 4, text_width=32, text_layers=1, text_heads=4, context=CONTEXT, embed=16)


def tokenizer() -> Any:
    return word_tokenizer(WORDS, CONTEXT)


def clip_folder(folder: Path, layout: str = "old", legacy_end: bool = False, act: str = "quick_gelu") -> Path:
    """A CLIP that sees 224 x 224; `old` is the layout of 2021 with its eos_token_id if `legacy_end`, else of today."""
    words = tokenizer()
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "hidden_act": act,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": 2 if legacy_end else words.eos_token_id,
        "pad_token_id": 1,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 224,
        "patch_size": 32,
        "hidden_act": act,
    }
    torch.manual_seed(1)
    config: Any = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    return with_words(folder, layout)


def with_words(folder: Path, layout: str) -> Path:
    """The tokenizer and the image processor's settings, in the files of one layout."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"do_resize": True, "do_center_crop": True, "do_normalize": True, "resample": 3}
    kept |= {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    if layout == "old":
        tokenizer().backend_tokenizer.model.save(str(folder))  # vocab.json, merges.txt
        told = kept | {"crop_size": 224, "size": 224, "feature_extractor_type": "CLIPFeatureExtractor"}
        (folder / "preprocessor_config.json").write_text(json.dumps(told))
    else:
        tokenizer().save_pretrained(folder)
        sides = {"crop_size": {"height": 224, "width": 224}, "size": {"shortest_edge": 224}}
        inner = kept | sides | {"image_processor_type": "CLIPImageProcessor", "do_rescale": True}
        told = {"image_processor": inner, "processor_class": "CLIPProcessor"}
        (folder / "processor_config.json").write_text(json.dumps(told))
    return folder


def viclip_folder(folder: Path, sizes: ViclipSizes = SMALL) -> Path:
    """A ViCLIP as a safetensors file with a tokenizer beside it; `sizes` are given the vocabulary's."""
    words = tokenizer()
    torch.manual_seed(2)
    viclip_encoders.save(Viclip(sized(sizes)), words, folder)
    return folder


def sized(sizes: ViclipSizes = SMALL) -> ViclipSizes:
    """The sizes with the test vocabulary."""
    from dataclasses import replace

    return replace(sizes, vocabulary=len(tokenizer()))
