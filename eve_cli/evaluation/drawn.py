"""Edits of the world as files to be edited and judged: the source, the true edit, and all that the renderer knows."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from eve_cli.data.world.edits import WorldEdit, render_edit
from eve_cli.data.world.export import pictures, truth
from eve_cli.evaluation.alignment import Test
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.sets import EvalSet
from eve_cli.media.pictures import PictureFolder
from eve_cli.storage import jsonl
from eve_cli.storage.atomic import atomic_file

TRUTH, MANIFEST = "truth.safetensors", "pairs.jsonl"


def draw(folder: Path, test: Test) -> EvalSet:
    """The held-out edits of a test below a folder, as lossless pictures; what is there already is not drawn again.

    A manifest beside them lets edits made elsewhere be judged against the same truth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [_one(folder, number, edit, test) for number, edit in enumerate(test.edits())]
    lines = []
    for pair in pairs:
        texts = {name: getattr(pair, name) for name in ("id", "task", "instruction", "input_caption", "output_caption")}
        assert pair.reference and pair.truth
        paths = {name: str(getattr(pair, name).relative_to(folder)) for name in ("source", "reference", "truth")}
        lines.append({**texts, "video": pair.video, **paths})
    jsonl.write(folder / MANIFEST, lines)
    return EvalSet("world", {"edits": pairs}, files=[folder / MANIFEST])


def _one(folder: Path, number: int, edit: WorldEdit, test: Test) -> Pair:
    name = f"{number:04d}.{edit.task}"
    home = folder / name
    if not (home / TRUTH).is_file():
        home.mkdir(exist_ok=True)
        drawn = render_edit([edit], test.frames, test.side, truth=True)
        for part, frames in (("source", drawn.source[0]), ("reference", drawn.edited[0])):
            written = PictureFolder(str(home / part))
            for picture in pictures(frames):
                written.write(picture)
            written.commit()
        with atomic_file(home / TRUTH) as file:
            save_file(truth(edit, drawn), file)
    return Pair(
        id=name,
        video=name,  # every edit has a scene of its own
        task=edit.task,
        source=home / "source",
        edited=None,
        instruction=edit.instruction,
        input_caption=edit.source_caption,
        output_caption=edit.caption,
        reference=home / "reference",
        truth=home / TRUTH,
    )
