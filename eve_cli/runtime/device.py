"""The device and the number format that an edit computes on."""

from __future__ import annotations

import torch

from eve_cli.errors import UsageError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device of a name, `auto` being the GPU if there is one; UsageError if this machine has none of that name."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: this machine has no such device; use auto or cpu.") from error
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of a name; `auto` is the `half` of a GPU, and fp32 elsewhere."""
    if name == "auto":
        return half(device) if device.type == "cuda" else torch.float32
    return DTYPES[name]


def half(device: torch.device) -> torch.dtype:
    """The half precision of a device: bf16, or fp16 on a GPU that only emulates bf16.

    GPUs before Ampere (V100, T4, RTX 20) report bf16 by emulation, and their convolutions in it fail.
    """
    native = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16
