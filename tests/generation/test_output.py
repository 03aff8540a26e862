"""What is checked before a video is generated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eve_cli.errors import OutputError
from eve_cli.generation import generate
from eve_cli.generation.request import GenerateRequest, SubjectRequest
from eve_cli.media import codecs


def test_words_are_looked_up_whole_and_without_the_token() -> None:
    assert generate._without_token(GenerateRequest(prompt="a red  car")) == "a red car"
    assert generate._without_token(SubjectRequest(images=[Path("a.png")], prompt="a <toy> car")) == "a car"


def test_an_encoder_that_refuses_is_known_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Any] = []
    broken = replace(codecs.CODECS["h264"], options=lambda crf, preset: {"preset": "of a newer version"})
    monkeypatch.setitem(codecs.CODECS, "h264", broken)
    editor = SimpleNamespace(settings=SimpleNamespace(pixels=64))
    monkeypatch.setattr(generate, "_load", lambda _: SimpleNamespace(editor=editor))
    monkeypatch.setattr(generate, "_write", lambda *each: steps.append(each))
    with pytest.raises(OutputError, match="the encoder stopped"):
        generate.generate(GenerateRequest(prompt="a red car", output=tmp_path / "a.mp4"))
    assert not steps and not any(tmp_path.iterdir())
