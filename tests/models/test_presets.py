"""Presets: the exact layout of every file on the Hub, pulled, loaded and compared with diffusers' own classes."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, MotionAdapter, SparseControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from eve_cli.cli.app import run
from eve_cli.errors import ModelError
from eve_cli.models import bundle, bundle_builder, bundle_manifest, hub, pulling
from eve_cli.models.editor import Editor
from eve_cli.models.families import sd15
from eve_cli.models.parts import Parts
from eve_cli.models.presets import PRESETS
from eve_cli.storage.hashing import file_sha256
from tests.hub import Hub, narrow, tiny_repositories

PULLED = [name for name, preset in PRESETS.items() if preset.sources]
MILLIONS = {"backbone": 859.5, "video": 417.1, "edit": 361.3, "sparse": 496.7, "vae": 83.7, "text_encoder": 123.1}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return tiny_repositories(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def served(repositories: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A Hub on loopback, an empty cache, and an empty home for models."""
    served = Hub(repositories)
    monkeypatch.setenv("EVE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with served.serving() as address:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        yield served


@pytest.fixture(scope="module")
def pulled(repositories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    """Every preset as a bundle."""
    with pytest.MonkeyPatch.context() as patch, Hub(repositories).serving() as address:
        patch.setenv("EVE_MODELS", str(tmp_path_factory.mktemp("models")))
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        patch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        yield {name: pulling.Pull(narrow(PRESETS[name])).run() for name in PULLED}


@pytest.fixture(scope="module")
def loaded(pulled: dict[str, Path]) -> dict[str, Parts]:
    return {name: bundle.load(place) for name, place in pulled.items()}


def outputs(part: str, module: Any) -> torch.Tensor:
    """What a part makes of fixed inputs."""
    g = torch.Generator().manual_seed(0)
    noisy, t = torch.randn(2, 4, 8, 8, generator=g), torch.tensor([500, 20])
    words, pixels = torch.randn(2, 77, 32, generator=g), torch.rand(2, 3, 64, 64, generator=g)
    if part == "backbone":
        return module(noisy, t, encoder_hidden_states=words).sample
    if part == "vae":
        return module.decode(module.encode(pixels * 2 - 1).latent_dist.mean).sample
    if part == "text_encoder":
        return module(torch.arange(77)[None]).last_hidden_state
    if part == "edit":
        down, mid = module(noisy, t, encoder_hidden_states=words, controlnet_cond=pixels, return_dict=False)
        return torch.cat([x.flatten() for x in (*down, mid)])
    if part == "sparse":
        clip, mask = torch.randn(1, 4, 2, 8, 8, generator=g), torch.ones(1, 1, 2, 8, 8)
        down, mid = module(
            clip, t[:1], encoder_hidden_states=words, controlnet_cond=clip, conditioning_mask=mask, return_dict=False
        )
        return torch.cat([x.flatten() for x in (*down, mid)])
    return torch.cat([value.flatten().float() for value in module.state_dict().values()])


PLAIN: dict[str, tuple[Any, str]] = {
    "backbone": (UNet2DConditionModel, "unet"),
    "vae": (AutoencoderKL, "vae"),
    "text_encoder": (CLIPTextModel, "text_encoder"),
    "edit": (ControlNetModel, ""),
    "video": (MotionAdapter, ""),
    "sparse": (SparseControlNetModel, ""),
}


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("part", PLAIN)
@pytest.mark.parametrize("name", PULLED)
def test_every_part_computes_what_diffusers_own_class_does(
    name: str, part: str, loaded: dict[str, Parts], repositories: dict[str, Path]
) -> None:
    ours = getattr(loaded[name], part)
    ours = ours.motion if part == "video" else ours
    source, (kind, inside) = PRESETS[name].sources[part], PLAIN[part]
    place = repositories[source.repository]
    if source.config:
        plain = sd15.motion(sd15.TINY, mid=True)
        plain.load_state_dict(load_file(place / next(iter(source.files.values()))))
    else:
        variant = "fp16" if any(".fp16." in path for path in source.files.values()) else None
        plain = kind.from_pretrained(place / inside, variant=variant, use_safetensors=True)
    made = outputs(part, ours)
    assert torch.equal(made, outputs(part, plain.float().requires_grad_(False).eval())) and float(made.std()) > 0


@pytest.mark.parametrize("name", PULLED)
def test_the_tokenizer_reads_as_the_repositorys(
    name: str, loaded: dict[str, Parts], repositories: dict[str, Path]
) -> None:
    place = repositories[PRESETS[name].sources["tokenizer"].repository]
    plain = CLIPTokenizer.from_pretrained(place / "tokenizer")
    text = "make it snowy, zebra"
    padded = plain([text], padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(loaded[name].tokens([text]), padded)


@torch.no_grad()
@pytest.mark.parametrize("name", PULLED)
def test_a_pulled_preset_edits(name: str, loaded: dict[str, Parts]) -> None:
    editor = Editor(loaded[name])
    frames = torch.rand(3, 3, 64, 64)
    source, noise = editor.encode(frames), torch.randn(1, 3, 4, 8, 8)
    condition = editor.condition("make it snowy")
    first = editor.guided_edit(condition.text, condition.instruction, frames[:1])(noise[:, 0], torch.tensor([999]))
    asked = (condition.text, condition.instruction, frames[None])
    made = editor.guided_student(*asked, first)(noise, torch.tensor([999]))
    other = editor.guided_student(*asked, source[:1])(noise, torch.tensor([999]))
    assert made.shape == noise.shape and made.isfinite().all() and not torch.equal(made, other)
    settings = {**PRESETS[name].settings, "pixels": 64, "frames": 8}
    assert settings.items() <= dataclasses.asdict(editor.settings).items()


@torch.no_grad()
def test_the_domain_lora_acts_in_the_video_model_and_not_in_the_edit_teacher(loaded: dict[str, Parts]) -> None:
    editor, without = Editor(loaded["sd15"]), Editor(dataclasses.replace(loaded["sd15"], domain=None))
    noise, t, text = torch.randn(1, 2, 4, 8, 8), torch.tensor([300]), editor.embed(["a car"])
    assert not torch.equal(editor.clean_video(noise, t, text, None), without.clean_video(noise, t, text, None))
    assert torch.equal(
        editor.clean_image(noise[0], t, text.expand(2, -1, -1)),
        without.clean_image(noise[0], t, text.expand(2, -1, -1)),
    )


def test_the_true_sizes() -> None:
    """Counted on the meta device: nothing of the 2.3 billion numbers is made."""
    parts = sd15.random_parts("full", device="meta")
    for part, millions in MILLIONS.items():
        module = getattr(parts, part)
        assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, abs=0.05), part
        names = {n: tuple(v.shape) for n, v in (module.motion if part == "video" else module).state_dict().items()}
        assert bundle_builder.expected(part, sd15.config(part)) == names


def test_rows_name_parts_commits_and_licences() -> None:
    fields = {item.name for item in dataclasses.fields(Parts)}
    for name in PULLED:
        for part, source in PRESETS[name].sources.items():
            assert part in fields and part in bundle_manifest.FOLDERS and source.licence and source.megabytes
            assert re.fullmatch("[0-9a-f]{40}", source.revision), source
            assert not any(Path(path).suffix in bundle_manifest.PICKLES for path in source.files.values())


def test_pulling_writes_down_commits_and_hashes(served: Hub) -> None:
    made = pulling.Pull(narrow(PRESETS["sd15"])).run()
    kept = json.loads((made / bundle_manifest.MANIFEST).read_text(encoding="utf-8"))
    for part, source in PRESETS["sd15"].sources.items():
        assert kept["sources"][part] == {
            "repository": source.repository,
            "revision": source.revision,
            "licence": source.licence,
        }
    unet = kept["files"]["unet/diffusion_pytorch_model.safetensors"]
    stored = served.repositories["stable-diffusion-v1-5/stable-diffusion-v1-5"] / "unet"
    assert unet["sha256"] == file_sha256(stored / "diffusion_pytorch_model.fp16.safetensors")
    assert not list((bundle_manifest.home() / hub.PARTIAL).iterdir())
    assert bundle_manifest.verify(made) and pulling.have(PRESETS["sd15"]) is not None


def test_a_pull_goes_on_where_it_was_broken_off(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, fetched = hub.http_get, []

    def broken(url: str, stream: Any, **options: Any) -> None:
        if "control_v11e" in url and url.endswith(".safetensors"):
            whole(url, stream, **options)
            stream.truncate(stream.tell() // 2)
            raise ConnectionResetError("the line went dead")
        fetched.append(url)
        whole(url, stream, **options)

    monkeypatch.setattr(hub, "http_get", broken)
    preset = narrow(PRESETS["sd15"])
    with pytest.raises(ModelError, match="pull again to resume the download"):
        pulling.Pull(preset).run()
    assert not (bundle_manifest.home() / "sd15").exists()
    monkeypatch.setattr(hub, "http_get", whole)
    served.asked.clear()
    going = pulling.Pull(preset)
    here = {row.part: row.here for row in going.rows()}
    assert here["backbone"] and not here["edit"]
    bundle_manifest.verify(going.run())
    asked = {path: span for path, span in served.asked if "/resolve/" in path}
    assert not any(path in url for url in fetched for path in asked)
    file = next(path for path in asked if "control_v11e" in path and path.endswith(".safetensors"))
    assert re.fullmatch(r"bytes=[1-9]\d*-", asked[file] or "")


def test_what_comes_damaged_is_not_taken(served: Hub) -> None:
    served.damage = "vae/diffusion_pytorch_model.fp16.safetensors"
    with pytest.raises(ModelError, match="came damaged"):
        pulling.Pull(narrow(PRESETS["sd15"])).run()
    served.damage = ""
    bundle_manifest.verify(pulling.Pull(narrow(PRESETS["sd15"])).run())


def test_offline_nothing_is_asked(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"Offline, and .* is not in the Hub's cache"):
        pulling.Pull(narrow(PRESETS["sd15"])).run()
    assert not served.asked


def test_the_command_asks_before_it_fetches(
    served: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pulling, "named", lambda name: narrow(PRESETS[name]))
    assert run(["models", "pull", "sd15"]) == 2
    told = capsys.readouterr().err
    assert "pass --yes" in told and "creativeml-openrail-m" in told and "unet" in told
    assert not any("/resolve/" in path for path, _ in served.asked)
    assert run(["models", "pull", "sd15", "--yes"]) == 0
    assert capsys.readouterr().out.strip() == str(bundle_manifest.home() / "sd15")
    served.asked.clear()
    assert run(["models", "pull", "sd15", "--yes"]) == 0
    assert not served.asked and "is installed" in capsys.readouterr().err
    assert run(["models", "verify", "sd15"]) == 0
    (bundle_manifest.home() / "sd15/unet/config.json").write_text("{}", encoding="utf-8")
    assert run(["models", "verify", "sd15"]) == 7
    assert run(["models", "show", "sd15"]) == 0


def test_another_backbone_of_the_hub_is_pinned_when_it_is_first_pulled(served: Hub) -> None:
    base = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    preset = pulling.with_backbone(narrow(PRESETS["sd15"]), base)
    made = pulling.Pull(preset).run()
    manifest = bundle_manifest.read(made)
    assert made.name == "sd15+stable-diffusion-v1-5--stable-diffusion-v1-5"
    assert manifest.sources["backbone"]["revision"] == served.commit
    assert pulling.have(preset) is not None


def test_a_model_that_is_not_here_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVE_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"eve models pull sd15 \(5\.6 GB\)"):
        bundle_manifest.resolve("sd15")
