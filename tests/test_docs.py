"""The documentation is true as far as a machine can tell: its links, commands, options and code are those of today."""

import ast
import dataclasses
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.exceptions import TyperException

from docs import generate, hooks
from eve_cli.cli.app import COMMANDS, app
from eve_cli.registry import load

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "examples").glob("*.md")),
    *sorted(DOCS.rglob("*.md")),
]
WRITTEN = [page for page in PAGES if page not in generate.PAGES]
OPERATORS = {";", "&&", "||", "|", "&", ";;", "do", "then", "(", ")", "{", "}", ">", ">>", "<", "2>"}
OF_OTHERS = {  # options of mkdocs and of benchmarks that pages name by themselves
    "CONTRIBUTING.md": {"--strict"},
    "docs/experiments.md": {"--motion-words", "--tasks", "--strips"},
}
LANGUAGES = {"sh", "console", "python", "json", "toml", "text", "source", "modules"}


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


class Block(NamedTuple):
    """A fenced block: its language, its text, its first line, and whether `<!-- run -->` stands above it."""

    language: str
    text: str
    line: int
    run: bool


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """All fenced blocks of a page."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in re.finditer(r"^( *)```([^\n`]*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        above = text[: match.start()].rstrip().endswith("<!-- run -->")
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(match[2].strip(), match[3], line, above))
    return tuple(found)


@cache
def prose(page: Path) -> str:
    """The page without its fenced blocks and comments."""
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


# Links


def slugs(page: Path) -> set[str]:
    """The anchors of a page, as GitHub and mkdocs name them alike."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip())
        found[slug] = found.get(slug, -1) + 1
    return {f"{slug}_{i}" if i else slug for slug, count in found.items() for i in range(count + 1)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: nothing is there"
        assert not anchor or anchor in slugs(target), f"{link}: no such heading"


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


def test_every_picture_is_used() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [path.name for path in (DOCS / "pictures").iterdir() if path.name not in text]


# Generated pages and blocks


@pytest.mark.parametrize("page", sorted(generate.PAGES), ids=lambda path: path.name)
def test_generated_pages_are_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == generate.page(page), "run `make docs`"


def test_no_command_is_described_as_another_and_no_default_is_doubled() -> None:
    page = generate.page(generate.REFERENCE / "cli.md")
    for command, (_, line) in COMMANDS.items():
        section = page.split(f"\n## eve {command}\n")[1].split("\n## ")[0]
        others = {text for other, (_, text) in COMMANDS.items() if other != command and text != line}
        assert line in section and not others & set(section.splitlines())
    assert not [
        line for line in page.splitlines() if "default" in line.partition("(default: `")[0] and "(default: `" in line
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_name_a_known_language(page: Path) -> None:
    assert not [(block.line, block.language) for block in blocks(page) if block.language not in LANGUAGES]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_functions_that_are_shown_are_in_the_code(page: Path) -> None:
    for block in blocks(page):
        if block.language == "source":
            assert all(hooks.source_block(name) for name in block.text.split())


def test_an_unknown_function_is_an_error() -> None:
    with pytest.raises(LookupError, match="is not in the code"):
        hooks.definition_of("no_such_function")
    with pytest.raises(LookupError, match="say which"):
        hooks.definition_of("edit")


# Commands


class Command(NamedTuple):
    line: int
    words: list[str]
    whole: bool
    """Whether all arguments must be there; inline code may name a part of a command."""


def lines_of(block: Block) -> Iterator[tuple[int, str]]:
    """The shell's lines of a block: those behind `$ ` in a transcript, continued ones joined."""
    text = block.text
    if block.language == "console":
        text = "".join(line[2:] if line.startswith("$ ") else "\n" for line in text.splitlines(keepends=True))
    start = block.line
    for line in re.split(r"(?<!\\)\n", text):
        yield start, line.replace("\\\n", " ")
        start += line.count("\n") + 1


def split(line: str) -> Iterator[list[str]]:
    """The words of each call of eve in a shell's line, `$(...)` included."""
    for inner in re.findall(r"\$\((.*?)\)", line):
        yield from split(inner)
    lexer = shlex.shlex(re.sub(r"\$\(.*?\)", "X", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    words, calls = list(lexer), [[]]
    for word in words:
        calls.append([]) if word in OPERATORS else calls[-1].append(word)
    for call in calls:
        while call and re.fullmatch(r"[A-Z_]+=.*", call[0]):
            call = call[1:]
        if call and call[0] == "torchrun" and "eve_cli" in call:
            call = ["eve", *call[call.index("eve_cli") + 1 :]]
        if call and call[0] == "eve":
            yield call[1:]


def commands(page: Path) -> Iterator[Command]:
    """Every call of eve on a page: in blocks, and in inline code."""
    for block in blocks(page):
        if block.language in ("sh", "console"):
            for line, text in lines_of(block):
                for words in split(text):
                    yield Command(line, words, True)
    for code in re.findall(r"(?<!`)`(eve [^`\n]+)`(?!`)", prose(page)):
        if not re.search(r"\.\.\.|[|{<]| [A-Z]+$", code):
            for words in split(code):
                yield Command(0, words, False)


def parse(command: Command) -> None:
    """A TyperException if the command line does not take these words."""
    words, group = list(command.words), typer.main.get_command(app)
    if not words or words[0] in ("--version", "--help"):
        return
    parsed = typer.main.get_command(load(COMMANDS[words.pop(0)][0]))
    while getattr(parsed, "commands", None) and words and not words[0].startswith("-"):
        parsed = parsed.commands[words.pop(0)]
    words = [word for word in words if word != "--debug"]
    if not {"--help", "-h", "--help-all"} & set(words) and not (getattr(parsed, "commands", None) and not words):
        try:
            parsed.make_context("eve", words, parent=typer.Context(group))
        except TyperException as error:
            if command.whole or type(error).__name__ not in ("MissingParameter", "BadOptionUsage"):
                raise


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_command_line_is_one_that_eve_takes(page: Path) -> None:
    wrong = []
    for command in commands(page):
        try:
            parse(command)
        except (TyperException, KeyError) as error:
            said = error.format_message() if isinstance(error, TyperException) else f"no command {error}"
            wrong.append(f"{name(page)}:{command.line}: eve {shlex.join(command.words)}: {said}")
    assert not wrong, "\n".join(wrong)


@cache
def options() -> frozenset[str]:
    """Every option of every command."""
    found, waiting = set(), [typer.main.get_command(load(spec)) for spec, _ in COMMANDS.values()]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        found |= {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    return frozenset(found | {"--help", "--help-all", "--version", "--debug"})


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_options_in_the_text_are_options_of_eve(page: Path) -> None:
    text = re.sub(r"`python benchmarks[^`]*`|^Commands of the rows:.*$", "", prose(page), flags=re.MULTILINE)
    named = set(re.findall(r"(?<=`)--[a-z][a-z-]*", text))
    wrong = named - options() - OF_OTHERS.get(name(page), set())
    assert not wrong


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        (
            'out=$(eve edit "$clip" "make it snowy" --quiet) || continue',
            [["edit", "$clip", "make it snowy", "--quiet"]],
        ),
        ("A=1 eve plan a b  # a comment", [["plan", "a", "b"]]),
        ("ulimit -v 9; eve doctor && eve env", [["doctor"], ["env"]]),
        ("torchrun --nproc_per_node 2 -m eve_cli align --resume", [["align", "--resume"]]),
        ("python -m examples.draw", []),
    ],
)
def test_calls_are_found_in_a_line_of_the_shell(line: str, calls: list[list[str]]) -> None:
    assert list(split(line)) == calls


@pytest.mark.parametrize("words", [["edit", "a", "b", "--no-such-option"], ["nothing"], ["edit", "a"]])
def test_a_command_line_that_eve_does_not_take_is_found(words: list[str]) -> None:
    with pytest.raises((TyperException, KeyError)):
        parse(Command(1, words, True))


# Code


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_blocks_are_well_formed(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)


RUN = [(page, block) for page in PAGES for block in blocks(page) if block.run]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "block"), RUN, ids=[f"{name(page)}:{block.line}" for page, block in RUN])
def test_marked_code_runs(page: Path, block: Block, tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", block.text], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr


# What pages must hold


def test_the_readme_is_short() -> None:
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120 and max(map(len, lines)) <= 120


def test_files_that_the_readme_and_the_guide_name_are_there() -> None:
    for page in PAGES[:2]:
        for path in re.findall(r"`((?:eve_cli|docs|examples|tests|benchmarks)/[\w/.-]+)`", prose(page)):
            assert (REPOSITORY / path).exists(), f"{page.name} names {path}"


def test_pages_that_the_code_names_are_there() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)} names {page}"
        for folder in ("eve_cli", "benchmarks", "examples", "tests")
        for path in sorted((REPOSITORY / folder).rglob("*"))
        if path.suffix in (".py", ".sh")
        for page in re.findall(r"\bdocs/[\w/-]+\.(?:md|png|svg)\b", path.read_text(encoding="utf-8"))
        if not (REPOSITORY / page).exists()
    ]
    assert not wrong, "\n".join(wrong)


def test_the_page_of_the_bundle_names_every_part_and_setting() -> None:
    from eve_cli.models.bundle_manifest import FOLDERS
    from eve_cli.models.parts import BundleSettings
    from eve_cli.tasks import TASKS

    text = (DOCS / "reference" / "bundle.md").read_text(encoding="utf-8")
    settings = [item.name for item in dataclasses.fields(BundleSettings)]
    assert not [name for name in settings if f"`{name}`" not in text]
    assert not [folder for folder in FOLDERS.values() if f"{folder}/" not in text]
    assert " ".join(TASKS[:3]) in text.replace(",", "") and f"`num_class_embeds` is {len(TASKS) + 1}" in text


def test_every_method_has_a_row_in_the_guide() -> None:
    from eve_cli.methods.registry import METHODS

    text = (DOCS / "how-to" / "choose-a-method.md").read_text(encoding="utf-8")
    assert not [method for method in METHODS if not re.search(rf"^\| \[?{method}\b", text, re.MULTILINE)]


def test_every_experiment_asks_and_concludes() -> None:
    text = (DOCS / "experiments.md").read_text(encoding="utf-8")
    starts = [match.start() for match in re.finditer(r"^## ", text, re.MULTILINE)]
    for start, end in pairwise([*starts, len(text)]):
        entry = text[start:end]
        assert re.search(r"\*\*Question\.\*\*", entry), entry.splitlines()[0]
        assert re.search(r"\*\*(Conclusions?|Results?)\.\*\*", entry), entry.splitlines()[0]


def test_clips_to_try_are_small_and_named() -> None:
    text = (REPOSITORY / "examples" / "README.md").read_text(encoding="utf-8")
    clips = list((REPOSITORY / "examples").glob("*.mp4"))
    assert clips and all(f"`{clip.name}`" in text and clip.stat().st_size < 150_000 for clip in clips)


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("material", "latex2mathml"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f'{module} is not installed: pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning(site: Path) -> None:
    assert (site / "index.html").is_file()


def test_pages_fetch_nothing(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"?(?:https?:)?//", text), page
        assert not re.findall(r"<link[^>]+rel=\"?(?:stylesheet|preconnect)\"?[^>]+href=\"?(?:https?:)?//", text), page


def test_formulas_are_mathml_and_code_is_shown(site: Path) -> None:
    for page in site.rglob("*.html"):
        formulas = re.findall(r"<math.*?</math>", page.read_text(encoding="utf-8"), re.DOTALL)
        assert not [each for each in formulas if "\\" in each or "merror" in each], page  # a command that is not known
    text = (site / "explanation" / "eve.html").read_text(encoding="utf-8")
    assert text.count("<math") > 20 and "arithmatex" not in text
    assert "eve_cli/diffusion/schedule.py" in text and "kbin" in text


# The generator


@dataclasses.dataclass(frozen=True)
class Sample:
    """A result."""

    path: Path
    """Where it lies."""

    def frames(self, start: int = 0) -> list[str]:
        """Some frames."""
        return []


def test_a_class_is_documented_with_its_fields_and_methods() -> None:
    text = "\n".join(generate._documented("Sample", Sample))
    assert "## eve.Sample" in text and "- `path: Path`: Where it lies." in text
    assert "### Sample.frames" in text and "def frames(self, start: int=0) -> list[str]: ..." in text


def test_a_long_signature_has_a_line_for_each_parameter() -> None:
    def edit(video: str, words: str = "a, b", size: tuple[int, int] = (0, 0), *, seed: int | None = None) -> None:
        """Edits."""

    text = "\n".join(generate._documented("edit", edit))
    code = text.split("```python\n")[1].split("```")[0]
    assert "\n    words: str='a, b',\n    size: tuple[int, int]=(0, 0),\n    *,\n" in code and ast.parse(code)
