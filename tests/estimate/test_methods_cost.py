"""What an edit will cost is foretold for every method, and nothing is edited or learned for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from eve_cli.editing.request import EditRequest
from eve_cli.estimate.report import plan_report
from eve_cli.methods import finetune
from eve_cli.methods.options import CaptionedOptions
from eve_cli.methods.registry import METHODS
from eve_cli.models.editor import Editor
from eve_cli.models.loading import LoadedModel
from tests.clips import make_clip
from tests.tiny import tiny_parts


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return LoadedModel(Editor(tiny_parts()).optimize_for_inference(), "tiny", {"weights": "1" * 64})


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_foretold(
    method: str, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "tune", lambda *_: pytest.fail("a plan teaches nothing"))
    source = make_clip(tmp_path / "clip.mkv", 4)
    words = (
        {"source_caption": "a car", "caption": "a red car"}
        if issubclass(METHODS[method].options, CaptionedOptions)
        else {}
    )

    def calls(steps: int) -> int:
        values = {"input": str(source), "instruction": "make it red", "output": tmp_path / "out.mkv", "steps": steps}
        request = EditRequest.of(values | words | {"method": method}, "test")
        return plan_report(request, load=lambda _: model).estimate.costs["window"].calls

    few, many = calls(2), calls(6)
    assert few == many == 0 if method == "copy" else 0 < few < many
