"""`eve models list|show|pull|verify|bundle|import|export`: the models on this machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eve_cli.cli import console
from eve_cli.errors import CheckFailed, EveError, UsageError
from eve_cli.storage.paths import expanded

if TYPE_CHECKING:
    from eve_cli.models.bundle_manifest import Manifest
    from eve_cli.models.presets import Preset
    from eve_cli.models.pulling import Pull

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="List, download, verify, import and export models.",
)

Name = Annotated[str, typer.Argument(help="Model name or folder.", metavar="MODEL")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result and errors.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing model or file.")]
FilePath = Annotated[Path | None, typer.Option(metavar="PATH")]


@app.command("list")
def list_models(json_output: Json = False) -> None:
    """List the presets and the models on this machine."""
    from eve_cli.models import bundle_manifest
    from eve_cli.models.presets import PRESETS

    rows = []
    for name, preset in PRESETS.items():
        here = bundle_manifest.here(name)
        size = here.bytes / 1e6 if here else preset.megabytes
        rows.append(_row(name, here is not None, size, preset.licences, preset.summary))
    for manifest in bundle_manifest.installed():
        if manifest.path.name not in PRESETS:
            licences = sorted({str(each.get("licence", "?")) for each in manifest.sources.values()})
            rows.append(_row(manifest.path.name, True, manifest.bytes / 1e6, licences, str(manifest.path)))
    if json_output:
        console.result(rows, as_json=True)
    else:
        console.table([list(row.values()) for row in rows], header=list(rows[0]))


def _row(name: str, here: bool, megabytes: float, licences: list[str], summary: str) -> dict[str, Any]:
    size = f"{megabytes / 1000:.2f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"
    state = "installed" if here else "available"
    return {
        "name": name,
        "state": state,
        "size": size,
        "summary": summary,
        "licence": " · ".join(licences) or "no licence is noted",
    }


@app.command("show")
def show(name: Name, json_output: Json = False) -> None:
    """Show the parts of a model: sources, licences, schedules, settings and training."""
    from eve_cli.models import bundle_manifest
    from eve_cli.models.presets import PRESETS

    manifest = bundle_manifest.here(name)
    if manifest is None and name not in PRESETS:
        bundle_manifest.resolve(name)  # raises the ModelError that says why
    facts = _of_bundle(manifest) if manifest is not None else _of_preset(PRESETS[name])
    console.result(facts if json_output else "\n".join(_lines(facts)), as_json=json_output)


def _of_bundle(manifest: Manifest) -> dict[str, Any]:
    from eve_cli.models.bundle_manifest import FOLDERS, SCHEDULES

    parts = {}
    for part in manifest.parts:
        inside = {n: e for n, e in manifest.files.items() if n.startswith(f"{FOLDERS[part]}/")}
        weights = [e["sha256"] for n, e in inside.items() if n.endswith(".safetensors")]
        size = sum(int(e["bytes"]) for e in inside.values())
        parts[part] = {**manifest.sources.get(part, {}), "bytes": size, "sha256": "+".join(weights)}
    details: dict[str, Any] = {
        part: json.loads((manifest.path / FOLDERS[part] / "scheduler_config.json").read_text(encoding="utf-8"))
        for part in SCHEDULES
        if parts.pop(part, None)
    }
    details |= {
        "settings": dict(manifest.settings),
        "training": dict(manifest.training),
        "scores": dict(manifest.scores),
    }
    return {"path": str(manifest.path), "bytes": manifest.bytes, "parts": parts, **details}


def _of_preset(preset: Preset) -> dict[str, Any]:
    parts = {
        part: {
            "repository": source.repository,
            "revision": source.revision,
            "files": list(source.files.values()),
            "bytes": source.megabytes * 10**6,
            "licence": source.licence,
        }
        for part, source in preset.sources.items()
    }
    schedules = {"schedule": dict(preset.schedule), "image_schedule": dict(preset.image_schedule or {})}
    size = preset.megabytes * 10**6
    return {"path": None, "bytes": size, "parts": parts, "settings": dict(preset.settings), **schedules}


def _lines(facts: dict[str, Any]) -> list[str]:
    from eve_cli.models.bundle_manifest import FOLDERS

    lines = [f"{facts['path'] or 'not on this machine: fetch it with eve models pull'}   {facts['bytes'] / 1e9:.2f} GB"]
    for part, each in facts["parts"].items():
        origin = f"{each['repository']}@{each['revision'][:12]}" if "repository" in each else each.get("file", "")
        digest = f"sha256 {each['sha256'][:12]}" if each.get("sha256") else ""
        columns = [f"{each['bytes'] / 1e6:,.1f} MB", *filter(None, (origin, each.get("licence"), digest))]
        lines.append(f"  {FOLDERS[part]:<20} {'   '.join(columns)}")
    for name in ("schedule", "image_schedule"):
        if each := facts.get(name):
            betas = f"{each['beta_schedule']} betas {each['beta_start']}-{each['beta_end']}"
            lines.append(f"  {name} = {betas}, {each['prediction_type']}")
    for name in ("settings", "training", "scores"):
        for key, value in facts.get(name, {}).items():
            text = str(value)
            lines.append(f"  {name}.{key} = {text if len(text) <= 100 else text[:97] + '...'}")
    return lines


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="Preset name; see eve models list.", metavar="PRESET")],
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Stable Diffusion 1.5 backbone from the Hub (default: the preset's).", metavar="REPO[@COMMIT]"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licences without asking.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Build the model again even if it is installed.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use only files in the Hub's cache.")] = False,
    quiet: Quiet = False,
) -> None:
    """Download a preset from the Hub, after showing sizes and licences. Resumes interrupted downloads."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from eve_cli.models import bundle_manifest, pulling

    preset = pulling.named(name)
    if backbone:
        preset = pulling.with_backbone(preset, backbone)
    present = None if again else pulling.have(preset)
    if present is not None:
        bundle_manifest.verify(present.path, again=False)
        _say(quiet, "here", f"{preset.name} is installed and verified")
        console.result(present.path)
        return
    download = pulling.Pull(preset)
    _confirm(download, yes, quiet)
    console.result(download.run(lambda text: _say(quiet, "pull", text)))


def _confirm(download: Pull, yes: bool, quiet: bool) -> None:
    from eve_cli.models.bundle_manifest import FOLDERS

    rows = download.rows()
    for row in rows:
        state = "here" if row.here else ""
        text = f"{FOLDERS[row.part]:<18} {row.bytes / 1e6:>8,.0f} MB  {row.address}   {row.licence}   {state}"
        _say(quiet and yes, "part", text.rstrip())
    remaining_bytes = sum(row.bytes for row in rows if not row.here)
    _say(quiet and yes, "total", f"{remaining_bytes / 1e9:.2f} GB to download; each part keeps its own licence")
    if yes or not remaining_bytes:
        return
    if not sys.stdin.isatty():
        raise UsageError("The licences cannot be confirmed without a terminal: pass --yes to accept them.")
    if not typer.confirm("Download, and accept the licences?", err=True):
        raise UsageError("Nothing was downloaded: the licences were not accepted.")


@app.command("verify")
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models (default: all).", metavar="MODEL...")] = None,
) -> None:
    """Verify the files of models against their hashes."""
    from eve_cli.models import bundle_manifest
    from eve_cli.models.presets import PRESETS

    here = [name for name in PRESETS if bundle_manifest.here(name)]
    checked = names or [*here, *(m.path.name for m in bundle_manifest.installed() if m.path.name not in here)]
    broken = []
    for name in checked:
        try:
            manifest = bundle_manifest.verify(bundle_manifest.resolve(name))
        except EveError as error:
            broken.append(name)
            console.result(f"broken   {name}   {error}")
            continue
        console.result(f"ok       {name}   {len(manifest.files)} files · {manifest.bytes / 1e6:,.1f} MB")
    if broken:
        raise CheckFailed(f"{len(broken)} of {len(checked)} models are damaged ({', '.join(broken)}): pull them again.")


@app.command("bundle")
def bundle(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create, or a .tar file.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a model as a folder or .tar for a machine without network; load it there with eve models import."""
    from eve_cli.models import importing

    console.result(importing.bundle_out(name, out, overwrite))


@app.command("import")
def import_model(
    origin: Annotated[
        Path | None,
        typer.Argument(
            help="A bundle (folder or .tar), a diffusers pipeline folder, or a .safetensors checkpoint.",
            metavar="[PATH]",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new model (default: that of the bundle).")] = None,
    base: Annotated[str, typer.Option(help="Model that provides missing parts and the settings.")] = "sd15",
    backbone: FilePath = None,
    vae: FilePath = None,
    text_encoder: FilePath = None,
    tokenizer: FilePath = None,
    controlnet: FilePath = None,
    motion_adapter: FilePath = None,
    sparse_controlnet: FilePath = None,
    domain_lora: FilePath = None,
    prediction: Annotated[
        Literal["epsilon", "v_prediction"] | None,
        typer.Option(help="Prediction type of the backbone, if its folder lacks it."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Import a bundle, or build a model from diffusers folders and .safetensors files."""
    from eve_cli.models import bundle_manifest, importing

    paths = {
        "backbone": backbone or (origin if origin is not None and not _is_bundle(origin) else None),
        "vae": vae,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "edit": controlnet,
        "video": motion_adapter,
        "sparse": sparse_controlnet,
        "domain": domain_lora,
    }
    parts = {part: expanded(path) for part, path in paths.items() if path is not None}
    if origin is not None and _is_bundle(origin):
        if parts:
            raise UsageError(f"{origin} is a complete bundle: import it alone, then use it as --base for other parts.")
        imported = importing.bundle_in(expanded(origin), name, overwrite)
    elif not parts:
        raise UsageError("Nothing to import: pass a path, or parts such as --backbone PATH.")
    elif not name:
        raise UsageError("A model built from parts needs a name: pass --name.")
    else:
        imported = importing.parts_in(name, parts, base, prediction, overwrite)
    console.say(
        "model",
        f"{imported.name} · {bundle_manifest.read(imported).bytes / 1e9:.2f} GB · eve edit --model {imported.name}",
    )
    console.result(imported)


def _is_bundle(path: Path) -> bool:
    return path.suffix == ".tar" or (path / "bundle.json").is_file()


@app.command("export")
def export(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to create.")],
    task: Annotated[
        str | None, typer.Option(help="Task whose label is baked into the ControlNet, if it has labels.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a model as a folder for diffusers pipelines; its alignment becomes a LoRA file beside it."""
    from eve_cli.models import exporting

    exported = exporting.export(name, out, task, overwrite)
    for line in exported.told:
        console.say("note", line)
    console.result(exported.path)


def _say(quiet: bool, label: str, text: str) -> None:
    if not quiet:
        console.say(label, text)
