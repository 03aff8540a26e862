"""A source, a plan and an estimate, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eve_cli.cli import console

if TYPE_CHECKING:
    from eve_cli.editing.edit_plan import EditPlan
    from eve_cli.estimate.estimator import Estimate
    from eve_cli.media.clip import VideoInfo


def source(info: VideoInfo, plan: EditPlan) -> str:
    """`surf.mp4   10.01 s · 29.97 fps · 300 frames · 1920×1080 · aac · 2 shots (cut at frame 130)`."""
    if info.container == "picture":
        return f"{info.name}   {info.width}×{info.height}"
    facts = [
        *([f"{float(info.duration):.2f} s"] if info.duration else []),
        f"{float(info.fps):.5g} fps",
        f"{plan.frames} frames",
        f"{info.width}×{info.height}",
        *[track.codec for track in info.audio],
    ]
    cuts = ", ".join(str(shot.start) for shot in plan.shots[1:])
    if cuts:
        facts.append(f"{len(plan.shots)} shots (cut at frame {cuts})")
    return f"{info.name}   {' · '.join(facts)}"


def plan(planned: EditPlan) -> str:
    """`mini · method eve · 5 windows of 8, overlap 2 · 10 steps · guidance 2 text, 1 video · seed 7`."""
    edit, lora = planned.edit, planned.provenance.model.get("lora")
    parts = [
        edit.model.name,
        *([f"lora {lora['token']}"] if lora else []),
        f"method {edit.method}",
        *([] if edit.picture else [_windows(planned)]),
        f"{edit.steps} steps",
        f"guidance {edit.guidance_scale:g} text, {edit.image_guidance_scale:g} video",
        f"seed {edit.seed}",
        *([f'caption "{edit.caption}"'] if edit.caption else []),
    ]
    return " · ".join(parts)


def _windows(planned: EditPlan) -> str:
    """`5 windows of 8, overlap 2`, or `2 spans, each denoised jointly in windows of 8, overlap 4`."""
    edit, count = planned.edit, len(planned.windows)
    size = f"of {edit.window}, overlap {edit.overlap}"
    longest = max(len(window.frames) for window in planned.windows)
    if edit.long == "sequential" or longest <= edit.window:
        return f"{count} window{'s' * (count > 1)} {size}"
    return (
        f"denoised jointly in windows {size}"
        if count == 1
        else f"{count} spans, each denoised jointly in windows {size}"
    )


def times(estimate: Estimate) -> str:
    """`about 41 s (34 s to 50 s; 12 past runs here)`."""
    span = f"{console.clock(estimate.low)} to {console.clock(estimate.high)}"
    return f"about {console.clock(estimate.seconds)} ({span}; {estimate.basis})"


def memory(estimate: Estimate) -> str:
    """`about 0.7 of 21.2 GB`."""
    limit = f" of {gigabytes(estimate.has)}" if estimate.has else " (the limit is unknown)"
    return f"about {gigabytes(estimate.needs)}{limit}{'' if estimate.fits else ': too much'}"


def operations(count: float) -> str:
    """`0.28 TFLOP`, `1.2 PFLOP`."""
    unit, size = ("PFLOP", 1e15) if count >= 1e15 else ("TFLOP", 1e12) if count >= 1e11 else ("GFLOP", 1e9)
    return f"{count / size:.3g} {unit}"


def gigabytes(count: float) -> str:
    """`6.9 GB`."""
    return f"{count / 1e9:.1f} GB"


def megabytes(count: float) -> str:
    """`120 MB`."""
    return f"{count / 1e6:,.0f} MB"
