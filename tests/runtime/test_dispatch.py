"""The rules by which items go to workers, on an engine whose workers do what a script says, and on real processes."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eve_cli.errors import EveError, OutOfMemory
from eve_cli.runtime.dispatch import START_TRIES, Dispatcher, Message, Outcome
from eve_cli.runtime.worker_processes import ProcessEngine, Report, Work, equal_shares


class ScriptedEngine:
    """Workers are numbers; `script[item]` holds what happens each time the item is given out, at last its result."""

    def __init__(self, script: dict[str, list[Message]], starts: Sequence[Message] = ()) -> None:
        self.script, self.starts = {item: deque(messages) for item, messages in script.items()}, deque(starts)
        self.inbox: deque[tuple[int, Message]] = deque()
        self.sent: list[str] = []
        self.living: set[int] = set()
        self.at_once = 0
        self.busy: set[int] = set()
        self.log: list[tuple[str, int]] = []
        self.seconds = 0.0
        self.count = 0

    def start(self, number: int) -> int:
        self.count += 1
        self.living.add(self.count)
        message = self.starts.popleft() if self.starts else Message("ready")
        self.inbox.append((self.count, message))
        return self.count

    def send(self, worker: int, item: str) -> None:
        assert worker in self.living and worker not in self.busy
        self.busy.add(worker)
        self.sent.append(item)
        self.log.append((item, len(self.busy)))
        script = self.script.get(item)
        self.inbox.append((worker, script.popleft() if script else Message("result", item.upper())))

    def wait(self, workers: Sequence[int], seconds: float) -> list[tuple[int, Message]]:
        self.seconds += seconds
        messages = [(worker, message) for worker, message in self.inbox if message.kind != "progress"]
        self.inbox.clear()
        self.busy -= {worker for worker, message in messages if message.kind in ("result", "lost")}
        return messages

    def stop(self, worker: int) -> None:
        self.living.discard(worker)
        self.busy.discard(worker)


def dispatch(engine: ScriptedEngine, items: Sequence[str], workers: int = 2, **options: Any) -> dict[str, Outcome[str]]:
    dispatcher = Dispatcher[str](engine, workers, clock=lambda: engine.seconds, **options)
    outcomes = list(dispatcher.run(items))
    assert sorted(outcome.item for outcome in outcomes) == sorted(items)  # each once
    assert not engine.living  # no worker is left behind
    return {outcome.item: outcome for outcome in outcomes}


def lost(loss: Any, text: str = "was ended by SIGSEGV") -> Message:
    return Message("lost", text, loss)


def test_all_items_are_done_by_no_more_workers_than_asked_for() -> None:
    engine = ScriptedEngine({})
    outcomes = dispatch(engine, "abcdef", workers=3)
    assert {outcome.result for outcome in outcomes.values()} == set("ABCDEF") and engine.count == 3
    assert dispatch(ScriptedEngine({}), "a", workers=3)["a"].attempts == 1


def test_an_item_that_ends_its_worker_is_tried_behind_the_others_and_then_fails_alone() -> None:
    engine = ScriptedEngine({"b": [lost("died")] * 2, "d": [lost("died")]})
    outcomes = dispatch(engine, "abcdef")
    assert str(outcomes["b"].error) == "its worker was ended by SIGSEGV, 2 times." and outcomes["b"].attempts == 2
    assert outcomes["d"].result == "D" and outcomes["d"].attempts == 2
    assert engine.sent.index("f") < len(engine.sent) - engine.sent[::-1].index("b") - 1
    assert engine.sent.count("b") == 2


def test_a_lost_node_is_no_fault_of_the_item_which_is_next() -> None:
    engine = ScriptedEngine({"a": [lost("node")] * 5})
    outcomes = dispatch(engine, "abc", workers=1)
    assert outcomes["a"].result == "A" and engine.sent == [*"aaaaaa", "b", "c"]
    assert "6 times" in str(dispatch(ScriptedEngine({"a": [lost("node")] * 6}), "a")["a"].error)


def test_an_item_that_takes_all_memory_is_last_tried_alone() -> None:
    engine = ScriptedEngine({"a": [lost("memory")] * 2})
    assert dispatch(engine, "abcdef", workers=3)["a"].result == "A"
    assert engine.log[-1] == ("a", 1) and engine.sent[-1] == "a"
    error = dispatch(ScriptedEngine({"a": [lost("memory")] * 3}), "ab")["a"].error
    assert isinstance(error, OutOfMemory) and error.exit_code == 5


def test_a_worker_that_reports_nothing_is_stopped() -> None:
    engine = ScriptedEngine({"a": [Message("progress")]})
    outcomes = dispatch(engine, "ab", patience=120)
    assert outcomes["a"].result == "A" and outcomes["a"].attempts == 2 and engine.seconds > 120
    silent = dispatch(ScriptedEngine({"a": [Message("progress")] * 2}), "a", patience=120)
    assert "reported nothing for 2 min" in str(silent["a"].error)


def test_workers_that_cannot_start_stop_the_run_with_the_reason() -> None:
    engine = ScriptedEngine({}, starts=[lost("died", "ended with 1")] * START_TRIES)
    with pytest.raises(EveError, match=r"3 workers in a row could not start; the last ended with 1\."):
        dispatch(engine, "abc", workers=1)
    assert not engine.living
    engine = ScriptedEngine({}, starts=[lost("died")] * (START_TRIES - 1))
    assert len(dispatch(engine, "abc", workers=1)) == 3


def test_notes_come_with_their_item() -> None:
    notes: list[tuple[str, str]] = []
    engine = ScriptedEngine({"b": [Message("note", "slow")]})
    dispatcher = Dispatcher[str](engine, 2, note=lambda *note: notes.append(note), clock=lambda: engine.seconds)
    run = dispatcher.run("b")
    engine.script["b"].append(Message("result", "B"))
    original = engine.wait

    def wait(workers: Sequence[int], seconds: float) -> list[tuple[int, Message]]:
        messages = original(workers, seconds)
        if any(message.kind == "note" for _, message in messages):
            engine.inbox.append((messages[0][0], Message("result", "B")))
        return messages

    engine.wait = wait
    assert [outcome.result for outcome in run] == ["B"] and notes == [("b", "slow")]


def make_work(folder: Path) -> Work:
    return partial(do, folder)


def do(folder: Path, item: str, report: Report) -> str:
    """Does what an item says; what is to happen once leaves a mark."""
    if item.startswith("once"):
        mark = folder / item
        if mark.exists():
            return "done at last"
        mark.touch()
    report("note", f"at {item}")
    if item.endswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if item.endswith("exit"):
        os._exit(3)
    if item.endswith("hang"):
        time.sleep(600)
    if item == "environment":
        return f"{os.environ['OMP_NUM_THREADS']} {os.environ['CUDA_VISIBLE_DEVICES']}"
    print("this must not reach stdout")
    return item.upper()


def test_processes_that_crash_exit_and_hang_stop_no_other_item(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    notes: list[str] = []
    engine = ProcessEngine(partial(make_work, tmp_path), equal_shares(2, ["5"]))
    dispatcher = Dispatcher[str](engine, 2, patience=3.0, note=lambda item, text: notes.append(text))
    items = ["a", "crash", "once-crash", "exit", "once-hang", "b", "environment"]
    outcomes = {outcome.item: outcome for outcome in dispatcher.run(items)}
    assert outcomes["a"].result == "A" and outcomes["b"].result == "B" and "at a" in notes
    assert str(outcomes["crash"].error) == "its worker was ended by SIGSEGV, 2 times."
    assert str(outcomes["exit"].error) == "its worker ended with 3, 2 times."
    assert outcomes["once-crash"].result == outcomes["once-hang"].result == "done at last"
    assert outcomes["environment"].result == f"{max(1, len(os.sched_getaffinity(0)) // 2)} 5"
    assert capfd.readouterr().out == ""


def test_workers_end_with_a_run_that_is_broken_off(tmp_path: Path) -> None:
    engine = ProcessEngine(partial(make_work, tmp_path), equal_shares(1, []))
    workers: list[Any] = []
    start = engine.start
    engine.start = lambda number: workers.append(start(number)) or workers[-1]
    run = Dispatcher[str](engine, 2).run(["a", "once-hang", "hang"])
    assert isinstance(run, Generator)
    assert next(run).result == "A"
    run.close()
    assert workers and not any(worker.process.is_alive() for worker in workers)
