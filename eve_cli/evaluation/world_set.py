"""World edits as files for a benchmark: the source, the true edit, and the renderer's mask, flow and visibility."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from eve_cli.data.world.edits import WorldEdit, render_edit
from eve_cli.data.world.export import pictures, truth
from eve_cli.evaluation.alignment_table import HeldOutEdits
from eve_cli.evaluation.pairs import Pair
from eve_cli.evaluation.sets import EvalSet
from eve_cli.media.pictures import PictureFolder
from eve_cli.storage import jsonl
from eve_cli.storage.atomic import atomic_file

TRUTH, MANIFEST = "truth.safetensors", "pairs.jsonl"


def write_world_set(folder: Path, held_out: HeldOutEdits) -> EvalSet:
    """Writes held-out edits below a folder as lossless images; existing ones are not rendered again.

    A manifest beside them lets edits of other tools be scored against the same truth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [_write(folder, number, edit, held_out) for number, edit in enumerate(held_out.edits())]
    lines = []
    for pair in pairs:
        texts = {name: getattr(pair, name) for name in ("id", "task", "instruction", "input_caption", "output_caption")}
        assert pair.reference and pair.truth
        paths = {name: str(getattr(pair, name).relative_to(folder)) for name in ("source", "reference", "truth")}
        lines.append({**texts, "video": pair.video, **paths})
    jsonl.write(folder / MANIFEST, lines)
    return EvalSet("world", {"edits": pairs}, files=[folder / MANIFEST])


def _write(folder: Path, number: int, edit: WorldEdit, held_out: HeldOutEdits) -> Pair:
    name = f"{number:04d}.{edit.task}"
    edit_dir = folder / name
    if not (edit_dir / TRUTH).is_file():
        edit_dir.mkdir(exist_ok=True)
        rendered = render_edit([edit], held_out.frames, held_out.side, truth=True)
        for part, frames in (("source", rendered.source[0]), ("reference", rendered.edited[0])):
            images = PictureFolder(str(edit_dir / part))
            for picture in pictures(frames):
                images.write(picture)
            images.commit()
        with atomic_file(edit_dir / TRUTH) as file:
            save_file(truth(edit, rendered), file)
    return Pair(
        id=name,
        video=name,  # every edit has a scene of its own
        task=edit.task,
        source=edit_dir / "source",
        edited=None,
        instruction=edit.instruction,
        input_caption=edit.source_caption,
        output_caption=edit.caption,
        reference=edit_dir / "reference",
        truth=edit_dir / TRUTH,
    )
