"""`eve doctor` and `eve env`: whether this machine can edit, and what it is."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from eve_cli.cli import console
from eve_cli.errors import CheckFailed

app, env_app = (typer.Typer(add_completion=False) for _ in range(2))
FLAGS = ("HF_HUB_OFFLINE", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF")
"""Settings of the environment whose values say nothing of their owner."""
PLACES = ("EVE_WEIGHTS", "EVE_MODELS", "EVE_STATE", "EVE_CACHE", "HF_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command("doctor")
def doctor(
    model: Annotated[str, typer.Option("--model", "-m", help="The model whose files are checked.")] = "mini",
    json_output: Json = False,
) -> None:
    """Check what an edit needs: libraries, device, memory, disk, video, weights; asks no network.

    Each line is ok, warn or fail, and says what to do. Exit code 7 if something fails.
    """
    from eve_cli.cli.checks import examine

    found = examine(model)
    lines = [f"{each.state:<5} {each.name:<10} {each.text}" for each in found]
    console.result([asdict(each) for each in found] if json_output else "\n".join(lines), as_json=json_output)
    failed = [each for each in found if each.state == "fail"]
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(found)} checks failed, the first is {failed[0].name}.")


@env_app.command("env")
def env(json_output: Json = False) -> None:
    """Say what this machine is, as a report of a bug needs it; names no folder of yours."""
    found = facts()
    text = "\n".join(f"{name}: {value}" for name, value in found.items())
    console.result(found if json_output else text, as_json=json_output)


def facts() -> dict[str, str]:
    """What can matter, in order."""
    import torch

    from eve_cli.runtime import machine
    from eve_cli.runtime.device import pick_device
    from eve_cli.runtime.environment import versions

    device = pick_device("auto")
    known = versions()
    return {
        "eve": f"{known.pop('eve')}, {'installed' if _installed() else 'a checkout'}",
        **known,
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "device": f"{machine.name(device)} ({device.type}), {machine.total(device) / 1e9:.1f} GB",
        "memory": f"{machine.total(torch.device('cpu')) / 1e9:.1f} GB, {os.cpu_count()} cores",
        "torch build": f"CUDA {torch.version.cuda or 'none'}, {torch.get_num_threads()} threads",
        "PyAV": _video(),
        **{name: os.environ[name] for name in FLAGS if name in os.environ},
        **{name: shortened(os.environ[name]) for name in PLACES if name in os.environ},
    }


def shortened(path: str) -> str:
    """A folder in the home as ~; of any other, that it is set."""
    home, absolute = Path.home(), Path(path).expanduser().absolute()
    return f"~/{absolute.relative_to(home)}" if absolute.is_relative_to(home) else "set, elsewhere"


def _installed() -> bool:
    return "site-packages" in Path(__file__).parts


def _video() -> str:
    import av

    return ", ".join(f"{name} {'.'.join(map(str, version))}" for name, version in sorted(av.library_versions.items()))
