"""`eve doctor` and `eve env`: check this machine, and describe it for bug reports."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from eve_cli.cli import console
from eve_cli.errors import CheckFailed
from eve_cli.storage.paths import expanded

app, env_app = (typer.Typer(add_completion=False) for _ in range(2))
FLAGS = ("HF_HUB_OFFLINE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF")
"""Environment variables whose values hold no personal data."""
PLACES = ("EVE_WEIGHTS", "EVE_MODELS", "EVE_STATE", "EVE_CACHE", "HF_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command("doctor")
def doctor(
    model: Annotated[str, typer.Option("--model", "-m", help="Model whose files are verified.")] = "mini",
    json_output: Json = False,
) -> None:
    """Check libraries, device, memory, disk, video codecs and model files. Uses no network.

    Prints ok, warn or fail for each check, with a remedy. Exit code 7 if a check fails.
    """
    from eve_cli.cli.checks import examine

    findings = examine(model)
    if json_output:
        console.result([asdict(each) for each in findings], as_json=True)
    else:
        console.table([(each.state, each.name, each.text) for each in findings])
    failed = [each.name for each in findings if each.state == "fail"]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}.")


@env_app.command("env")
def env(json_output: Json = False) -> None:
    """Print environment information for bug reports. Contains no personal paths."""
    environment = facts()
    text = "\n".join(f"{name}: {value}" for name, value in environment.items())
    console.result(environment if json_output else text, as_json=json_output)


def facts() -> dict[str, str]:
    """Versions, system, device and memory, by name."""
    import torch

    from eve_cli.runtime import machine
    from eve_cli.runtime.device import pick_device
    from eve_cli.runtime.environment import versions

    device = pick_device("auto")
    libraries = versions()
    return {
        "eve": f"{libraries.pop('eve')}, {'installed' if _installed() else 'source checkout'}",
        **libraries,
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "device": f"{machine.name(device)} ({device.type}), {machine.total(device) / 1e9:.1f} GB",
        "memory": f"{machine.total(torch.device('cpu')) / 1e9:.1f} GB, {os.cpu_count()} cores",
        "torch build": f"CUDA {torch.version.cuda or 'none'}, {torch.get_num_threads()} threads",
        "PyAV": _video(),
        **{name: os.environ[name] for name in FLAGS if name in os.environ},
        **{name: shortened(os.environ[name]) for name in PLACES if name in os.environ},
    }


def shortened(path: str) -> str:
    """A folder below the home directory with ~ for it; of any other folder only that it is set."""
    home, absolute = Path.home(), expanded(path).absolute()
    return f"~/{absolute.relative_to(home)}" if absolute.is_relative_to(home) else "set, elsewhere"


def _installed() -> bool:
    return "site-packages" in Path(__file__).parts


def _video() -> str:
    import av

    return ", ".join(f"{name} {'.'.join(map(str, version))}" for name, version in sorted(av.library_versions.items()))
