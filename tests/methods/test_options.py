"""Options that methods have of their own: one declaration, an option of the command, a value in run.json, a refusal."""

from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from eve_cli.editing.request import EditRequest
from eve_cli.errors import UsageError
from eve_cli.methods.base import Guidance
from eve_cli.methods.options import PerFrameOptions, SDEditOptions
from eve_cli.methods.registry import METHODS, option_methods
from eve_cli.settings import field_types


def request(**values: object) -> EditRequest:
    return EditRequest.of({"input": "clip.mp4", "instruction": "darker"} | values, "test")


@pytest.mark.parametrize("method", METHODS)
def test_options_belong_to_a_method_and_work_by_themselves(method: str) -> None:
    assert all(item.metadata["help"].endswith(".") for item in fields(METHODS[method].options))
    METHODS[method].options()


@pytest.mark.parametrize("name", option_methods())
def test_methods_that_share_an_option_mean_the_same_type(name: str) -> None:
    kinds = [field_types(METHODS[method].options)[name] for method in option_methods()[name]]
    assert len({frozenset(get_args(kind) or [kind]) - {type(None)} for kind in kinds}) == 1


def test_a_method_gets_its_own_options_and_its_defaults() -> None:
    assert request(method="sdedit").options == SDEditOptions(0.75)
    assert request(method="sdedit", strength=0.5).options == SDEditOptions(0.5)
    plain = Guidance("", None, None, 1, 1.0, 1.0, 0)
    assert plain.options_as(SDEditOptions) == SDEditOptions()
    with pytest.raises(TypeError):
        Guidance("", None, None, 1, 1.0, 1.0, 0, options=PerFrameOptions()).options_as(SDEditOptions)


def test_an_option_of_another_method_is_refused_in_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"--strength goes with --method .*sdedit.*, not with eve\."):
        request(strength=0.5)


@pytest.mark.parametrize("values", [{"long": "joint"}, {"cache_interval": 2}, {"cfg_end": 0.5}], ids=str)
def test_what_a_method_would_ignore_is_refused(values: dict[str, object]) -> None:
    request(method="sdedit", **values)
    with pytest.raises(UsageError, match=r"^--\S+ .*with --method eve or sdedit, not with pnp\.$"):
        request(method="pnp", **values)


def test_every_need_is_of_a_method() -> None:
    assert {part for row in METHODS.values() for part in row.needs} == {"edit", "video"}


def test_a_record_keeps_the_options_of_its_method_alone() -> None:
    kept = request(method="sdedit", strength=0.5).recorded()
    assert kept["strength"] == 0.5 and "shared_noise" not in kept
    assert EditRequest.of(kept | {"input": "clip.mp4"}, "run.json").options == SDEditOptions(0.5)


def test_the_plan_says_the_defaults_too(tmp_path: Path) -> None:
    from eve_cli.editing import pipeline
    from tests.clips import make_clip
    from tests.fakes import fake_load

    clip = make_clip(tmp_path / "clip.mkv", 2)
    made = request(input=str(clip), output=tmp_path / "out.mkv", seed=1, method="sdedit")
    assert pipeline.edit(made, load=fake_load()).plan.provenance.settings["strength"] == 0.75
