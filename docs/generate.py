"""Writes docs/cli.md from the command line's own help and docs/looks.md from the tables of looks and words:
python -m docs.generate (or `make docs`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from eve_cli.cli.app import COMMANDS, app
from eve_cli.data.looks import LOOKS
from eve_cli.models.wording import SYNONYMS
from eve_cli.registry import load

TARGET = Path(__file__).resolve().parent / "cli.md"
LOOKS_TARGET = TARGET.with_name("looks.md")
LOOKS_HEAD = """# Looks and words

<!-- Written by `make docs`; do not edit. -->

A look is an edit of a whole picture that a program can make on any frames; `mini` is trained on photographs under
looks. `eve data show` draws the targets. Weather moves with the frame number: flakes, streaks and fog drift steadily.

| look | task | what the target shows | ask for it with, for example |
|---|---|---|---|"""
WORDS_HEAD = """
## Synonyms and spelling

Capitals do not matter. A word that the model was not taught is read as the synonym below if the model knows that, and
a word for a look that is one letter off is read as that word; `eve edit` prints a note that says so. All other unknown
words are named and left as they are. Names of things are never replaced.

| typed | read as |
|---|---|"""
NAMES = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}
HEAD = """# Commands

<!-- Written by `make docs`; do not edit. -->
"""
TAIL = """
## For every command

`eve --version` says which version this is, `--help` explains a command, `--debug` shows where an error came from.
What people read goes to stderr, results go to stdout.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | something unexpected |
| 2 | wrong usage, or the result cannot be written |
| 3 | the input cannot be read |
| 4 | the model is missing or damaged |
| 5 | out of memory |
| 6 | some rows of a batch failed |
| 7 | a check failed |
| 130, 143 | stopped by the keyboard, or from outside |
"""


def page() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    sections = [HEAD, _text(root), "\n| command | |\n|---|---|"]
    sections += [f"| [`eve {name}`](#eve-{name}) | {line} |" for name, (_, line) in COMMANDS.items()]
    for name, (spec, line) in COMMANDS.items():
        sections.append(f"\n## eve {name}\n")
        command = typer.main.get_command(load(spec))
        described = list(_command(f"eve {name}", command))
        sections += described if described[0].strip() else [line, *described[1:]]
    return "\n".join([*sections, TAIL])


def looks_page() -> str:
    """The page of looks and words."""
    rows = []
    for name, look in LOOKS.items():
        shown = " ".join((look.function.__doc__ or "").split()).split(". ")[0].rstrip(".")
        asked = ", ".join(f"`{text}`" for text in (*look.instructions[:3], *look.synonyms[:3]))
        rows.append(f"| {name} | {look.task} | {shown} | {asked} |")
    words = [f"| {word} | {phrase} |" for word, phrase in SYNONYMS.items()]
    return "\n".join([LOOKS_HEAD, *rows, WORDS_HEAD, *words, ""])


def _command(words: str, command: Any) -> Iterator[str]:
    """A command's text, its form and its options; a group's commands follow."""
    children = getattr(command, "commands", None)
    yield _text(command)
    if children and (shared := _shared(list(children.values()))):
        yield from _table_of_all(words, children, shared)
    elif children:
        for name, child in children.items():
            yield f"\n### {words} {name}\n"
            yield from _command(f"{words} {name}", child)
    else:
        yield _usage(words, command)
        yield from _table([(p, [_default(p)]) for p in _parameters(command)], ["default"])


def _shared(children: list[Any]) -> list[str]:
    """The options that several commands have in common, if these are most of what each takes."""
    forms = [[_name(p) for p in _parameters(child)] for child in children]
    shared = [name for name in forms[0] if all(name in form for form in forms)]
    return shared if len(forms) > 2 and 2 * len(shared) > max(map(len, forms)) else []


def _table_of_all(words: str, children: dict[str, Any], shared: list[str]) -> Iterator[str]:
    tables = {name: {_name(p): p for p in _parameters(child)} for name, child in children.items()}
    for name, child in children.items():
        own = [p for key, p in tables[name].items() if key not in shared]
        yield f"{_usage(f'{words} {name}', child)}\n{_text(child)}" + ("\n" if own else "")
        yield from _table([(p, [_default(p)]) for p in own], ["default"])
    yield "\nThey all take these options:\n"
    rows = [(tables[next(iter(tables))][key], [_default(t[key]) for t in tables.values()]) for key in shared]
    yield from _table(
        [(p, found[:1] if len(set(found)) == 1 else [" · ".join(each or "–" for each in found)]) for p, found in rows],
        [f"default ({' · '.join(children)})"],
    )


def _parameters(command: Any) -> list[Any]:
    """Arguments, then the options that are shown."""
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    return sorted(shown, key=lambda p: p.param_type_name != "argument")


def _usage(words: str, command: Any) -> str:
    parameters = _parameters(command)
    arguments = [_name(p) for p in parameters if p.param_type_name == "argument"]
    return f"\n```\n{' '.join([words, *arguments, *(['[OPTIONS]'] if parameters[len(arguments) :] else [])])}\n```\n"


def _table(rows: list[tuple[Any, list[str]]], heads: list[str]) -> Iterator[str]:
    if rows:
        yield f"| | | {' | '.join(heads)} |\n|---|---|{'---|' * len(heads)}"
    for parameter, defaults in rows:
        help = " ".join((getattr(parameter, "help", None) or "").replace("|", "\\|").split())
        yield f"| `{_name(parameter)}` | {help} | {' | '.join(defaults)} |"


def _text(command: Any) -> str:
    lines = (command.help or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines)


def _name(parameter: Any) -> str:
    """How a parameter is given."""
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
        return name if parameter.required else f"[{name.strip('[]')}]"
    flags = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return flags
    return f"{flags} {parameter.metavar or _kind(parameter.type_descriptor.annotation)}"


def _kind(annotation: Any) -> str:
    """What a value looks like: its choices, or the name of its type."""
    if get_origin(annotation) is Literal:
        return "\\|".join(map(str, get_args(annotation)))
    inner = [kind for kind in get_args(annotation) if kind is not type(None)]
    return _kind(inner[0]) if inner else NAMES.get(annotation, "VALUE")


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "needed"
    if value is None or value is False or value == () or callable(value):
        return ""
    value = getattr(value, "value", value)
    return f"`{value}`" if str(value) else ""


def main() -> None:
    TARGET.write_text(page(), encoding="utf-8")
    LOOKS_TARGET.write_text(looks_page(), encoding="utf-8")
    print(TARGET)


if __name__ == "__main__":
    main()
