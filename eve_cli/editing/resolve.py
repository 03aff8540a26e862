"""From a request to a plan: every open setting gets its value, and the shots are split into windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eve_cli.diffusion.windows import plan_spans, plan_windows
from eve_cli.editing.edit_plan import EditPlan, Provenance, ResolvedEdit
from eve_cli.editing.provenance import describe_input
from eve_cli.editing.request import EditRequest
from eve_cli.errors import UsageError
from eve_cli.methods.registry import METHODS
from eve_cli.models.loading import LoadedModel, absolute_backbone, absolute_loras, plan_model
from eve_cli.runtime.environment import versions
from eve_cli.settings import to_mapping


def resolve(request: EditRequest, model: LoadedModel, shots: Sequence[range], frame_size: tuple[int, int]) -> EditPlan:
    """The plan of an edit of these shots, whose frames have this (width, height) in the model.

    UsageError if the request has no output or no seed yet.
    """
    if request.output is None or request.seed is None:
        raise UsageError("An edit needs an output and a seed before it can be planned.")
    settings, method = model.editor.settings, METHODS[request.method]
    default_long = settings.long if request.method == "eve" else "sequential"  # the other methods were not compared
    joint = method.long and (default_long if request.long == "auto" else request.long) == "joint"
    preserve = settings.preserve and request.size == "source" and "edit" in method.needs
    defaults = request.options.defaults(settings)
    window = request.window or max(defaults["window"], (request.overlap or 0) + 1)
    overlap = request.overlap or (window // 2 if joint else min(2, window - 1))
    open_values = ("steps", "guidance_scale", "image_guidance_scale")
    resolved = request.changed(
        **{name: defaults[name] for name in open_values if getattr(request, name) is None},
        window=window,
        overlap=overlap,
        long="joint" if joint else "sequential",
        preserve=request.preserve if request.preserve != "auto" else "on" if preserve else "off",
        options=request.options.resolved(request.model),
        caption=request.options.resolved_caption(request.instruction, request.caption),
    )
    return EditPlan(
        edit=_resolved_edit(resolved),
        provenance=Provenance(
            settings=resolved.recorded() | to_mapping(resolved.options),
            input=describe_input(request.input),
            model=plan_model(model),
            versions=versions(),
        ),
        shots=tuple(shots),
        windows=tuple(
            plan_spans(shots, max(request.span, window), overlap) if joint else plan_windows(shots, window, overlap)
        ),
        frame_size=frame_size,
        unknown_words=unknown_words(request, model),
    )


def _resolved_edit(request: EditRequest) -> ResolvedEdit:
    """The settings of a request in which everything is set, with absolute paths."""
    spec = request.model_spec
    shared = {name: getattr(request, name) for name in ResolvedEdit.__dataclass_fields__ if hasattr(request, name)}
    assert request.output is not None
    return ResolvedEdit(
        **shared
        | {
            "input": str(Path(request.input).absolute()),
            "output": request.output.absolute(),
            "run_dir": request.run_dir.absolute() if request.run_dir else None,
            "preserve": request.preserve == "on",
            "model": replace(spec, backbone=absolute_backbone(spec.backbone), lora=absolute_loras(spec.lora)),
        }
    )


def replaced_words(request: EditRequest, model: LoadedModel) -> dict[str, str]:
    """The words of a request's text that are replaced by words of the model's vocabulary, and by which."""
    if METHODS[request.method].reads == "nothing":
        return {}
    return model.replaced_words(request.options.text(request.instruction, request.caption))


def unknown_words(request: EditRequest, model: LoadedModel) -> tuple[str, ...]:
    """The words of a request's text that are not in the model's vocabulary."""
    if METHODS[request.method].reads == "nothing":
        return ()
    return tuple(model.unknown_words(request.options.text(request.instruction, request.caption)))
