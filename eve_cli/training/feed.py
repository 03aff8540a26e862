"""Prepares batches ahead of time in a background thread."""

import queue
import threading
from collections.abc import Callable, Generator
from typing import Any

import torch


def batches(draw: Callable[[int], Any], first: int, ahead: int, end: int | None = None) -> Generator[Any, None, None]:
    """Yields `draw(first)`, `draw(first + 1)`, ... and keeps up to `ahead` ready; closing it ends the thread.

    None is drawn ahead from `end` on, where a run is over.
    """
    if ahead == 0:
        index = first
        while True:
            yield draw(index)
            index += 1
    waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=ahead)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(draw, first, end, waiting, stop), daemon=True, name="batches")
    thread.start()
    try:
        while True:
            batch, error = waiting.get()
            if error is not None:
                raise error
            yield batch
    finally:
        stop.set()
        while not waiting.empty():
            waiting.get_nowait()
        thread.join(timeout=20)  # a long draw may continue; the thread is a daemon


def _fill(draw: Callable[[int], Any], first: int, end: int | None, waiting: queue.Queue, stop: threading.Event) -> None:
    torch.set_flush_denormal(True)  # holds for one thread only
    index = first
    while not stop.is_set() and (end is None or index < end):
        try:
            item = (draw(index), None)
        except BaseException as error:
            item = (None, error)
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.2)
                break
            except queue.Full:
                continue
        if item[1] is not None:
            return
        index += 1
