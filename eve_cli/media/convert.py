"""The last resort: the ffmpeg program of imageio-ffmpeg turns what our libraries cannot open into what they can."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from pathlib import Path

from eve_cli.media.input_resolver import Source


def converted(source: Source) -> Source | None:
    """Convert to a lossless temporary file, with the sound as it is; None where that fails too."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        program = get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None
    with tempfile.NamedTemporaryFile(prefix="eve-", suffix=".mkv", delete=False) as file:
        target = Path(file.name)
    read = ["-v", "error", "-nostdin", "-y", "-protocol_whitelist", "file", "-i", f"file:{source.path}"]
    write = ["-map", "0:V:0", "-map", "0:a?", "-c:v", "ffv1", "-c:a", "copy", "-fps_mode", "passthrough"]
    done = subprocess.run([program, *read, *write, f"file:{target}"], capture_output=True, check=False)
    if done.returncode:
        target.unlink(missing_ok=True)
        return None
    return dataclasses.replace(source, path=target, temporary=[*source.temporary, target])
