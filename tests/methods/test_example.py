"""A new method is one class and one row: its options become flags, are recorded, and reach it."""

import json
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from eve_cli.cli.app import run
from eve_cli.editing import pipeline
from eve_cli.editing.request import EditRequest
from eve_cli.errors import UsageError
from eve_cli.methods.base import Clip, Guidance
from eve_cli.methods.options import MethodOptions
from eve_cli.methods.registry import METHODS, MethodSpec, option_fields
from eve_cli.models.editor import Editor
from eve_cli.settings import setting
from tests.clips import make_clip, read_clip
from tests.fakes import fake_load


@dataclass(frozen=True)
class FadeOptions(MethodOptions):
    """How much fades."""

    fade: float = setting(0.5, "Share of the clip that fades to the mean latent.", min=0.0, max=1.0)


class Fade:
    """Moves the source's latents towards zero, the mean of the latents."""

    def edit(self, editor: Editor, clip: Clip, guidance: Guidance) -> Tensor:
        """The edited latents."""
        return clip.source * (1 - guidance.options_as(FadeOptions).fade)


@pytest.fixture
def fade(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("flags", "edit"):  # flags are made of the rows when these modules are imported
        import_module(f"eve_cli.cli.{name}")  # so that they are put back afterwards
        monkeypatch.delitem(sys.modules, f"eve_cli.cli.{name}")
    monkeypatch.setitem(METHODS, "fade", MethodSpec(f"{__name__}:Fade", options=FadeOptions))


def test_a_row_is_all_that_a_method_needs(fade: None, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 5)
    values = {"input": str(clip), "instruction": "fade it", "method": "fade", "seed": 1, "size": "model"}
    results = {}
    for share in (0.0, 1.0):
        output = tmp_path / f"{share}.mkv"
        request = EditRequest.of(values | {"fade": share, "output": output, "codec": "ffv1"}, "test")
        result = pipeline.edit(request, load=fake_load())
        assert json.loads(result.record.read_text())["settings"]["fade"] == share
        results[share] = read_clip(result.output).astype(int)
    assert results[0.0].std() > 10 > results[1.0].std()
    again = pipeline.rerun(tmp_path / "1.0.run.json", tmp_path / "again.mkv", False, load=fake_load())
    assert np.array_equal(read_clip(again.output), results[1.0])


def test_its_options_become_flags_and_are_refused_elsewhere(fade: None) -> None:
    rows = {name: field.metadata for name, _, field in option_fields()}
    assert rows["fade"]["panel"] == "Method fade" and rows["fade"]["flags"] == ("--fade",)
    with pytest.raises(UsageError, match="--fade goes with --method fade, not with eve"):
        EditRequest.of({"input": "a.mp4", "instruction": "x", "fade": 0.5}, "test")
    with pytest.raises(UsageError, match=r"fade must be at most 1\.0"):
        EditRequest.of({"input": "a.mp4", "instruction": "x", "method": "fade", "fade": 2.0}, "test")
    assert run(["edit", "a.mp4", "x", "--method", "fades"]) == 2


def test_it_runs_from_the_command_line(fade: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, output = make_clip(tmp_path / "clip.mkv", 3), tmp_path / "out.mkv"
    words = [
        "edit",
        str(clip),
        "fade it",
        "--method",
        "fade",
        "--fade",
        "1",
        "--codec",
        "ffv1",
        "-q",
        "-o",
        str(output),
    ]
    assert run([*words, "--size", "model"]) == 0, capsys.readouterr().err
    assert read_clip(output).astype(int).std() < 10 < read_clip(clip).astype(int).std()
