"""What a source, a plan and a forecast are, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eve_cli.cli import console

if TYPE_CHECKING:
    from eve_cli.estimate.estimator import Forecast
    from eve_cli.media.clip import VideoInfo


def source(info: VideoInfo, planned: Mapping[str, Any]) -> str:
    """`surf.mp4   10.01 s · 29.97 fps · 300 frames · 1920×1080 · aac · 2 shots (cut at frame 130)`."""
    kept = planned["record"]
    if info.container == "picture":
        return f"{info.name}   {info.width}×{info.height}"
    facts = [
        *([f"{float(info.duration):.2f} s"] if info.duration else []),
        f"{float(info.fps):.5g} fps",
        f"{kept['frames']} frames",
        f"{info.width}×{info.height}",
        *[track.codec for track in info.audio],
    ]
    cuts = ", ".join(str(start) for start, _ in kept["shots"][1:])
    if cuts:
        facts.append(f"{len(kept['shots'])} shots (cut at frame {cuts})")
    return f"{info.name}   {' · '.join(facts)}"


def plan(planned: Mapping[str, Any], picture: bool = False) -> str:
    """`mini · method eve · 5 windows of 8, overlap 2 · 10 steps · text 2.0, video 1.0 · seed 7`."""
    request = planned["request"]
    lora = planned["record"]["model"].get("lora")
    parts = [
        str(request["model"]),
        *([f"lora {lora['token']}"] if lora else []),
        f"method {request['method']}",
        *([] if picture else [_windows(request, planned["windows"])]),
        f"{request['steps']} steps",
        f"guidance {request['guidance_scale']:g} text, {request['image_guidance_scale']:g} video",
        f"seed {request['seed']}",
        *([f'of "{request["caption"]}"'] if request["caption"] else []),
    ]
    return " · ".join(parts)


def _windows(request: Mapping[str, Any], planned: Sequence[Mapping[str, int]]) -> str:
    """`5 windows of 8, overlap 2`, or `2 stretches, each in step in windows of 8, overlap 4`."""
    count, size = len(planned), f"of {request['window']}, overlap {request['overlap']}"
    longest = max(each["stop"] - each["start"] for each in planned)
    if request["long"] == "sequential" or longest <= request["window"]:
        return f"{count} window{'s' * (count > 1)} {size}"
    return f"all in step in windows {size}" if count == 1 else f"{count} stretches, each in step in windows {size}"


def unknown_words(model: str, words: list[str]) -> str:
    """Which words the model never learned, and what to do."""
    quoted = ", ".join(f'"{word}"' for word in words)
    return f"the model {model} never learned {quoted} and will guess; say it with words that it knows"


def times(forecast: Forecast) -> str:
    """`about 41 s (34 s to 50 s; 12 past runs here)`."""
    span = f"{console.clock(forecast.low)} to {console.clock(forecast.high)}"
    return f"about {console.clock(forecast.seconds)} ({span}; {forecast.basis})"


def memory(forecast: Forecast) -> str:
    """`about 0.7 of 21.2 GB`."""
    limit = f" of {gigabytes(forecast.has)}" if forecast.has else " (how much there is, this system does not say)"
    return f"about {gigabytes(forecast.needs)}{limit}{'' if forecast.fits else ': too much'}"


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
