"""What mkdocs cannot do by itself: formulas become MathML, and named functions of the code are shown with their source.

- Formulas between dollar signs become MathML at build time, which browsers show without a script or a network.
- A fenced block in the language `source` names functions, one a line, as `ddim_step`, `Schedule.kbin` or
  `losses.weight`. The page shows their present source. A name that is not in the code, or is there twice, is a warning
  and so, with --strict, an error.
- A block in the language `modules` becomes the list of all modules with the first sentence of their docstrings.
- Pages that are alone in their tab have no list of pages beside them, which leaves wide tables more room.
"""

from __future__ import annotations

import ast
import html
import logging
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "eve_cli"
log = logging.getLogger("mkdocs.hooks.eve")

FENCE = re.compile(r"^```(source|modules)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Shows the code that blocks in the languages `source` and `modules` stand for."""

    def replaced(match: re.Match[str]) -> str:
        if match[1] == "modules":
            return "\n".join(modules())
        try:
            return "\n\n".join(source_block(name) for name in match[2].split())
        except LookupError as error:
            log.warning("%s: %s", page.file.src_uri, error)
            return match[0]

    if "/" not in page.file.src_uri:
        page.meta["hide"] = ["navigation"]
    return FENCE.sub(replaced, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Turns formulas into MathML."""
    from latex2mathml.converter import convert

    def replaced(match: re.Match[str]) -> str:
        tex, block = html.unescape(match[2]).strip()[2:-2], match[1] == "div"
        math = convert(tex, display="block" if block else "inline")
        return f'<div class="formula">{math}</div>' if block else math

    return FORMULA.sub(replaced, content)


def source_block(name: str) -> str:
    """The source of a function or class, below the line that says where it is."""
    path, node = definition_of(name)
    lines = path.read_text(encoding="utf-8").splitlines()
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    code = "\n".join(lines[first - 1 : node.end_lineno])
    indent = len(code) - len(code.lstrip())
    code = "\n".join(line[indent:] for line in code.splitlines())
    return f'<p class="source-of"><code>{path.relative_to(ROOT)}</code></p>\n\n```python\n{code}\n```'


def definition_of(name: str) -> tuple[Path, ast.FunctionDef | ast.ClassDef]:
    """Where the only definition of this name is; LookupError if there is none, or more than one."""
    hits = [hit for full, *hit in definitions() if full == name or full.endswith(f".{name}")]
    if len(hits) != 1:
        places = ", ".join(str(path.relative_to(ROOT)) for path, _ in hits)
        raise LookupError(f"`{name}` is defined in {places}: say which." if hits else f"`{name}` is not in the code.")
    return hits[0][0], hits[0][1]


@cache
def definitions() -> tuple[tuple[str, Path, Any], ...]:
    """Every function and class of the package: (`package.module.Class.function`, file, node)."""
    return tuple(_definitions())


def _definitions() -> Iterator[tuple[str, Path, Any]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        names = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield f"{names}.{node.name}", path, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef):
                        yield f"{names}.{node.name}.{inner.name}", path, inner


def modules() -> Iterator[str]:
    """A heading for each package, and a line for each module with the first sentence of its docstring."""
    for package in sorted(path.parent for path in PACKAGE.rglob("__init__.py")):
        files = sorted(path for path in package.glob("*.py") if not path.name.startswith("__"))
        if files:
            yield f"\n### `{package.relative_to(ROOT)}/` {{ #{'-'.join(package.relative_to(ROOT).parts)} }}\n"
            yield sentence(package / "__init__.py") + "\n"
        for path in files:
            yield f"- `{path.name}`: {sentence(path)}".rstrip(": ")


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring; empty if there is none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.:;])\s", paragraph)[0].rstrip(":;") if len(paragraph) > 160 else paragraph
