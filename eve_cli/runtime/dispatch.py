"""Who does which item of a long list: the rules by which items go to workers that can crash, hang or vanish.

An engine runs the workers (`runtime/worker_processes.py`: processes of this machine). This module decides what happens
when one is lost: a worker that dies may have been killed by its item, one whose node is lost was not. It imports
nothing heavy.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from eve_cli.errors import EveError, OutOfMemory

Item = TypeVar("Item")
Loss = Literal["died", "memory", "node"]
"""Why a worker is gone: it died or was stopped, it was killed for the memory it took, or its node is lost."""

TRIES: dict[Loss, int] = {"died": 2, "memory": 3, "node": 6}
"""After so many losses of a kind an item counts as failed."""
START_TRIES = 3
"""So many workers in a row may fail to start before the run stops."""
PATIENCE = 30 * 60.0
"""Seconds after which a worker that reports nothing is stopped."""


@dataclass(frozen=True)
class Message:
    """What a worker reports: it is ready, it is at work (`progress`), a note, its result, or that it is lost."""

    kind: Literal["ready", "progress", "note", "result", "lost"]
    content: Any = None
    """The text of a note or of a loss; the result."""
    loss: Loss = "died"


class Engine(Protocol):
    """Runs workers; a worker is whatever hashable object the engine knows it by."""

    def start(self, number: int) -> Hashable:
        """A new worker with the lowest free number from 0, which will report that it is ready, or that it is lost."""
        ...

    def send(self, worker: Any, item: Any) -> None:
        """Gives an item to a worker that is ready or has reported a result."""
        ...

    def wait(self, workers: Sequence[Any], seconds: float) -> list[tuple[Any, Message]]:
        """The messages of these workers so far, each worker's in order; waits up to `seconds` for the first."""
        ...

    def stop(self, worker: Any) -> None:
        """Ends a worker at once; also one that is lost."""
        ...


@dataclass
class Attempt(Generic[Item]):
    """An item and what became of it so far."""

    item: Item
    losses: dict[Loss, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How often it was given out, counting this time."""
        return 1 + sum(self.losses.values())


@dataclass(frozen=True)
class Outcome(Generic[Item]):
    """The end of an item: a result, or an error where it ended its workers too often. `attempts` counts from 1."""

    item: Item
    result: Any
    error: EveError | None
    attempts: int


class Dispatcher(Generic[Item]):
    """Gives items to workers until each has an outcome, which come in order of completion.

    An item whose worker is lost is given out again: behind all others where it may be the cause, before them where its
    node is lost. One whose workers ran out of memory is last tried alone. `note` gets the texts of workers.
    """

    def __init__(
        self,
        engine: Engine,
        workers: int,
        *,
        patience: float = PATIENCE,
        note: Callable[[Item, str], None] = lambda item, text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine, self.workers, self.patience, self.note, self.clock = engine, workers, patience, note, clock
        self.waiting: deque[Attempt[Item]] = deque()
        self.alone: deque[Attempt[Item]] = deque()
        self.busy: dict[Hashable, Attempt[Item]] = {}
        self.idle: list[Hashable] = []
        self.numbers: dict[Hashable, int] = {}
        self.last_message: dict[Hashable, float] = {}
        self.failed_starts = 0

    def run(self, items: Sequence[Item]) -> Iterator[Outcome[Item]]:
        """The outcomes of all items. EveError where no worker starts."""
        self.waiting.extend(Attempt(item) for item in items)
        try:
            while self.waiting or self.alone or self.busy:
                self._start_workers()
                self._give_out()
                for worker, message in self.engine.wait(list(self.last_message), min(1.0, self.patience)):
                    if worker in self.last_message:
                        yield from self._receive(worker, message)
                yield from self._stop_silent_workers()
        finally:
            for worker in list(self.last_message):
                self.engine.stop(worker)

    def _start_workers(self) -> None:
        items = len(self.waiting) + len(self.alone) + len(self.busy)
        while len(self.last_message) < min(self.workers, items):
            number = min(set(range(self.workers)) - set(self.numbers.values()))
            worker = self.engine.start(number)
            self.numbers[worker] = number
            self.last_message[worker] = self.clock()

    def _give_out(self) -> None:
        if not self.waiting and not self.busy and self.alone:
            self.waiting.append(self.alone.popleft())
        while self.idle and self.waiting:
            worker, attempt = self.idle.pop(), self.waiting.popleft()
            self.busy[worker] = attempt
            self.last_message[worker] = self.clock()
            self.engine.send(worker, attempt.item)

    def _receive(self, worker: Hashable, message: Message) -> Iterator[Outcome[Item]]:
        self.last_message[worker] = self.clock()
        if message.kind == "ready":
            self.failed_starts = 0
            self.idle.append(worker)
        elif message.kind == "note" and worker in self.busy:
            self.note(self.busy[worker].item, message.content)
        elif message.kind == "result":
            attempt = self.busy.pop(worker)
            self.idle.append(worker)
            yield Outcome(attempt.item, message.content, None, attempt.count)
        elif message.kind == "lost":
            yield from self._lose(worker, message.loss, message.content)

    def _stop_silent_workers(self) -> Iterator[Outcome[Item]]:
        for worker in list(self.last_message):
            if worker not in self.idle and self.clock() - self.last_message[worker] > self.patience:
                yield from self._lose(worker, "died", f"reported nothing for {self.patience / 60:g} min")

    def _lose(self, worker: Hashable, loss: Loss, reason: str) -> Iterator[Outcome[Item]]:
        del self.last_message[worker], self.numbers[worker]
        self.engine.stop(worker)
        if worker in self.idle:
            self.idle.remove(worker)
        elif worker not in self.busy:
            self.failed_starts += 1
            if self.failed_starts >= START_TRIES:
                raise EveError(f"{START_TRIES} workers in a row could not start; the last {reason}.")
        attempt = self.busy.pop(worker, None)
        if attempt is None:
            return
        losses = attempt.losses[loss] = attempt.losses.get(loss, 0) + 1
        if losses >= TRIES[loss]:
            kind = OutOfMemory if loss == "memory" else EveError
            yield Outcome(attempt.item, None, kind(f"its worker {reason}, {losses} times."), attempt.count - 1)
        elif loss == "node":
            self.waiting.appendleft(attempt)
        elif loss == "memory" and losses == TRIES[loss] - 1:
            self.alone.append(attempt)
        else:
            self.waiting.append(attempt)
