"""Rules of the code base: no import cycles, layers, a quick start, and no paths of the machine it was written on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer import Typer

from eve_cli import registry
from eve_cli.cli.app import COMMANDS
from eve_cli.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "eve_cli"
HEAVY = ("torch", "diffusers", "transformers", "av", "peft", "accelerate")
PATHS = re.compile("|".join(["/" + name + "/" for name in ("work", "farm", "opt", "root")] + ["/tmp/" + "eve"]))


@pytest.mark.parametrize("words", [["--help"], ["edit", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom eve_cli.cli.app import run\n"
        f"assert run({words!r}) == 0\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_imports_go_downwards() -> None:
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def shortest_cycles(package: str) -> list[str]:
    """The shortest import cycle through each module of a package that is in one, as `a > b > a`; each once.

    Imports inside functions and under TYPE_CHECKING count too.
    """
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("eve_cli", exclude_type_checking_imports=False, cache_dir=None)
    found: dict[frozenset[str], str] = {}
    for module in sorted(graph.modules):
        if not f"{module}.".startswith(f"eve_cli.{package}."):
            continue
        imported = sorted(graph.find_modules_directly_imported_by(module))
        chains = (graph.find_shortest_chain(each, module) for each in imported)
        if cycle := min(filter(None, chains), key=len, default=None):
            found.setdefault(frozenset(cycle), " > ".join([module, *cycle]))
    return list(found.values())


@pytest.mark.parametrize("package", sorted(path.stem for path in PACKAGE.iterdir() if path.stem[0] not in "_."))
def test_no_module_imports_itself_through_others(package: str) -> None:
    cycles = shortest_cycles(package)
    assert not cycles, "\n".join(cycles)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_typer_app(name: str) -> None:
    assert isinstance(registry.load(COMMANDS[name][0]), Typer)


def test_an_unknown_name_lists_the_known_and_the_closest() -> None:
    with pytest.raises(UsageError, match=r"eve, copy\. Did you mean copy"):
        registry.pick({"eve": "a:b", "copy": "c:d"}, "coppy", "method")


def test_no_file_names_a_path_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=REPOSITORY)
    if listed.returncode:
        pytest.skip("not a git checkout")
    texts = [
        path
        for name in listed.stdout.splitlines()
        if (path := REPOSITORY / name).suffix in {".py", ".md", ".toml", ".json", ".sh", ".txt", ""} and path.is_file()
    ]
    found = [path.name for path in texts if PATHS.search(path.read_text(encoding="utf-8", errors="ignore"))]
    assert not found
