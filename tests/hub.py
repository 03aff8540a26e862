"""A Hub of one's own: the repositories of the presets in their exact layout, at tiny width, on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eve_cli.models.families import sd15
from eve_cli.models.families.sd15 import TINY
from eve_cli.models.parts import Parts
from eve_cli.models.presets import NETWORK, PRESETS, Preset
from eve_cli.models.tokenizer import END, START

OLD_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
PNDM = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
LAYERS = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")


def diffusers_folder(module: Any, folder: Path, dtype: torch.dtype = torch.float16, name: str = NETWORK) -> None:
    """A network as diffusers or transformers saves it, in half precision."""
    module.save_pretrained(folder)
    saved = next(file for file in folder.glob("*.safetensors"))
    tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in load_file(saved).items()}
    saved.unlink()
    save_file(tensors, folder / name, metadata={"format": "pt"})


def rename(file: Path, change: Any) -> None:
    """Other names for the tensors in a file."""
    save_file({change(name): value for name, value in load_file(file).items()}, file, metadata={"format": "pt"})


def old_codec(name: str) -> str:
    if ".attentions." in name:
        for new, old in OLD_NAMES.items():
            name = name.replace(new, old)
    return name


def clip_tokenizer(parts: Parts, folder: Path) -> None:
    """The four files of a slow CLIPTokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    parts.tokenizer.save_pretrained(folder / "new")
    told = json.loads((folder / "new" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in told["merges"]]
    (folder / "vocab.json").write_text(json.dumps(told["vocab"]), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special), encoding="utf-8")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    for file in (folder / "new").iterdir():
        file.unlink()
    (folder / "new").rmdir()


def domain_lora(unet: nn.Module, rank: int = 4) -> dict[str, Tensor]:
    """Low-rank weights by the names of old diffusers, as AnimateDiff's adapters were converted."""
    torch.manual_seed(7)
    made = {}
    for name, module in unet.named_modules():
        if name.endswith(LAYERS) and isinstance(module, nn.Linear):
            key = f"{name.rpartition('.attn1.')[0]}.attn1.processor.{name.rpartition('.attn1.')[2].removesuffix('.0')}"
            made[f"{key}_lora.down.weight"] = torch.randn(rank, module.in_features) * 0.1
            made[f"{key}_lora.up.weight"] = torch.randn(module.out_features, rank) * 0.1
    return made


def tiny_repositories(home: Path, seed: int = 0) -> dict[str, Path]:
    """Every repository that a preset names, as folders: true layout and config values, narrow, random."""
    parts = sd15.random_parts(TINY, seed=seed)
    assert parts.edit is not None and parts.video is not None and parts.sparse is not None
    found = {source.repository: home / source.repository for p in PRESETS.values() for source in p.sources.values()}
    base = found["stable-diffusion-v1-5/stable-diffusion-v1-5"]
    diffusers_folder(parts.backbone, base / "unet", name="diffusion_pytorch_model.fp16.safetensors")
    diffusers_folder(parts.vae, base / "vae", name="diffusion_pytorch_model.fp16.safetensors")
    rename(base / "vae/diffusion_pytorch_model.fp16.safetensors", old_codec)
    words = base / "text_encoder/model.fp16.safetensors"
    diffusers_folder(parts.text_encoder, base / "text_encoder", name=words.name)
    tensors = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(words).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(tensors, words, metadata={"format": "pt"})
    clip_tokenizer(parts, base / "tokenizer")
    (base / "scheduler").mkdir()
    (base / "scheduler/scheduler_config.json").write_text(json.dumps(PNDM), encoding="utf-8")
    half = "diffusion_pytorch_model.fp16.safetensors"
    diffusers_folder(parts.edit, found["lllyasviel/control_v11e_sd15_ip2p"], name=half)
    diffusers_folder(parts.sparse, found["guoyww/animatediff-sparsectrl-rgb"], name=half)
    diffusers_folder(parts.video.motion, found["guoyww/animatediff-motion-adapter-v1-5-3"], torch.float32)
    lora = found["guoyww/animatediff-motion-lora-v1-5-3"]
    lora.mkdir(parents=True)
    save_file(domain_lora(parts.backbone), lora / NETWORK)
    lightning = found["ByteDance/AnimateDiff-Lightning"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        diffusers_folder(sd15.motion(TINY, mid=True), lightning)
    (lightning / "config.json").unlink()
    (lightning / NETWORK).rename(lightning / "animatediff_lightning_4step_diffusers.safetensors")
    return found


def narrow(preset: Preset) -> Preset:
    """A row for the tiny repositories: as it is, but for configs that the row itself holds."""
    sources = {
        part: replace(source, config=dict(sd15.motion(TINY, mid=True).config)) if source.config else source
        for part, source in preset.sources.items()
    }
    return replace(preset, sources=sources, settings={**preset.settings, "pixels": TINY.pixels, "frames": TINY.frames})


@dataclass
class Hub:
    """A server with repositories; it keeps what was asked of it, and can damage what it gives."""

    repositories: Mapping[str, Path]
    commit: str = "c0ffee" + "0" * 34
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Paths, each with the range that was asked for."""
    damage: str = ""
    """End of the path whose last byte is changed on the way."""

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address, while it runs."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None: ...

            def do_GET(self) -> None:
                hub.answer(self)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlparse(request.path).path)
        span = request.headers.get("Range")
        self.asked.append((path, span))
        if path.startswith("/api/models/"):
            repository, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            self._send(request, json.dumps(self._info(repository, revision)).encode(), "application/json")
            return
        repository, _, rest = path.removeprefix("/").partition("/resolve/")
        if repository not in self.repositories:
            request.send_error(404)
            return
        content = (self.repositories[repository] / rest.partition("/")[2]).read_bytes()
        if self.damage and path.endswith(self.damage):
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        self._send(request, content[start:], "application/octet-stream", 206 if span else 200)

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, kind: str, status: int = 200) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _info(self, repository: str, revision: str) -> dict[str, Any]:
        folder = self.repositories[repository]
        siblings = []
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            content = file.read_bytes()
            row: dict[str, Any] = {
                "rfilename": file.relative_to(folder).as_posix(),
                "size": len(content),
                "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
            }
            if file.suffix == ".safetensors":
                row["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
            siblings.append(row)
        commit = self.commit if revision == "main" else revision
        return {
            "id": repository,
            "modelId": repository,
            "sha": commit,
            "siblings": siblings,
            "tags": [],
            "private": False,
            "downloads": 0,
            "likes": 0,
            "cardData": {"license": "creativeml-openrail-m"},
        }
