"""What a safetensors file says it holds, without reading it; and how that differs from what is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from eve_cli.errors import ModelError

Shapes = dict[str, tuple[int, ...]]
LONGEST_HEADER = 100_000_000  # bytes; the format's own limit


def shapes(path: Path) -> Shapes:
    """The names and shapes in a .safetensors file; ModelError where it is missing, cut short, or something else."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= LONGEST_HEADER:
                raise ModelError(f"{path} is no safetensors file.")
            if length > size - 8:
                raise ModelError(f"{path} is cut short: its header alone needs {length + 8:,} bytes, it has {size:,}.")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((row["data_offsets"][1] for row in header.values()), default=0) + 8 + length
        found = {name: tuple(int(n) for n in row["shape"]) for name, row in header.items()}
    except FileNotFoundError:
        raise ModelError(f"{path} is missing.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is no safetensors file.") from error
    if size < end:
        raise ModelError(f"{path} is cut short: it needs {end:,} bytes, it has {size:,}. Download it again.")
    return found


def compare(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is wrong, one sentence for each kind of fault: missing tensors, other shapes, tensors too many."""
    said = []
    missing = [name for name in wanted if name not in found]
    towers = sorted({name.split(".")[0] for name in missing if "." in name})
    for tower in towers:
        if not any(name.startswith(f"{tower}.") for name in found):
            said.append(f"it has no {tower} at all, so it is not the whole model.")
            missing = [name for name in missing if not name.startswith(f"{tower}.")]
    if missing:
        said.append(f"{_count(missing)} missing, such as {missing[0]}.")
    other = [name for name, shape in wanted.items() if name in found and found[name] != shape]
    if other:
        first = other[0]
        said.append(
            f"{_count(other)} of another shape, such as {first}: {_shape(found[first])}, not {_shape(wanted[first])}."
        )
    more = [name for name in found if name not in wanted]
    if more:
        said.append(f"{_count(more)} unknown, such as {more[0]}.")
    return said


def _count(names: list[str]) -> str:
    return f"{len(names)} tensor{'s are' if len(names) > 1 else ' is'}"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"
