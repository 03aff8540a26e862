"""The pages that are written by programs are up to date, and the links between pages lead somewhere."""

import dataclasses
import re
from pathlib import Path

import pytest

from docs import generate
from eve_cli.models.folder import FOLDERS

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")] + sorted(REPOSITORY.glob("[de]*s/*.md"))


def test_the_page_of_commands_is_up_to_date() -> None:
    assert generate.TARGET.read_text(encoding="utf-8") == generate.page(), "run `make docs`"


def test_the_page_of_looks_is_up_to_date() -> None:
    assert generate.LOOKS_TARGET.read_text(encoding="utf-8") == generate.looks_page(), "run `make docs`"


def test_the_page_of_the_bundle_names_every_part_and_setting() -> None:
    from eve_cli.models.parts import TASKS, BundleSettings

    text = (REPOSITORY / "docs" / "bundle.md").read_text(encoding="utf-8")
    settings = [item.name for item in dataclasses.fields(BundleSettings)]
    assert not [name for name in settings if f"`{name}`" not in text]
    assert not [folder for folder in FOLDERS.values() if f"{folder}/" not in text]
    assert " ".join(TASKS[:3]) in text.replace(",", "") and f"`num_class_embeds` is {len(TASKS) + 1}" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_clips_to_try_are_small_and_named() -> None:
    told = (REPOSITORY / "examples" / "README.md").read_text(encoding="utf-8")
    clips = list((REPOSITORY / "examples").glob("*.mp4"))
    assert clips and all(f"`{clip.name}`" in told and clip.stat().st_size < 150_000 for clip in clips)
