"""What travels beside picture, sound and subtitles: attachments, a cover, and the mark of a 3D picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_cli.errors import InputError
from eve_cli.media import probe
from eve_cli.media.clip import VideoInfo

if TYPE_CHECKING:
    from av.container import OutputContainer

MATROSKA = (".mkv", ".webm")
IMAGES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
STEREO, SPHERICAL = "STEREO3D", "SPHERICAL"


class Extras:
    """Copies what the output can hold; `notes` name the rest, once a kind."""

    def __init__(self, output: OutputContainer, video: Any, like: VideoInfo, kind: str) -> None:
        self._output, self._like, self._kind = output, like, kind
        self._covers: list[tuple[Any, Any]] = []
        self.notes: list[str] = []
        with probe.open_file(like.name, Path(like.path)) as source:
            self._attach(list(source.streams.attachments))
            for cover in probe.covers(source):
                self._add_cover(source, cover)
            self._mark(video, source.streams[like.stream_index].metadata.get("stereo_mode"))

    def _attach(self, attachments: list[Any]) -> None:
        if self._kind == ".mkv":
            for each in attachments:
                self._output.add_attachment(each.name or "attachment", each.mimetype or "", each.data or b"")
        elif attachments:
            names = ", ".join(each.name or "nameless" for each in attachments)
            self._leave_out(f"attachments ({names})", "do")

    def _add_cover(self, source: Any, cover: Any) -> None:
        from av.stream import Disposition

        packet = next((packet for packet in source.demux(cover) if packet.size), None)
        image = IMAGES.get(cover.codec_context.name) if cover.codec_context else None
        if packet is None or image is None or self._kind not in (".mp4", ".mkv"):
            self._leave_out("cover picture")
        elif self._kind == ".mkv":
            self._output.add_attachment(*image, bytes(packet))
        else:
            stream = self._output.add_stream_from_template(cover)
            stream.disposition = Disposition.attached_pic
            self._covers.append((stream, packet))

    def _mark(self, video: Any, stereo_mode: str | None) -> None:
        if stereo_mode and self._kind in MATROSKA:
            video.metadata["stereo_mode"] = stereo_mode
        elif STEREO in self._like.marks:
            self._leave_out("mark of a 3D picture")
        if SPHERICAL in self._like.marks:
            self._leave_out("mark of a 360° picture")

    def _leave_out(self, what: str, verb: str = "does") -> None:
        note = f"{self._like.name}: its {what} {verb} not go into {self._kind}"
        if note not in self.notes:
            self.notes.append(note)

    def packets(self) -> Iterator[Any]:
        """The covers, for the start of the file."""
        for stream, packet in self._covers:
            packet.stream = stream
            packet.pts = packet.dts = 0
            yield packet


def extras(output: OutputContainer, video: Any, like: VideoInfo | None, kind: str) -> Extras | None:
    """What of a source goes into an output; None where there is no source, or it is pictures."""
    if like is None or kind == ".gif" or not Path(like.path).is_file():
        return None
    try:
        return Extras(output, video, like, kind)
    except InputError:
        return None
