import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from eve_cli.errors import ModelError
from eve_cli.perception.clip import Clip, features
from tests.encoders import clip_folder

LAYOUTS = [("old", False, "quick_gelu"), ("old", True, "gelu"), ("new", False, "gelu")]


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda row: "-".join(map(str, row)))
def clip_encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return Clip.load(clip_folder(tmp_path_factory.mktemp("clip"), *request.param))


def frames(count: int, height: int = 60, width: int = 80) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def pixels(clip: torch.Tensor) -> torch.Tensor:
    """The preparation of 2021 by hand: shorter side 224 by Pillow's bicubic, the middle, CLIP's statistics."""
    rows = []
    for frame in clip.permute(0, 2, 3, 1).numpy():
        height, width = frame.shape[:2]
        short = min(height, width)
        size = (width * 224 // short, height * 224 // short)
        picture = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
        cut = np.asarray(picture.crop((left, top, left + 224, top + 224)), dtype=np.float64) / 255
        mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
        rows.append((cut - mean) / std)
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float()


def test_features_are_those_of_the_preparation_by_hand(clip_encoder: Clip) -> None:
    clip = frames(3)
    found = features(clip_encoder.model.get_image_features(pixel_values=pixels(clip)))
    wanted = found / found.norm(dim=-1, keepdim=True)
    assert (clip_encoder.encode_frames(clip) - wanted).abs().max() < 1e-5


def test_logits_are_the_models_own(clip_encoder: Clip) -> None:
    clip, texts = frames(2), ["a red car", "two sharks swim in the snow at night"]
    ids = clip_encoder.tokenizer(texts, padding=True, return_tensors="pt")
    wanted = clip_encoder.model(pixel_values=pixels(clip), **ids).logits_per_image
    assert (
        clip_encoder.scale * (clip_encoder.encode_frames(clip) @ clip_encoder.encode_texts(texts).T) - wanted
    ).abs().max() < 1e-4


def test_neither_batches_nor_padding_matter(clip_encoder: Clip) -> None:
    clip = frames(5)
    whole = clip_encoder.encode_frames(clip)
    clip_encoder.batch = 2
    assert (clip_encoder.encode_frames(clip) - whole).abs().max() < 1e-6
    clip_encoder.batch = 32
    alone, padded = (
        clip_encoder.encode_texts(["a dog"]),
        clip_encoder.encode_texts(["a dog", "two sharks swim in the snow at night"]),
    )
    assert (alone[0] - padded[0]).abs().max() < 1e-6


def test_long_texts_are_cut_and_said_to_be(clip_encoder: Clip) -> None:
    assert clip_encoder.is_truncated("a red car " * 10) and not clip_encoder.is_truncated("a red car")
    assert clip_encoder.encode_texts(["a red car " * 10]).shape == (1, 16)


def test_both_generations_of_outputs_are_read() -> None:
    class Output:
        pooler_output = torch.ones(2)

    assert features(torch.ones(2)).equal(features(Output()))


@pytest.mark.parametrize("gone", ["model.safetensors", "config.json", "preprocessor_config.json", "vocab.json"])
def test_an_incomplete_folder_is_one_sentence(gone: str, tmp_path) -> None:
    folder = clip_folder(tmp_path / "clip")
    (folder / gone).unlink()
    with pytest.raises(ModelError, match=r"no usable CLIP \([^\n]+$"):
        Clip.load(folder)


def test_missing_tensors_are_not_filled_with_chance(tmp_path) -> None:
    path = clip_folder(tmp_path / "clip") / "model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if "class_embedding" not in k}, path, {"format": "pt"})
    with pytest.raises(ModelError, match=r"it lacks 1 tensors, such as vision_model.embeddings.class_embedding"):
        Clip.load(path.parent)
