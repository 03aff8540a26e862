"""Brings an edit made at the model's size back to the source's, with the source's detail where it still holds."""

import torch
from torch import Tensor

from eve_cli.editing.fit import enlarge


def transfer(source: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Full-size frames of an edit, (f, 3, height, width) in [0, 1].

    `source` (f, 3, height, width) are the full-size frames; `before` and `after` (f, 3, h, w) are the same frames as
    the codec shows them, and edited. Where the two are equal the result is the source, exactly.
    """
    size = (source.shape[-2], source.shape[-1])
    change = after - before
    weight = torch.exp(-((change.norm(dim=1, keepdim=True) / 0.25) ** 2))
    detail = source - enlarge(before, size)
    return source + enlarge(change, size) + (enlarge(weight, size) - 1) * detail
