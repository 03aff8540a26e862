"""Fresh parts whose adapters act: every weight that starts at zero gets a value."""

from __future__ import annotations

import torch

from eve_cli.models.parts import Parts


def awake(parts: Parts) -> Parts:
    """Gives every weight that starts at zero a value, so that no adapter is silent."""
    generator = torch.Generator().manual_seed(5)
    for _, module in parts.modules():
        for parameter in module.parameters():
            if not parameter.detach().any():
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return parts
