"""What happens when a rater says something: the rules of the page, with no web server in them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eve_cli.errors import UsageError
from eve_cli.rating import answers, study
from eve_cli.rating.answers import ANSWER, BROKEN, UNDO, Log
from eve_cli.rating.modes import SCALE, Question
from eve_cli.rating.study import Trial

SECONDS_A_TRIAL, SECONDS_A_QUESTION = 10, 5
LARGEST = 10**9


class Conflict(UsageError):
    """The rater's page shows another question than the one that is open: an old tab, or an answer sent twice."""


class Desk:
    """A study being rated. Nothing is remembered but in the raters' files, so that any moment is one to stop at."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.plan = folder, study.load(folder)
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """What the first page says: how much there is to do."""
        count = len(self.plan.sheet(0))
        seconds = count * (SECONDS_A_TRIAL + SECONDS_A_QUESTION * len(self.plan.questions))
        return {"trials": count, "questions": len(self.plan.questions), "minutes": max(1, round(seconds / 60))}

    def start(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Begin, or go on where the rater stopped."""
        with self._lock:
            return self._state(answers.start(self.folder, answers.rater_name(said.get("rater"))))

    def answer(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Keep an answer to the open question; the same one sent again changes nothing, another is a Conflict."""
        with self._lock:
            log = self._log(said)
            given = log.answers.get((str(said.get("trial")), str(said.get("question"))))
            if given is not None and given["choice"] == said.get("choice"):
                return self._state(log)
            trial, question = self._open(log, said)
            if question is None or said.get("question") != question.id:
                raise Conflict("This question is not the open one.")
            choice = said.get("choice")
            if type(choice) is not int or choice not in self.plan.rules.choices(len(trial.edits), self.plan.ties):
                raise UsageError("This is not one of the answers.")
            measured = {name: _measure(said.get(name)) for name in answers.MEASURED}
            line = {"kind": ANSWER, "trial": trial.id, "question": question.id, "choice": choice}
            return self._state(answers.add(self.folder, log, {**line, "shown": trial.edits, **measured}))

    def broken(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Pass over the open trial: its videos do not play."""
        with self._lock:
            log = self._log(said)
            trial, _ = self._open(log, said)
            return self._state(answers.add(self.folder, log, {"kind": BROKEN, "trial": trial.id}))

    def undo(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Take back the last thing said, if there is one."""
        with self._lock:
            log = self._log(said)
            return self._state(answers.add(self.folder, log, {"kind": UNDO}) if log.said else log)

    def state(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What the rater's page should show now."""
        return self._state(self._log(said))

    def _log(self, said: Mapping[str, Any]) -> Log:
        log = answers.read(answers.path_of(self.folder, answers.rater_name(said.get("rater"))))
        if log.seat is None:
            raise UsageError("No rater of this name has begun.")
        return log

    def _open(self, log: Log, said: Mapping[str, Any]) -> tuple[Trial, Question | None]:
        """The open trial and question; Conflict if the page shows another trial."""
        _, trial, question = self._next(log)
        if trial is None or said.get("trial") != trial.id:
            raise Conflict("This trial is not the open one.")
        return trial, question

    def _next(self, log: Log) -> tuple[int, Trial | None, Question | None]:
        """How many trials are done, and the first question that is open."""
        sheet, asked, given, broken = self._sheet(log), self._asked(log), log.answers, log.broken
        for number, trial in enumerate(sheet):
            for question in asked if trial.id not in broken else ():
                if (trial.id, question.id) not in given:
                    return number, trial, question
        return len(sheet), None, None

    def _sheet(self, log: Log) -> list[Trial]:
        return self.plan.sheet(log.seat or 0)

    def _asked(self, log: Log) -> tuple[Question, ...]:
        return self.plan.asked(log.seat or 0)

    def _state(self, log: Log) -> dict[str, Any]:
        number, trial, question = self._next(log)
        common = {"rater": log.rater, "done": number, "total": len(self._sheet(log)), "undo": bool(log.said)}
        if trial is None or question is None:
            return {**common, "trial": None}
        given = log.answers
        asked = [
            {"id": q.id, "ask": q.ask, "low": q.low, "high": q.high, "choice": given[trial.id, q.id]["choice"]}
            if (trial.id, q.id) in given
            else {"id": q.id, "ask": q.ask, "low": q.low, "high": q.high, "choice": None}
            for q in self._asked(log)
        ]
        rules, edits = self.plan.rules, [f"{study.MEDIA}/{name}" for name in trial.edits]
        return {
            **common,
            "question": question.id,
            "questions": asked,
            "choices": rules.choices(len(edits), self.plan.ties),
            "scores": SCALE if rules.scores else 0,
            "trial": {
                "id": trial.id,
                "caption": trial.caption,
                "instruction": trial.instruction,
                "source": f"{study.MEDIA}/{trial.source}",
                "edits": edits,
                "fps": trial.fps,
            },
        }


def _measure(value: object) -> int | None:
    """A whole number that the page measured, or None if it makes no sense."""
    return int(value) if type(value) in (int, float) and 0 <= value < LARGEST else None  # type: ignore[operator, arg-type]
