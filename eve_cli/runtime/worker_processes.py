"""Workers as processes of this machine, one a GPU where there are some: an engine of `runtime/dispatch.py`."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from eve_cli.runtime.dispatch import Message
from eve_cli.storage.atomic import on_termination, raise_exit

Report = Callable[[str, Any], None]
"""Sends a message while an item is worked on: ("progress", None) or ("note", text)."""
Work = Callable[[Any, Report], Any]
"""Does one item and returns its result, which can be pickled."""

Environment = Callable[[int], Mapping[str, str]]
"""What a worker finds in its environment before it imports anything heavy, by its number."""

SECONDS_TO_END = 10
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Exit codes of a process that the system ended, as it does when memory runs out."""


@dataclass(eq=False)
class WorkerProcess:
    """A child process and the parent's end of the pipe to it."""

    process: BaseProcess
    pipe: Connection


class ProcessEngine:
    """Starts processes that call `make_work()`, a function of a module, once, then its result for each item."""

    def __init__(self, make_work: Callable[[], Work], environment: Environment) -> None:
        self.make_work, self.environment = pickle.dumps(make_work), environment
        self.context = multiprocessing.get_context("spawn")

    def start(self, number: int) -> WorkerProcess:
        """A new worker."""
        ours, theirs = self.context.Pipe()
        arguments = (theirs, self.make_work, dict(self.environment(number)))
        process = self.context.Process(target=_serve, args=arguments, daemon=True, name=f"eve-worker-{number}")
        process.start()
        theirs.close()
        return WorkerProcess(process, ours)

    def send(self, worker: WorkerProcess, item: Any) -> None:
        """Gives an item to a worker; one that has just died is noticed by `wait`."""
        try:
            worker.pipe.send(item)
        except OSError:
            pass

    def wait(self, workers: Sequence[WorkerProcess], seconds: float) -> list[tuple[WorkerProcess, Message]]:
        """The messages of these workers so far."""
        ready = set(wait([end for worker in workers for end in (worker.pipe, worker.process.sentinel)], seconds))
        return [
            (worker, message)
            for worker in workers
            if {worker.pipe, worker.process.sentinel} & ready
            for message in _received(worker)
        ]

    def stop(self, worker: WorkerProcess) -> None:
        """Asks a worker to clean up and end, and kills one that does not."""
        worker.pipe.close()
        worker.process.terminate()
        worker.process.join(SECONDS_TO_END)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def gpu_names() -> list[str]:
    """The visible GPUs, as CUDA_VISIBLE_DEVICES names them."""
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return visible.split(",")
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def equal_shares(workers: int, gpus: Sequence[str]) -> Environment:
    """One GPU for each worker, in turn, and an equal share of the processor's cores.

    `gpus` are their names as CUDA_VISIBLE_DEVICES has them. A number of threads that the user chose stays.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // workers))
    same = {"OMP_NUM_THREADS": threads}
    return lambda number: same | ({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})


def _received(worker: WorkerProcess) -> list[Message]:
    messages: list[Message] = []
    try:
        while worker.pipe.poll():
            messages.append(worker.pipe.recv())
    except (EOFError, OSError):
        worker.process.join(SECONDS_TO_END)
        code = worker.process.exitcode
        how = f"ended with {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        messages.append(Message("lost", how, "memory" if code in KILLED else "died"))
    return messages


def _serve(pipe: Connection, make_work: bytes, environment: Mapping[str, str]) -> None:
    """The worker's side: items in, messages out, until the pipe or the parent ends. Nothing is printed to stdout."""
    os.environ.update(environment)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent ends us
    on_termination(raise_exit)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work: Work = pickle.loads(make_work)()
    lock = threading.Lock()

    def report(kind: Any, content: Any = None) -> None:
        with lock:
            pipe.send(Message(kind, content))

    try:
        report("ready")
        while True:
            report("result", work(pipe.recv(), report))
    except (EOFError, BrokenPipeError):
        pass


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
