"""Names and shapes in a safetensors file, read from its header, and how they differ from the expected ones."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from eve_cli.errors import ModelError

Shapes = dict[str, tuple[int, ...]]
LONGEST_HEADER = 100_000_000  # bytes; the format's own limit


@contextmanager
def utf8_name(path: Path) -> Iterator[Path]:
    """The path, or a link to it where its bytes are no UTF-8, which safetensors does not open."""
    if os.fspath(path).isascii() or not any("\ud800" <= letter <= "\udfff" for letter in os.fspath(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="eve-") as folder:
        link = Path(folder) / "file.safetensors"
        link.symlink_to(path.absolute())
        yield link


def shapes(path: Path) -> Shapes:
    """The names and shapes in a .safetensors file; ModelError where it is missing, cut short, or something else."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= LONGEST_HEADER:
                raise ModelError(f"{path} is not a safetensors file.")
            if length > size - 8:
                raise ModelError(f"{path} is cut short: its header alone needs {length + 8:,} bytes, it has {size:,}.")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((row["data_offsets"][1] for row in header.values()), default=0) + 8 + length
        tensors = {name: tuple(int(n) for n in row["shape"]) for name, row in header.items()}
    except FileNotFoundError:
        raise ModelError(f"{path} is missing.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not a safetensors file.") from error
    if size < end:
        raise ModelError(f"{path} is cut short: it needs {end:,} bytes, it has {size:,}. Download it again.")
    return tensors


def compare(expected: Mapping[str, tuple[int, ...]], actual: Mapping[str, tuple[int, ...]]) -> list[str]:
    """One sentence for each kind of difference: missing tensors, other shapes, unexpected tensors."""
    problems = []
    missing = [name for name in expected if name not in actual]
    towers = sorted({name.split(".")[0] for name in missing if "." in name})
    for tower in towers:
        if not any(name.startswith(f"{tower}.") for name in actual):
            problems.append(f"it has no {tower} at all, so it is not the whole model.")
            missing = [name for name in missing if not name.startswith(f"{tower}.")]
    if missing:
        problems.append(f"{_count(missing)} missing, such as {missing[0]}.")
    reshaped = [name for name, shape in expected.items() if name in actual and actual[name] != shape]
    if reshaped:
        first = reshaped[0]
        shapes_text = f"{shape_text(actual[first])}, not {shape_text(expected[first])}"
        problems.append(f"{_count(reshaped)} of another shape, such as {first}: {shapes_text}.")
    unexpected = [name for name in actual if name not in expected]
    if unexpected:
        problems.append(f"{_count(unexpected)} unknown, such as {unexpected[0]}.")
    return problems


def _count(names: list[str]) -> str:
    return f"{len(names)} tensor{'s are' if len(names) > 1 else ' is'}"


def shape_text(shape: Sequence[int]) -> str:
    """`320×4`."""
    return "×".join(map(str, shape)) or "a number"
