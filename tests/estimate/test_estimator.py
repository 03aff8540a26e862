"""What is foretold is what happens: windows, calls, operations; and the machine's past says how long."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from eve_cli.editing import pipeline
from eve_cli.editing.progress import EditCallbacks
from eve_cli.editing.request import EditRequest
from eve_cli.estimate import estimator, history
from eve_cli.estimate.cost_model import CostModel
from eve_cli.estimate.estimator import estimate_edit, remember
from eve_cli.estimate.history import History, Run, rate_of
from eve_cli.estimate.report import plan_report
from eve_cli.models.editor import Editor
from eve_cli.models.loading import LoadedModel
from eve_cli.runtime import machine
from eve_cli.runtime.oom import FALLBACKS
from tests.clips import make_clip
from tests.tiny import tiny_parts


def _linear(seen: torch.Size, *_: Any, out_shape: torch.Size, **__: Any) -> int:
    return 2 * seen.numel() * out_shape[-1]


OWN = {torch.ops.mkldnn._linear_pointwise: _linear}  # a CPU's own kernel, which torch's counter does not know


@pytest.fixture(autouse=True)
def places(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without any past; what things cost is counted once for all tests."""
    monkeypatch.setenv("EVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EVE_CACHE", str(clip.parent / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", 4)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return LoadedModel(Editor(tiny_parts()).optimize_for_inference(), "tiny", {"weights": "0"})


def request(clip: Path, folder: Path, **values: Any) -> EditRequest:
    settings = {"input": str(clip), "instruction": "night", "output": folder / "out.mp4", "seed": 1, "preserve": "on"}
    return EditRequest.of(settings | values, "test")


STARTED = 0.2  # seconds from the start of the program to the edit


def edit_and_remember(request: EditRequest, model: LoadedModel) -> pipeline.EditResult:
    """An edit as the command line runs it: with an estimate before and a row of the history after."""
    plans: list[tuple[Any, ...]] = []

    class Planned(EditCallbacks):
        def on_plan(self, *event: Any) -> None:
            plans.append(event)

    result = pipeline.edit(request, Planned(), load=lambda r: model)
    plan, _, info, _ = plans[0]
    remember(estimate_edit(plan, model, info), result, model, started=STARTED)
    return result


def test_the_plan_is_that_of_the_edit_and_touches_nothing(clip: Path, places: Path, model: LoadedModel) -> None:
    found = plan_report(request(clip, places), load=lambda r: model)
    assert not list(places.iterdir())
    done = pipeline.edit(request(clip, places), load=lambda r: model)
    assert found.plan.windows == done.plan.windows and found.plan.record() == done.plan.record()
    assert found.plan.edit.output == done.output and found.fits and 0 < found.estimate.low < found.estimate.seconds


@pytest.mark.parametrize(
    "values",
    [{}, {"method": "sdedit", "preserve": "off", "strength": 0.5}, {"cache_interval": 2, "guidance_scale": 3.0}],
)
def test_calls_and_operations_are_counted_as_they_happen(
    values: dict[str, Any], clip: Path, places: Path, model: LoadedModel
) -> None:
    plan = plan_report(request(clip, places, steps=2, **values), load=lambda r: model).plan
    cost_model = CostModel(model, plan)
    window = plan.windows[0]
    foretold = cost_model.window(window)
    calls = 0

    def called(*_: Any) -> None:
        nonlocal calls
        calls += 1

    editor = model.editor
    networks = [each for each in (editor.backbone, editor.video, editor.student, editor.parts.edit) if each is not None]
    hooks = [network.register_forward_pre_hook(called) for network in networks]
    cost_model.guidance.condition(editor), cost_model.guidance.idle().condition(editor)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=OWN) as counter:
        cost_model.method.edit(editor, cost_model.clip(window, editor.device), cost_model.guidance)
    for hook in hooks:
        hook.remove()
    assert foretold.calls == calls > 0
    assert foretold.flops == pytest.approx(counter.get_total_flops(), rel=0.03) and foretold.bytes > 0


def test_the_bytes_that_live_at_once_are_counted(model: LoadedModel) -> None:
    from eve_cli.estimate.flops import META, count

    def work() -> torch.Tensor:
        one = torch.zeros(1000, device=META)
        two = one + 1
        del one
        return two.view(10, 100) * 2

    assert count(model.editor, work).bytes == 2 * 4000


@pytest.mark.slow
def test_less_memory_is_foretold_with_every_rung(clip: Path, places: Path, model: LoadedModel) -> None:
    found = plan_report(request(clip, places, guidance_scale=3.0), load=lambda r: model)
    needed = [found.estimate.needs]
    fallbacks = [fallback for fallback in FALLBACKS if not fallback.gpu]
    for number in range(1, len(fallbacks) + 1):
        needed.append(estimate_edit(found.plan, model, found.info, fallbacks=fallbacks[:number]).needs)
    assert needed[-1] < needed[0] and all(b <= a + 2**20 for a, b in pairwise(needed))


def test_what_does_not_fit_is_said_with_what_would(
    clip: Path, places: Path, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimator, "SCRATCH", 1000)
    need = plan_report(request(clip, places, guidance_scale=3.0), load=lambda r: model).estimate
    monkeypatch.setattr(machine, "free", lambda device: round((need.needs - machine.used(device)) * 0.8))
    found = plan_report(request(clip, places, guidance_scale=3.0), load=lambda r: model)
    assert not found.estimate.fits and found.fits and found.fallbacks[0] == FALLBACKS[0].name
    monkeypatch.setattr(machine, "free", lambda device: 1)
    found = plan_report(request(clip, places, guidance_scale=3.0), load=lambda r: model)
    assert not found.fits and len(found.fallbacks) == len([fallback for fallback in FALLBACKS if not fallback.gpu])


def test_past_edits_say_how_long(clip: Path, places: Path, model: LoadedModel) -> None:
    first = plan_report(request(clip, places), load=lambda r: model)
    assert first.estimate.basis == "a short trial"
    done = edit_and_remember(request(clip, places, output=places / "a.mp4"), model)
    runs = History().runs()
    assert len(runs) == 1 and {"window", "encode", "decode", "effect", "write", "scan"} <= runs[0].stages.keys()
    text = (places / "state" / history.FILE).read_text()
    assert "night" not in text and str(places) not in text
    found = plan_report(request(clip, places), load=lambda r: model).estimate
    assert found.basis == "1 past run here" and found.seconds == pytest.approx(done.timings.total + STARTED, rel=0.01)
    double = plan_report(request(clip, places, steps=6), load=lambda r: model).estimate
    assert double.stages["window"] == pytest.approx(2 * found.stages["window"], rel=0.02)
    assert double.stages["write"] == found.stages["write"]


def test_an_edit_that_was_not_whole_is_no_past_edit(clip: Path, places: Path, model: LoadedModel) -> None:
    done = edit_and_remember(request(clip, places), model)
    estimate = plan_report(request(clip, places, output=places / "b.mp4"), load=lambda r: model).estimate
    assert done.timings.windows == len(done.plan.windows)
    done.timings.windows -= 1
    remember(estimate, done, model)
    done.timings.windows += 1
    done.timings.fallbacks.append("vae-tiles")
    remember(estimate, done, model)
    assert len(History().runs()) == 1


def test_a_history_that_is_damaged_or_cannot_be_written_stops_nothing(places: Path) -> None:
    run = Run("m", "tiny", {"window": (10.0, 2.0)}, (1.0, 3.0), 1.1)
    kept = History(places / "h.jsonl")
    for _ in range(3):
        kept.add(run)
    with open(kept.path, "a") as file:
        file.write('{"machine": 3}\n[]\n{"half')
    assert kept.runs() == [run] * 3
    rate = kept.rate("window", "m", "tiny")
    assert rate is not None and rate.value == pytest.approx(5.0) and rate.runs == 3
    assert kept.rate("window", "m", "other") is None and kept.rate("window", "m", None) is not None
    (places / "file").write_text("")
    blocked = History(places / "file" / "h.jsonl")
    blocked.add(run)
    assert blocked.runs() == []


def test_a_history_does_not_grow_for_ever(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_RUNS", 3)
    kept = History(places / "h.jsonl")
    for number in range(10):
        kept.add(Run("m", str(number), {}))
    assert 3 <= len(kept.runs()) <= 6 and kept.runs()[-1].model == "9"


def test_rates_that_agree_are_surer_than_one_and_than_such_that_differ() -> None:
    one, agree, differ = (rate_of(values) for values in ([5.0], [5.0] * 8, [2.0, 5.0, 9.0, 4.0]))
    assert one and agree and differ and agree.spread < one.spread < differ.spread
    assert rate_of([]) is None


def test_costs_are_counted_once(clip: Path, places: Path, model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from eve_cli.estimate import cost_model

    monkeypatch.setenv("EVE_CACHE", str(places / "cache"))
    plan_report(request(clip, places), load=lambda r: model)
    monkeypatch.setattr(cost_model, "count", lambda *_: pytest.fail("counted again"))
    plan_report(request(clip, places, seed=2), load=lambda r: model)
    assert json.loads((places / "cache" / cost_model.FILE).read_text())
