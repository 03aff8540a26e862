"""The official TGVE script's three figures, worked out again from its description on random weights."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel

from eve_cli.evaluation.metrics.base import EditClip
from eve_cli.evaluation.metrics.clip_frame import ClipFrame
from eve_cli.evaluation.metrics.clip_text import ClipText
from eve_cli.evaluation.metrics.pick_score import PickScore
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.weights import Weights
from tests.encoders import clip_folder, tokenizer, with_words

CAPTION = "two sharks swim in the snow"
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


@pytest.fixture(scope="module", params=["old", "new"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Both files' layouts; PickScore's words lie in the other repository, as its authors have it."""
    folder = tmp_path_factory.mktemp("weights")
    clip_folder(folder / "clip-vit-large-patch14", request.param, request.param == "old")
    pick = clip_folder(folder / "PickScore_v1", request.param, act="gelu")
    for name in ("preprocessor_config.json", "processor_config.json"):
        (pick / name).unlink(missing_ok=True)
    with_words(folder / "CLIP-ViT-H-14-laion2B-s32B-b79K", request.param)
    return Weights(folder)


def edit_clip(frames: int = 5) -> EditClip:
    g = torch.Generator().manual_seed(3)
    clip = torch.randint(0, 256, (frames, 3, 90, 120), generator=g).to(torch.uint8)
    pair = Pair("a", "a", "style", Path("a"), Path("b"), output_caption=CAPTION)
    return EditClip(pair, clip, source=clip.flip(0))


def official(folder: Path, clip: torch.Tensor) -> tuple[float, float]:
    """CLIPFrame by the double loop, and the mean logit, with every step spelt out."""
    rows = []
    for frame in clip.permute(0, 2, 3, 1).numpy():
        picture = Image.fromarray(frame).resize((480, 480)).resize((224, 224), Image.Resampling.BICUBIC)
        rows.append((np.asarray(picture, np.float32) / 255 - np.float32(MEAN)) / np.float32(STD))
    model = CLIPModel.from_pretrained(folder).eval()
    ids = tokenizer()([CAPTION], return_tensors="pt")
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float()
        out = model(pixel_values=pixels, **ids)
    seen = out.image_embeds.double().numpy()
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    n = len(seen)
    frame = math.fsum(float(seen[i] @ seen[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return frame, float(out.logits_per_image.double().mean())


def test_the_three_figures_are_the_scripts(weights: Weights, capsys: pytest.CaptureFixture[str]) -> None:
    assert weights.folder is not None
    clip = edit_clip()
    frame, text = official(weights.folder / "clip-vit-large-patch14", clip.edited)
    pick = official(weights.folder / "PickScore_v1", clip.edited)[1]
    wanted = {"clip_frame": frame, "clip_text": text, "pick_score": pick}
    found: dict[str, float] = {}
    for kind in (ClipFrame, ClipText, PickScore):
        metric = kind(weights, "cpu")
        assert metric.missing() is None
        metric.open()
        found |= metric.score(clip)
    with capsys.disabled():
        for name, value in wanted.items():
            print(f"\n{name}: ours {found[name]:.9f}, the script's {value:.9f}", end="")
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_one_frame_has_no_likeness_of_frames(weights: Weights) -> None:
    metric, clip = ClipFrame(weights, "cpu"), edit_clip(1)
    metric.open()
    assert math.isnan(metric.score(clip)["clip_frame"]) and clip.notes == ["clip_frame: a single frame has no pair"]


def test_a_copied_input_gains_nothing(weights: Weights) -> None:
    metric, clip = ClipText(weights, "cpu"), edit_clip()
    metric.open()
    clip.edited = clip.source if clip.source is not None else clip.edited
    assert metric.score(clip)["clip_text_gain"] == 0
    clip.source = None
    assert math.isnan(metric.score(clip)["clip_text_gain"])


def test_features_are_kept_until_the_weights_change(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    metric, clip = ClipFrame(weights, "cpu"), edit_clip()
    metric.open()
    first = metric.score(clip)
    monkeypatch.setattr(metric.encoder, "encode_frames", lambda *_: pytest.fail("encoded twice"))
    assert metric.score(clip) == first
    metric.stamp = "other weights"
    with pytest.raises(pytest.fail.Exception):
        metric.score(clip)
