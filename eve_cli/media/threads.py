"""Bounded queues between threads: one reads ahead of its caller, one works in the background."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
DEPTH = 4
WAIT = 0.1


class _Stopped(Exception):
    pass


class _Pipe(Generic[Item]):
    """A bounded queue; `put` raises _Stopped once the other end has stopped."""

    def __init__(self, depth: int) -> None:
        self.items: queue.Queue[Item] = queue.Queue(depth)
        self.stop = threading.Event()

    def put(self, item: Item) -> None:
        while not self.stop.is_set():
            try:
                return self.items.put(item, timeout=WAIT)
            except queue.Full:
                continue
        raise _Stopped


def _put_error(pipe: _Pipe[tuple[str, object]], error: BaseException) -> None:
    try:
        pipe.put(("error", error))
    except _Stopped:
        pass


def _produce(source: Iterator[Item], pipe: _Pipe[tuple[str, object]]) -> None:
    try:
        for item in source:
            pipe.put(("item", item))
        pipe.put(("end", None))
    except _Stopped:
        pass
    except BaseException as error:
        _put_error(pipe, error)
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def read_ahead(source: Iterator[Item], depth: int = DEPTH) -> Generator[Item, None, None]:
    """Iterate `source` in a thread of its own; leaving early stops the thread, errors are raised here."""
    pipe: _Pipe[tuple[str, object]] = _Pipe(depth)
    thread = threading.Thread(target=_produce, args=(source, pipe), name="eve-reader", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = pipe.items.get()
            if kind == "end":
                return
            if kind == "error":
                raise item  # pyright: ignore[reportGeneralTypeIssues]
            yield item  # pyright: ignore[reportReturnType]
    finally:
        pipe.stop.set()
        thread.join()


class BackgroundWorker(Generic[Item]):
    """Hand items to `work` in a thread of its own; its errors come back from `put` or `close`."""

    def __init__(self, work: Callable[[Item], None], depth: int = DEPTH) -> None:
        self._work = work
        self._pipe: _Pipe[Item | None] = _Pipe(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._loop, name="eve-writer", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        try:
            while not self._pipe.stop.is_set():
                try:
                    item = self._pipe.items.get(timeout=WAIT)
                except queue.Empty:
                    continue
                if item is None:
                    return
                self._work(item)
        except BaseException as error:
            self._error = error
            self._pipe.stop.set()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def put(self, item: Item) -> None:
        """Queue one item, waiting while the queue is full."""
        try:
            self._pipe.put(item)
        except _Stopped:
            self._check()
            raise RuntimeError("this writer is closed") from None

    def close(self, drop: bool = False) -> None:
        """Finish what is queued (or drop it) and end the thread."""
        if drop:
            self._pipe.stop.set()
        elif not self._pipe.stop.is_set():
            try:
                self._pipe.put(None)
            except _Stopped:
                pass
        self._thread.join()
        if not drop:
            self._check()
