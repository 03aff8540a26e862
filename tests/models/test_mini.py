"""The small family: its tokenizer knows whole words, its vae can be normalised, its build is repeatable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from eve_cli.models import vae
from eve_cli.models.config import BundleSettings
from eve_cli.models.editor import Editor
from eve_cli.models.families.mini import TINY, MiniSizes, add_words, build
from eve_cli.models.parts import Parts
from eve_cli.models.tokenizer import byte_symbols, word_tokenizer
from tests.tiny import WORDS, tiny_parts

HARD = ("banana", "ban", "nana", "an", "a", "snow", "snowy", "snowman", "now", "w", "mississippi", "café")


def test_every_known_word_is_one_token() -> None:
    for words in (HARD, HARD[::-1]):
        tokenizer = word_tokenizer(words, 8)
        for word in words:
            assert tokenizer.tokenize(word) == ["".join(byte_symbols()[byte] for byte in word.encode()) + "</w>"]
        ids = [tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word)[0]) for word in words]
        assert len(set(ids)) == len(words)


def test_phrases_are_taken_apart_into_words() -> None:
    parts = build(["make it snowy", "low-poly", "8-bit Snowy!"], TINY, edit=False, video=False)
    assert parts.settings.words == ("make", "it", "snowy", "low", "poly", "bit")


def test_unknown_words_fall_into_pieces_and_come_back_whole() -> None:
    tokenizer = word_tokenizer(HARD, 16)
    assert len(tokenizer.tokenize("zebra")) > 1
    ids = tokenizer("A Zebra, snowy!").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a zebra , snowy !"
    assert tokenizer.unk_token_id not in ids[1:-1]


def test_texts_are_padded_and_cut_to_the_same_length() -> None:
    editor = Editor(tiny_parts())
    embedded = editor.embed(["", "a car", "a red car and " * 20])
    assert embedded.shape == (3, 24, 16)
    assert torch.allclose(editor.embed(["a car"]), embedded[1:2], atol=1e-6)


def test_a_build_is_repeatable_and_leaves_the_global_seed_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second, other = tiny_parts(seed=1), tiny_parts(seed=1), tiny_parts(seed=2)
    assert torch.equal(torch.rand(1), expected)
    states = [dict(parts.backbone.state_dict()) for parts in (first, second, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())
    assert not any(p.requires_grad for _, module in first.modules() for p in module.parameters())


@torch.no_grad()
def test_a_bundle_s_own_scale_gives_normal_latents_and_the_same_frames() -> None:
    parts = tiny_parts()
    editor = Editor(parts)
    frames = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = editor.encode(frames)
    decoded = editor.decode(before, clamp=False)
    mean, std = before.mean((0, 2, 3)), before.std((0, 2, 3))
    settings = replace(parts.settings, latent_mean=tuple(mean.tolist()), latent_std=tuple(std.tolist()))
    scaled = Editor(replace(parts, settings=settings))
    after = scaled.encode(frames)
    assert torch.allclose(after.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(after.std((0, 2, 3)), torch.ones(4), atol=1e-4)
    assert torch.allclose(scaled.decode(after, clamp=False), decoded, atol=1e-4)


@torch.no_grad()
def test_the_two_kinds_of_codec_behave_alike() -> None:
    for kind in ("kl", "dc"):
        sizes = replace(TINY, vae=kind)
        editor = Editor(build(WORDS, sizes))
        latents = editor.encode(torch.rand(2, 3, 32, 32))
        assert editor.factor == 8 and latents.shape == (2, 4, 4, 4)
        assert editor.decode(latents).shape == (2, 3, 32, 32)


@torch.no_grad()
def test_a_change_of_basis_changes_latents_and_no_picture() -> None:
    for kind in ("kl", "dc"):
        own = build(WORDS, replace(TINY, vae=kind)).vae
        images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
        before = vae.encode(own, images)
        shown = vae.decode(own, before)
        matrix = vae.visible_basis(own, images, probes=4)
        vae.change_basis(own, matrix)
        after = vae.encode(own, images)
        torch.testing.assert_close(after, torch.einsum("ij,njhw->nihw", matrix, before), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(vae.decode(own, after), shown, rtol=1e-3, atol=1e-3)


def test_the_size_of_mini() -> None:
    parts = build(WORDS, MiniSizes())
    millions = {name: sum(p.numel() for p in module.parameters()) / 1e6 for name, module in parts.modules()}
    assert {name: round(count, 1) for name, count in millions.items()} == {
        "vae": 2.3,
        "text_encoder": 0.7,
        "backbone": 9.5,
        "edit": 4.6,
        "video": 3.9,
    }


def test_new_words_get_tokens_and_the_old_ones_are_encoded_as_before() -> None:
    parts = build(("make", "it", "snowy"), TINY, own_instruction_encoder=True)
    texts = ["make it snowy", "make it loud", ""]
    before = [encoder(parts.tokens(texts)).last_hidden_state for encoder in encoders(parts)]
    add_words(parts, ("snowy", "vaporwave", "noir"))
    after = [encoder(parts.tokens(texts)).last_hidden_state for encoder in encoders(parts)]
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert parts.settings.words == ("make", "it", "snowy", "vaporwave", "noir")
    assert parts.tokenizer.tokenize("vaporwave") == ["vaporwave</w>"]
    tokenizer = parts.tokenizer
    assert add_words(parts, ("noir",)).tokenizer is tokenizer


def encoders(parts: Parts) -> list[Any]:
    return [parts.text_encoder, parts.instruction_encoder]


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (480, 480, (128, 128)),
        (854, 480, (176, 96)),
        (640, 360, (176, 96)),
        (360, 640, (96, 176)),
        (640, 480, (144, 112)),
        (4000, 100, (208, 80)),
    ],
)
def test_frames_keep_their_aspect_at_about_as_many_pixels(width: int, height: int, size: tuple[int, int]) -> None:
    settings = BundleSettings(pixels=128, canvas="aspect")
    assert settings.frame_size(width, height, 16) == size
    assert replace(settings, canvas="square").frame_size(width, height, 16) == (128, 128)
