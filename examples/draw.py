"""Draws the clips of this folder with the procedural world: python -m examples.draw"""

from __future__ import annotations

from pathlib import Path

from eve_cli.data.world.export import pictures, write_clip
from eve_cli.data.world.render import render
from eve_cli.data.world.scene import Scene, Thing

FOLDER = Path(__file__).resolve().parent
FRAMES, FPS = 32, 8
CLIPS: dict[str, tuple[tuple[int, int], Scene]] = {
    "car.mp4": (
        (480, 480),
        Scene("city", "day", "clear", (Thing("car", "red", x=-0.65, y=0.3, motion="right", speed=0.042),), seed=11),
    ),
    "meadow.mp4": (
        (320, 320),
        Scene(
            "meadow",
            "day",
            "clear",
            (
                Thing("tree", "green", slot="right", x=0.5, y=0.25, size=0.44, depth=0.5),
                Thing("ball", "yellow", "spotted", "left", -0.5, 0.35, 0.36, "bounce", 0.0625, 0.0, 0.3),
            ),
            seed=4,
        ),
    ),
    "boat.mp4": (
        (426, 240),
        Scene(
            "beach",
            "sunset",
            "clear",
            (
                Thing("boat", "blue", "striped", x=0.5, y=0.3, size=0.42, motion="left", speed=0.03),
                Thing("bird", "red", slot="left", x=-0.9, y=-0.45, size=0.3, motion="fly", speed=0.04, depth=0.6),
            ),
            seed=21,
        ),
    ),
}


def main() -> None:
    for name, (size, scene) in CLIPS.items():
        write_clip(FOLDER / name, pictures(render([scene], FRAMES, size).frames[0]), FPS, crf=20)
        print(FOLDER / name)


if __name__ == "__main__":
    main()
