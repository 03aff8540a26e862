"""Colour between stored samples and RGB, through swscale's accurate paths with every choice spelled out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from eve_cli.media.clip import Color, Picture

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph

# Numbers are those of ITU-T H.273.
MATRICES = {"bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "bt2020nc": 9, "bt2020c": 10}
PRIMARIES = {"bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9}
PRIMARIES |= {"smpte428": 10, "smpte431": 11, "smpte432": 12}
TRANSFERS = {"bt709": 1, "gamma22": 4, "gamma28": 5, "smpte170m": 6, "smpte240m": 7, "linear": 8}
TRANSFERS |= {"iec61966-2-1": 13, "bt2020-10": 14, "bt2020-12": 15, "smpte2084": 16, "arib-std-b67": 18}
RGB_FORMATS = ("gbrp", "gbrap", "bgr0", "bgra", "pal8")
# Without accurate_rnd each pass darkens by about a level; bicubic is antialiased when it makes a picture smaller.
FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


def _name(table: dict[str, int], code: int) -> str | None:
    return next((name for name, value in table.items() if value == code), None)


def is_rgb(frame: VideoFrame) -> bool:
    """Whether the samples are red, green and blue (or a palette of them)."""
    return frame.format.is_rgb or frame.format.has_palette


def has_alpha(frame: VideoFrame) -> bool:
    """Whether a frame carries transparency."""
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def effective(frame: VideoFrame) -> Color:
    """Decide the colour of a decoded frame: its tags, else HD is BT.709 and SD is BT.601 (mpv's rule)."""
    matrix = _name(MATRICES, frame.colorspace)
    fallback = "bt709" if frame.width >= 1280 or frame.height > 576 else "smpte170m"
    resolved = matrix or fallback
    default = {"bt2020nc": "bt2020", "bt2020c": "bt2020"}.get(resolved, resolved)
    default = default if default in ("bt709", "bt2020", "bt470bg") else "smpte170m"
    transfer = {"bt709": "bt709", "bt2020": "bt2020-10"}.get(default, "smpte170m")
    full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    return Color(
        matrix=resolved,
        range="pc" if full else "tv",
        transfer=_name(TRANSFERS, frame.color_trc) or transfer,
        primaries=_name(PRIMARIES, frame.color_primaries) or default,
        guessed=matrix is None,
        rgb=is_rgb(frame),
    )


def output_color(color: Color | None, width: int, height: int) -> Color:
    """Choose the colour to write: the source's own, except that HDR and RGB sources become plain video."""
    if color is not None and not color.hdr and not color.rgb:
        return Color(color.matrix, "tv", color.transfer, color.primaries)
    if (color is not None and color.hdr) or width >= 1280 or height > 576:
        return Color()
    return Color("smpte170m", "tv", "smpte170m", "smpte170m")


def to_rgb_chain(color: Color, size: tuple[int, int] | None, alpha: bool) -> list[tuple[str, str]]:
    """Write the filters that turn stored samples into planar RGB of `size` (width, height)."""
    options = [f"flags={FLAGS}"]
    if size is not None:
        options.append(f"w={size[0]}:h={size[1]}")
    if not color.rgb:
        options.append(f"in_color_matrix={color.matrix}:in_range={color.range}:in_chroma_loc=left")
    if color.hdr:
        options.append(f"in_transfer={color.transfer}:in_primaries={color.primaries}")
        options.append("out_transfer=bt709:out_primaries=bt709:intent=perceptual")
    return [("scale", ":".join([*options, "out_range=pc"])), ("format", "gbrap" if alpha else "gbrp")]


def from_rgb_chain(color: Color, size: tuple[int, int], pixel_format: str) -> list[tuple[str, str]]:
    """Write the filters that turn planar RGB into the encoder's samples of `size` (width, height)."""
    options = [f"flags={FLAGS}", f"w={size[0]}:h={size[1]}"]
    if pixel_format not in RGB_FORMATS:
        options.append(f"out_color_matrix={color.matrix}:out_range={color.range}:out_chroma_loc=left")
    return [("scale", ":".join(options)), ("format", pixel_format)]


def build(frame: VideoFrame, chain: Sequence[tuple[str, str]], time_base: Fraction) -> Graph:
    """Make a filter graph that takes frames like this one."""
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)]
    nodes += [graph.add(name, arguments) for name, arguments in chain]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def palette_graph(frame: VideoFrame, size: tuple[int, int], time_base: Fraction) -> Graph:
    """Make a filter graph that gives each frame a palette of its own."""
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
    scale, split = graph.add("scale", f"flags={FLAGS}:w={size[0]}:h={size[1]}"), graph.add("split")
    palette, use = graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1")
    graph.link_nodes(source, scale, split, palette)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    graph.link_nodes(use, graph.add("buffersink")).configure()
    return graph


def run(graph: Graph, frame: VideoFrame | None) -> list[VideoFrame]:
    """Push one frame (None at the end) and take what comes out."""
    ready: list[VideoFrame] = []
    graph.vpush(frame)
    while True:
        try:
            ready.append(graph.vpull())
        except (BlockingIOError, EOFError):
            return ready


def planes(frame: VideoFrame) -> Picture:
    """Copy a planar RGB frame (gbrp or gbrap) to (3 or 4, height, width), red first."""
    order = (2, 0, 1, 3)[: len(frame.planes)]
    picture = np.empty((len(order), frame.height, frame.width), np.uint8)
    for channel, plane in zip(picture, (frame.planes[i] for i in order), strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        channel[:] = rows[: frame.height, : frame.width]
    return picture


def from_planes(picture: Picture, width: int, height: int) -> VideoFrame:
    """Copy (3 or 4, height, width) to a gbrp(a) frame, repeating the last row and column up to (width, height)."""
    from av import VideoFrame

    frame = VideoFrame(width, height, "gbrap" if len(picture) == 4 else "gbrp")
    rows, columns = picture.shape[1:]
    for plane, channel in zip(frame.planes, picture[[1, 2, 0, 3][: len(picture)]], strict=True):
        target = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        target[:rows, :columns] = channel
        target[:rows, columns:width] = channel[:, -1:]
        target[rows:height, :width] = target[rows - 1, :width]
    return frame
