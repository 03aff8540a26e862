import gzip
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eve_cli.errors import ModelError
from eve_cli.perception import viclip_inputs as inputs
from eve_cli.perception.viclip import B16, L14, Viclip, file_shapes, from_file, to_file
from eve_cli.perception.viclip_encoders import ViclipEncoder, sizes_of
from tests.encoders import sized, viclip_folder


class Block(nn.Module):
    """A block of the released code, written anew from its description: pre-norm attention and a QuickGELU MLP."""

    def __init__(self, state: dict[str, Tensor], prefix: str, heads: int, causal: bool) -> None:
        super().__init__()
        width = state[f"{prefix}ln_1.weight"].shape[0]
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        self.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        mask = torch.full((n, n), float("-inf")).triu(1) if self.causal else None
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        hidden = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](hidden * torch.sigmoid(1.702 * hidden))


def look(state: dict[str, Tensor], clips: Tensor, heads: int, layers: int) -> Tensor:
    """The vision tower from a checkpoint's own tensors, by another road: Conv3d, joint projections."""
    v = {k.removeprefix("vision_encoder."): t for k, t in state.items() if k.startswith("vision_encoder.")}
    n, frames = clips.shape[:2]
    kernel = v["conv1.weight"]
    x = nn.functional.conv3d(clips.transpose(1, 2), kernel, stride=kernel.shape[2:])  # n, width, frames, h, w
    x = x.flatten(3).permute(0, 2, 3, 1)  # n, frames, places, width
    first = (v["class_embedding"] + v["positional_embedding"][0]).expand(n, 1, -1)
    x = x + v["positional_embedding"][1:]
    when = v["temporal_positional_embedding"]
    x = x.transpose(1, 2) + (when if frames > 1 else when.mean(1))  # places before frames: attention does not mind
    x = torch.cat([first, x.flatten(1, 2)], 1)
    width = (x.shape[-1],)
    x = nn.functional.layer_norm(x, width, v["ln_pre.weight"], v["ln_pre.bias"])
    for number in range(layers):
        x = Block(v, f"transformer.resblocks.{number}.", heads, causal=False)(x)
    return nn.functional.layer_norm(x[:, 0], width, v["ln_post.weight"], v["ln_post.bias"]) @ v["proj"]


def read(state: dict[str, Tensor], ids: Tensor, heads: int, layers: int) -> Tensor:
    t = {k.removeprefix("text_encoder."): x for k, x in state.items() if k.startswith("text_encoder.")}
    x = t["token_embedding.weight"][ids] + t["positional_embedding"]
    for number in range(layers):
        x = Block(t, f"transformer.resblocks.{number}.", heads, causal=True)(x)
    x = nn.functional.layer_norm(x, x.shape[-1:], t["ln_final.weight"], t["ln_final.bias"])
    return x[torch.arange(len(ids)), ids.argmax(1)] @ t["text_projection"]


@pytest.fixture(scope="module")
def model() -> Viclip:
    torch.manual_seed(0)
    model = Viclip(sized()).eval()
    for name, value in model.named_parameters():
        if name.endswith(("bias", "temporal_positional_embedding")) or "norm" in name:
            nn.init.normal_(value, 0.5 if name.endswith("weight") else 0.0, 0.3)
    return model


@pytest.mark.parametrize("frames", [4, 1])
@torch.inference_mode()
def test_vision_is_the_released_one_by_another_road(model: Viclip, frames: int) -> None:
    clips = torch.randn(2, frames, 3, 32, 32)
    wanted = look(to_file(model.state_dict()), clips, heads=4, layers=2)
    assert (model.encode_clips(clips) - wanted).abs().max() < 1e-5


@torch.inference_mode()
def test_text_is_the_released_one_by_another_road(model: Viclip) -> None:
    ids = torch.randint(3, model.sizes.vocabulary - 2, (3, model.sizes.context))
    ids[:, 6] = model.sizes.vocabulary - 1
    ids[:, 7:] = 0
    wanted = read(to_file(model.state_dict()), ids, heads=4, layers=1)
    assert (model.encode_texts(ids) - wanted).abs().max() < 1e-5
    ids[:, 8:] = 5  # what follows the end is never seen
    assert (model.encode_texts(ids) - wanted).abs().max() < 1e-5


def test_the_key_map_goes_both_ways(model: Viclip) -> None:
    back = from_file(to_file(model.state_dict()))
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


def test_l14_has_the_released_tensors() -> None:
    found = file_shapes(L14)
    assert len(found) == 447 and round(sum(torch.Size(shape).numel() for shape in found.values()) / 1e5) == 4276
    assert found["vision_encoder.conv1.weight"] == (1024, 3, 1, 14, 14)
    assert found["vision_encoder.proj"] == (1024, 768) and found["text_encoder.text_projection"] == (768, 768)
    assert found["vision_encoder.transformer.resblocks.23.attn.in_proj_weight"] == (3072, 1024)
    assert found["text_encoder.positional_embedding"] == (32, 768) and found["temp"] == ()
    assert file_shapes(B16)["vision_encoder.positional_embedding"] == (197, 768)


def test_a_pth_and_a_safetensors_file_give_the_same(tmp_path: Path) -> None:
    folder = viclip_folder(tmp_path / "viclip")
    sizes = sizes_of(folder)
    assert sizes == sized()
    state = load_file(folder / "model.safetensors")
    torch.save({"model": state}, folder / "viclip.pth")
    clip = torch.randint(0, 256, (6, 3, 40, 50)).to(torch.uint8)
    encoders = [ViclipEncoder.load(folder / name, sized()) for name in ("model.safetensors", "viclip.pth")]
    assert torch.equal(*(each.encode_frames(clip) for each in encoders))
    assert torch.equal(*(each.encode_texts(["a dog in the snow"]) for each in encoders))
    assert encoders[0].is_truncated("a dog " * 20) and abs(float(encoders[0].encode_frames(clip).norm()) - 1) < 1e-5


def spoilt(state: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    if how == "vision only":
        return {k: v for k, v in state.items() if not k.startswith("text_encoder.")}
    if how == "missing":
        return {k: v for k, v in state.items() if not k.endswith("ln_pre.bias")}
    if how == "shape":
        return state | {"vision_encoder.proj": torch.zeros(2, 3)}
    return state | {"vision_encoder.head.weight": torch.zeros(2)}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("vision only", "it has no text_encoder at all, so it is not the whole model"),
        ("missing", "1 tensor is missing, such as vision_encoder.ln_pre.bias"),
        ("shape", "1 tensor is of another shape, such as vision_encoder.proj: 2×3, not 32×16"),
        ("extra", "1 tensor is unknown, such as vision_encoder.head.weight"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(how: str, said: str, tmp_path: Path) -> None:
    folder = viclip_folder(tmp_path / "viclip")
    path = folder / "model.safetensors"
    save_file(spoilt(load_file(path), how), path)
    with pytest.raises(ModelError, match=said):
        ViclipEncoder.load(path, sized())


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    import os

    class Harm:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"model": Harm()}, tmp_path / "viclip.pth")
    with pytest.raises(ModelError, match=r"cannot be read as weights"):
        ViclipEncoder.load(tmp_path / "viclip.pth", sized())
    assert not (tmp_path / "harm").exists()


def test_frames_are_chosen_as_each_school_does() -> None:
    assert inputs.every_step(30, 8) == [0, 3, 6, 9, 12, 15, 18, 21]
    assert inputs.middles(30, 8) == [1, 4, 8, 12, 16, 19, 23, 27]
    assert inputs.starts(30, 8) == [0, 3, 7, 11, 15, 18, 22, 26]
    for choose in (inputs.every_step, inputs.middles):
        assert choose(3, 8) == [0, 1, 2, 2, 2, 2, 2, 2]
    assert inputs.starts(3, 8) == [0, 0, 0, 1, 1, 1, 2, 2]
    assert all(choose(8, 8) == list(range(8)) for choose in (inputs.every_step, inputs.middles, inputs.starts))


@pytest.mark.parametrize("name", inputs.PREPARATIONS)
def test_preparations_give_squares_normalised(name: str) -> None:
    prepare = inputs.PREPARATIONS[name]
    grey = torch.full((9, 3, 30, 50), 128, dtype=torch.uint8)
    found = prepare(grey, 8, 16)
    mean, std = (torch.tensor(row).view(3, 1, 1) for row in prepare.statistics)
    assert found.shape == (8, 3, 16, 16) and (found - (128 / 255 - mean) / std).abs().max() < 1e-6


def test_a_vocabulary_file_gives_openais_numbers(tmp_path: Path) -> None:
    path = tmp_path / inputs.VOCABULARY_FILE
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("#version: 0.2\nc a\nca r</w>\nd o\ndo g</w>\n")
    words = inputs.from_vocabulary(path, 6)
    symbols = inputs.byte_symbols()
    assert symbols[:2] == ["!", '"'] and len(set(symbols)) == 256
    start, car, dog, end = 516, 512 + 1, 512 + 3, 517
    assert words("Car  dog").input_ids == [start, car, dog, end]
    assert words("c").input_ids == [start, 256 + symbols.index("c"), end]
    assert len(words("dog " * 9, truncation=True).input_ids) == 6


def test_sizes_that_are_not_spelt_out_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"size": "l"}')
    assert sizes_of(tmp_path) is None
