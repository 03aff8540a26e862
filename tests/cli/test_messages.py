"""Every option and command that a message or a docstring names exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from eve_cli.cli.app import COMMANDS, app
from eve_cli.registry import load

REPOSITORY = Path(__file__).resolve().parents[2]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9](?![\w-])")
COMMAND = re.compile(r"\beve ([a-z]+)(?: ([a-z]+))?")
OTHERS = {
    "eve_cli/cli/checks.py": {"--upgrade"},  # pip's
    "eve_cli/cli/options.py": {"--table-setting"},  # stands for a table and its setting
    "eve_cli/evaluation/probe.py": {"--train-probe"},  # of benchmarks/mini.py
}
VERBS = {"is", "or", "has", "reads", "wrote", "takes", "lacks", "knows", "will", "cannot", "does", "gives"}
"""What `eve` is said to do."""


def commands() -> dict[str, Any]:
    """All commands by their words, `models pull` as well as `models`."""

    def below(command: Any, words: str) -> Iterator[tuple[str, Any]]:
        yield words, command
        for name, sub in getattr(command, "commands", {}).items():
            yield from below(sub, f"{words} {name}")

    return {
        words: command
        for name, (target, _) in COMMANDS.items()
        for words, command in below(typer.main.get_command(load(target)), name)
    }


def named() -> Iterator[tuple[str, str]]:
    """Each text in the package's sources, and its file."""
    for path in sorted((REPOSITORY / "eve_cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.relative_to(REPOSITORY).as_posix(), node.value


def test_every_option_that_a_text_names_is_one_of_a_command() -> None:
    every = [*commands().values(), typer.main.get_command(app)]
    options = {name for each in every for option in each.params for name in (*option.opts, *option.secondary_opts)}
    options |= {"--help", "--debug"}
    texts = [(file, option) for file, text in named() for option in OPTION.findall(text)]
    assert len(texts) > 100 and {"--seed", "--resume", "--no-progress"} <= options
    assert not [each for each in texts if each[1] not in options | OTHERS.get(each[0], set())]


def test_every_command_that_a_text_names_is_one() -> None:
    known = commands()
    texts = [(file, *words) for file, text in named() for words in COMMAND.findall(text) if words[0] not in VERBS]
    assert len(texts) > 50 and {"edit", "models pull"} <= known.keys()
    for file, name, sub in texts:
        assert name in known, f"{file}: eve {name}"
        if hasattr(known[name], "commands") and sub:
            assert f"{name} {sub}" in known, f"{file}: eve {name} {sub}"
