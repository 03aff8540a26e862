"""`eve models list|show|pull|verify|bundle|import|export`: the models of this machine, and how more come to it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eve_cli.cli import console
from eve_cli.errors import CheckFailed, EveError, UsageError

if TYPE_CHECKING:
    from eve_cli.models.bundle_manifest import Manifest
    from eve_cli.models.presets import Preset
    from eve_cli.models.pulling import Pull

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The models of this machine: list, check, carry and convert them, and fetch more from the Hub.",
)

Name = Annotated[str, typer.Argument(help="A model's name, or its folder.", metavar="MODEL")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result and errors.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
FilePath = Annotated[Path | None, typer.Option(metavar="PATH")]


@app.command("list")
def list_models(json_output: Json = False) -> None:
    """The presets, and the models of this machine."""
    from eve_cli.models import bundle_manifest
    from eve_cli.models.presets import PRESETS

    found = []
    for name, preset in PRESETS.items():
        here = bundle_manifest.here(name)
        size = here.bytes / 1e6 if here else preset.megabytes
        found.append(_line(name, here is not None, size, preset.licences, preset.summary))
    for manifest in bundle_manifest.kept():
        if manifest.path.name not in PRESETS:
            licences = sorted({str(each.get("licence", "?")) for each in manifest.sources.values()})
            found.append(_line(manifest.path.name, True, manifest.bytes / 1e6, licences, str(manifest.path)))
    lines = [f"{r['name']:<22} {r['state']:<9} {r['size']:>8}  {r['summary']}\n{'':<42}{r['licence']}" for r in found]
    console.result(found if json_output else "\n".join(lines), as_json=json_output)


def _line(name: str, here: bool, megabytes: float, licences: list[str], summary: str) -> dict[str, Any]:
    size = f"{megabytes / 1000:.2f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"
    state = "here" if here else "to pull"
    return {
        "name": name,
        "state": state,
        "size": size,
        "licence": " · ".join(licences) or "no licence is noted",
        "summary": summary,
    }


@app.command("show")
def show(name: Name, json_output: Json = False) -> None:
    """What a model is made of: parts, where each is from, licences, schedules, settings, how it was trained."""
    from eve_cli.models import bundle_manifest
    from eve_cli.models.presets import PRESETS

    manifest = bundle_manifest.here(name)
    if manifest is None and name not in PRESETS:
        bundle_manifest.resolve(name)  # says what is wrong
    told = _of_bundle(manifest) if manifest is not None else _of_preset(PRESETS[name])
    if json_output:
        console.result(told, as_json=True)
        return
    console.result("\n".join(_told(told)))


def _of_bundle(manifest: Manifest) -> dict[str, Any]:
    from eve_cli.models.bundle_manifest import FOLDERS, SCHEDULES

    parts = {}
    for part in manifest.parts:
        inside = {n: e for n, e in manifest.files.items() if n.startswith(f"{FOLDERS[part]}/")}
        weights = [e["sha256"] for n, e in inside.items() if n.endswith(".safetensors")]
        size = sum(int(e["bytes"]) for e in inside.values())
        parts[part] = {**manifest.sources.get(part, {}), "bytes": size, "sha256": "+".join(weights)}
    rest: dict[str, Any] = {
        part: json.loads((manifest.path / FOLDERS[part] / "scheduler_config.json").read_text(encoding="utf-8"))
        for part in SCHEDULES
        if parts.pop(part, None)
    }
    rest |= {"settings": dict(manifest.settings), "training": dict(manifest.training), "scores": dict(manifest.scores)}
    return {"path": str(manifest.path), "bytes": manifest.bytes, "parts": parts, **rest}


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


def _told(told: dict[str, Any]) -> list[str]:
    from eve_cli.models.bundle_manifest import FOLDERS

    lines = [f"{told['path'] or 'not on this machine: eve models pull fetches it'}   {told['bytes'] / 1e9:.2f} GB"]
    for part, each in told["parts"].items():
        origin = f"{each['repository']}@{each['revision'][:12]}" if "repository" in each else each.get("file", "")
        digest = f"sha256 {each['sha256'][:12]}" if each.get("sha256") else ""
        facts = [f"{each['bytes'] / 1e6:,.1f} MB", *filter(None, (origin, each.get("licence"), digest))]
        lines.append(f"  {FOLDERS[part]:<20} {'   '.join(facts)}")
    for name in ("schedule", "image_schedule"):
        if each := told.get(name):
            betas = f"{each['beta_schedule']} betas {each['beta_start']}-{each['beta_end']}"
            lines.append(f"  {name} = {betas}, {each['prediction_type']}")
    for name in ("settings", "training", "scores"):
        for key, value in told.get(name, {}).items():
            text = str(value)
            lines.append(f"  {name}.{key} = {text if len(text) <= 100 else text[:97] + '...'}")
    return lines


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="A preset: see eve models list.", metavar="PRESET")],
    backbone: Annotated[
        str | None,
        typer.Option(help="Another Stable Diffusion 1.5 of the Hub in place of the preset's.", metavar="REPO[@COMMIT]"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; the licences are accepted.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Make it anew though it is here.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Take all from the Hub's cache, and ask nothing.")] = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a preset from the Hub, after saying sizes and licences; broken off, it goes on where it stopped."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from eve_cli.models import bundle_manifest, pulling

    preset = pulling.named(name)
    if backbone:
        preset = pulling.with_backbone(preset, backbone)
    present = None if again else pulling.have(preset)
    if present is not None:
        bundle_manifest.verify(present.path, again=False)
        _say(quiet, "here", f"{preset.name} is on this machine, and whole")
        console.result(present.path)
        return
    going = pulling.Pull(preset)
    _agreed(going, yes, quiet)
    console.result(going.run(lambda text: _say(quiet, "pull", text)))


def _agreed(going: Pull, yes: bool, quiet: bool) -> None:
    from eve_cli.models.bundle_manifest import FOLDERS

    rows = going.rows()
    for row in rows:
        state = "here" if row.here else ""
        told = f"{FOLDERS[row.part]:<18} {row.bytes / 1e6:>8,.0f} MB  {row.address}   {row.licence}   {state}"
        _say(quiet and yes, "part", told.rstrip())
    left = sum(row.bytes for row in rows if not row.here)
    _say(quiet and yes, "total", f"{left / 1e9:.2f} GB to fetch; each part keeps its own licence")
    if yes or not left:
        return
    if not sys.stdin.isatty():
        raise UsageError("Nobody is here to ask: give --yes, if you accept the licences.")
    if not typer.confirm("Fetch it, and accept the licences?", err=True):
        raise UsageError("Nothing was fetched.")


@app.command("verify")
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models (default: all).", metavar="MODEL...")] = None,
) -> None:
    """Read every file of models again, and compare it with its hash."""
    from eve_cli.models import bundle_manifest
    from eve_cli.models.presets import PRESETS

    here = [name for name in PRESETS if bundle_manifest.here(name)]
    wanted = names or [*here, *(m.path.name for m in bundle_manifest.kept() if m.path.name not in here)]
    broken = []
    for name in wanted:
        try:
            manifest = bundle_manifest.verify(bundle_manifest.resolve(name))
        except EveError as error:
            broken.append(name)
            console.result(f"broken   {name}   {error}")
            continue
        console.result(f"whole    {name}   {len(manifest.files)} files · {manifest.bytes / 1e6:,.1f} MB")
    if broken:
        raise CheckFailed(f"{len(broken)} of {len(wanted)} models are not whole; the first is {broken[0]}.")


@app.command("bundle")
def bundle(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder to make, or a file that ends in .tar.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a model as one folder or one .tar, for a machine without a network; eve models import takes it there."""
    from eve_cli.models import importing

    console.result(importing.bundle_out(name, out, overwrite))


@app.command("import")
def import_model(
    origin: Annotated[
        Path | None,
        typer.Argument(
            help="A bundle (folder or .tar), a diffusers pipeline's folder, or a checkpoint (.safetensors).",
            metavar="[PATH]",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the model (default: as the bundle).")] = None,
    base: Annotated[str, typer.Option(help="Model that gives what is not given here, and the settings.")] = "sd15",
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
        typer.Option(help="What the backbone predicts, where its folder does not say it."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Take a bundle in, or make a model of parts: folders in diffusers' form, or single .safetensors files."""
    from eve_cli.models import bundle_manifest, importing

    given = {
        "backbone": backbone or (origin if origin is not None and not _is_bundle(origin) else None),
        "codec": vae,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "edit": controlnet,
        "video": motion_adapter,
        "sparse": sparse_controlnet,
        "domain": domain_lora,
    }
    parts = {part: path.expanduser() for part, path in given.items() if path is not None}
    if origin is not None and _is_bundle(origin):
        if parts:
            raise UsageError(f"{origin} is a whole bundle: import it first, and name it as --base for other parts.")
        made = importing.bundle_in(origin.expanduser(), name, overwrite)
    elif not parts:
        raise UsageError("There is nothing to import: give a path, or parts such as --backbone PATH.")
    elif not name:
        raise UsageError("A model made of parts needs a name: give --name.")
    else:
        made = importing.parts_in(name, parts, base, prediction, overwrite)
    console.say(
        "model", f"{made.name} · {bundle_manifest.read(made).bytes / 1e9:.2f} GB · eve edit --model {made.name}"
    )
    console.result(made)


def _is_bundle(path: Path) -> bool:
    return path.suffix == ".tar" or (path / "bundle.json").is_file()


@app.command("export")
def export(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")],
    task: Annotated[
        str | None, typer.Option(help="Task whose label goes into the ControlNet, where it has labels.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a model as a folder that diffusers' own pipelines load, its alignment as a LoRA beside it."""
    from eve_cli.models import exporting

    made = exporting.export(name, out, task, overwrite)
    for line in made.told:
        console.say("note", line)
    console.result(made.path)


def _say(quiet: bool, label: str, text: str) -> None:
    if not quiet:
        console.say(label, text)
