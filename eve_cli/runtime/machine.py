"""What this machine is, what it has left, and how much of it a process took at most."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path

import torch

GIGABYTE = 2**30
PROC = Path("/proc")
LIMITS = (  # of a container: the most it may take, and what it takes
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def name(device: torch.device) -> str:
    """The name of a device, as its maker calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def key(device: torch.device, dtype: torch.dtype) -> str:
    """What past runs must have in common to estimate the speed of the next one."""
    threads = f" · {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return f"{name(device)} · {str(dtype).removeprefix('torch.')}{threads}"


@cache
def _processor() -> str:
    match = re.search(r"model name\s*:\s*(.+)", _text(PROC / "cpuinfo"))
    return match[1].strip() if match else platform.processor() or platform.machine()


def total(device: torch.device) -> int:
    """Bytes of memory of a device, or the limit of the container; 0 where that is unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [number for limit, _ in LIMITS if (number := _number(limit))]
    return min([size for size in (_meminfo("MemTotal"), *limits) if size], default=0)


def free(device: torch.device) -> int:
    """Bytes that this process could still allocate; 0 where that is unknown."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    limits = [
        _meminfo("MemAvailable"),
        *(max(_number(most) - _number(now), 1) for most, now in LIMITS if _number(most)),
    ]
    try:
        import resource

        allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [max(allowed - _status("VmSize"), 1)] if allowed != resource.RLIM_INFINITY else []
    except ImportError:
        pass
    return min([size for size in limits if size], default=0)


def used(device: torch.device) -> int:
    """Bytes that this process uses on a device; 0 where that is unknown."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _status("VmRSS")


class Peak:
    """Peak memory in bytes since this object was created, above what was in use then."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _forget_peak()
        self.before = used(device)

    def bytes(self) -> int:
        """The peak so far; 0 where it is unknown."""
        most = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _most()
        return max(most - self.before, 0)


def _forget_peak() -> None:
    """Resets the peak of this process, on Linux."""
    try:
        (PROC / "self" / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def _most() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    return _kilobytes(PROC / "self" / "status", field)


def _meminfo(field: str) -> int:
    if size := _kilobytes(PROC / "meminfo", field):
        return size
    has_sysconf = hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys()
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if has_sysconf else 0


def _kilobytes(path: Path, field: str) -> int:
    match = re.search(rf"^{field}:\s*(\d+) kB", _text(path), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() and int(text) < 2**60 else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
