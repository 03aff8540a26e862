"""Discriminators and their features."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from eve_cli.alignment.discriminator_trainer import DiscriminatorTrainer
from eve_cli.alignment.discriminators import ClipDiscriminator, FrameDiscriminator
from eve_cli.alignment.features import FEATURES, BackboneFeatures, open_features
from eve_cli.errors import ModelError, UsageError
from eve_cli.models.editor import Editor
from tests.tiny import tiny_parts

DIMS, TEXT = (8, 12), 16


def features(frames: int, shift: float = 0.0) -> list[Tensor]:
    """Noise with a direction in it (not along all ones, which a norm takes out)."""
    return [torch.randn(frames, 4, dim) + shift * torch.linspace(-2, 2, dim) for dim in DIMS]


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dino")
    config = Dinov2Config(hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    return folder


def test_a_frame_discriminator_learns_what_is_real() -> None:
    torch.manual_seed(0)
    trainer = DiscriminatorTrainer(FrameDiscriminator(DIMS, TEXT), 3e-3)
    words = torch.randn(8, TEXT)
    for _ in range(25):
        result = trainer.train_step(features(8, 0.7), features(8, -0.7), (features(8), words))
    assert result["accuracy"] > 0.9


@pytest.mark.slow
def test_a_clip_discriminator_sees_the_order_of_frames() -> None:
    torch.manual_seed(0)
    trainer = DiscriminatorTrainer(ClipDiscriminator(DIMS, TEXT), 3e-3)

    def clips(turned: bool) -> list[Tensor]:
        rise = torch.linspace(-1, 1, 4).repeat(6).view(-1, 1, 1)
        return [
            level * 0.1 + (-rise if turned else rise) * torch.linspace(-1, 1, level.shape[-1]) for level in features(24)
        ]

    for _ in range(60):
        result = trainer.train_step(clips(False), clips(True), (torch.randn(6, TEXT), 4))
    assert result["accuracy"] > 0.9  # each lone frame occurs in both


def test_the_student_gets_a_gradient_and_the_discriminator_none() -> None:
    trainer = DiscriminatorTrainer(FrameDiscriminator(DIMS, TEXT), 1e-3)
    fake = [level.requires_grad_() for level in features(3)]
    trainer.generator_loss(fake, (features(3), torch.randn(3, TEXT))).backward()
    assert all(level.grad is not None and level.grad.any() for level in fake)
    assert all(p.grad is None for p in trainer.parameters)


def test_a_discriminator_resumes_where_it_was() -> None:
    torch.manual_seed(0)
    first, second = (DiscriminatorTrainer(FrameDiscriminator(DIMS, TEXT), 1e-3) for _ in range(2))
    data = [(features(4), features(4), (features(4), torch.randn(4, TEXT))) for _ in range(2)]
    first.train_step(*data[0])
    second.load_state(copy.deepcopy(first.state()))
    for trainer in (first, second):
        trainer.train_step(*data[1])
    for one, other in zip(first.parameters, second.parameters, strict=True):
        assert torch.equal(one, other)


def test_accumulated_gradients_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    whole = DiscriminatorTrainer(FrameDiscriminator(DIMS, TEXT), 1e-3, r1_weight=0.0, accumulate=9)
    parts = DiscriminatorTrainer(copy.deepcopy(whole.discriminator), 1e-3, r1_weight=0.0, accumulate=9)
    real, fake, seen, words = features(4), features(4), features(4), torch.randn(4, TEXT)
    for trainer in (whole, parts):
        trainer.discriminator.eval()  # spectral norms move with every call in training
    whole.train_step(real, fake, (seen, words))
    for cut in (slice(0, 2), slice(2, 4)):
        parts.train_step([f[cut] for f in real], [f[cut] for f in fake], ([f[cut] for f in seen], words[cut]))
    for one, other in zip(whole.parameters, parts.parameters, strict=True):
        torch.testing.assert_close(one.grad, other.grad / 2)  # type: ignore[operator]


def test_the_backbones_features_are_levels_that_a_gradient_goes_through() -> None:
    editor = Editor(tiny_parts())
    read = BackboneFeatures(editor)
    latents = torch.randn(2, 4, 4, 4, requires_grad=True)
    levels = read(latents)
    assert tuple(level.shape[-1] for level in levels) == read.dims
    assert [level.shape[1] for level in levels] == [16, 4, 4]
    sum(level.square().sum() for level in levels).backward()  # type: ignore[union-attr]
    assert latents.grad is not None and latents.grad.any()
    assert all(p.grad is None for p in editor.backbone.parameters())


def test_the_latents_show_how_much_detail_there_is() -> None:
    read = open_features("latents", Editor(tiny_parts()))
    latents = torch.randn(2, 4, 4, 4, requires_grad=True)
    levels = read(latents)
    assert tuple(level.shape[-1] for level in levels) == read.dims == (36, 36)
    assert [level.shape[1] for level in levels] == [16, 4]
    torch.testing.assert_close(levels[0][:, 5].view(2, 4, 3, 3), latents[:, :, 0:3, 0:3])  # row 1, column 1
    levels[1].sum().backward()
    assert latents.grad is not None and latents.grad.all()


def test_dino_reads_decoded_frames(dino: Path) -> None:
    editor = Editor(tiny_parts())
    read = open_features(f"dino:{dino}", editor)
    latents = torch.randn(1, 4, 4, 4, requires_grad=True)
    levels = read(latents)
    assert tuple(level.shape[-1] for level in levels) == read.dims and len(levels) == 5
    levels[-1].sum().backward()
    assert latents.grad is not None and latents.grad.any()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dino", UsageError),
        ("dino:/nowhere", ModelError),
        ("backbone:x", UsageError),
        ("latents:x", UsageError),
        ("x", UsageError),
    ],
)
def test_features_that_are_none(name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        open_features(name, Editor(tiny_parts()))


def test_every_row_of_the_table_is_there() -> None:
    from eve_cli.registry import load

    assert all(load(row) for row in FEATURES.values())
