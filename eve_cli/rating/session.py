"""A rating session: how the rater's page moves through trials and questions, independent of the web server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eve_cli.errors import UsageError
from eve_cli.rating import answers, study
from eve_cli.rating.answers import ANSWER, BROKEN, UNDO, AnswerLog
from eve_cli.rating.modes import SCALE, Question
from eve_cli.rating.study import Trial

SECONDS_PER_TRIAL, SECONDS_PER_QUESTION = 10, 5
LARGEST = 10**9


class Conflict(UsageError):
    """The rater's page shows another question than the open one: an old tab, or an answer sent twice."""


class RatingSession:
    """A study being rated. All state lives in the raters' answer files, so the server can stop at any moment.

    Each request is the JSON object that the page sends; each method returns the state that the page shows next.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.plan = folder, study.load(folder)
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """The figures of the welcome page: number of trials, number of questions, estimated minutes."""
        count = len(self.plan.trials_for(0))
        seconds = count * (SECONDS_PER_TRIAL + SECONDS_PER_QUESTION * len(self.plan.questions))
        return {"trials": count, "questions": len(self.plan.questions), "minutes": max(1, round(seconds / 60))}

    def start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Starts, or resumes where the rater stopped."""
        with self._lock:
            return self._state(answers.start(self.folder, answers.rater_name(request.get("rater"))))

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Records an answer to the open question; the same answer sent again changes nothing, another is a Conflict."""
        with self._lock:
            log = self._log(request)
            earlier = log.answers.get((str(request.get("trial")), str(request.get("question"))))
            if earlier is not None and earlier["choice"] == request.get("choice"):
                return self._state(log)
            trial, question = self._open(log, request)
            if question is None or request.get("question") != question.id:
                raise Conflict("This question is not the open one.")
            choice = request.get("choice")
            if type(choice) is not int or choice not in self.plan.rules.choices(len(trial.edits), self.plan.ties):
                raise UsageError("This is not one of the answers.")
            measured = {name: _measure(request.get(name)) for name in answers.MEASURED}
            line = {"kind": ANSWER, "trial": trial.id, "question": question.id, "choice": choice}
            return self._state(answers.add(self.folder, log, {**line, "shown": trial.edits, **measured}))

    def broken(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Skips the open trial, whose videos do not play."""
        with self._lock:
            log = self._log(request)
            trial, _ = self._open(log, request)
            return self._state(answers.add(self.folder, log, {"kind": BROKEN, "trial": trial.id}))

    def undo(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Undoes the last event, if there is one."""
        with self._lock:
            log = self._log(request)
            return self._state(answers.add(self.folder, log, {"kind": UNDO}) if log.events else log)

    def state(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The current state of the rater's page."""
        return self._state(self._log(request))

    def _log(self, request: Mapping[str, Any]) -> AnswerLog:
        log = answers.read(answers.path_of(self.folder, answers.rater_name(request.get("rater"))))
        if log.seat is None:
            raise UsageError("No rater of this name has started.")
        return log

    def _open(self, log: AnswerLog, request: Mapping[str, Any]) -> tuple[Trial, Question | None]:
        """The open trial and question; Conflict if the page shows another trial."""
        _, trial, question = self._next(log)
        if trial is None or request.get("trial") != trial.id:
            raise Conflict("This trial is not the open one.")
        return trial, question

    def _next(self, log: AnswerLog) -> tuple[int, Trial | None, Question | None]:
        """How many trials are done, and the first open trial and question; None where all are answered."""
        trials, questions = self.plan.trials_for(log.seat or 0), self.plan.questions_for(log.seat or 0)
        answers_so_far, broken = log.answers, log.broken
        for number, trial in enumerate(trials):
            for question in questions if trial.id not in broken else ():
                if (trial.id, question.id) not in answers_so_far:
                    return number, trial, question
        return len(trials), None, None

    def _state(self, log: AnswerLog) -> dict[str, Any]:
        number, trial, question = self._next(log)
        total = len(self.plan.trials_for(log.seat or 0))
        common = {"rater": log.rater, "done": number, "total": total, "undo": bool(log.events)}
        if trial is None or question is None:
            return {**common, "trial": None}
        answered = log.answers
        questions = [
            {"id": q.id, "ask": q.ask, "low": q.low, "high": q.high}
            | {"choice": answered[trial.id, q.id]["choice"] if (trial.id, q.id) in answered else None}
            for q in self.plan.questions_for(log.seat or 0)
        ]
        rules, edits = self.plan.rules, [f"{study.MEDIA}/{name}" for name in trial.edits]
        return {
            **common,
            "question": question.id,
            "questions": questions,
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
    """A whole number measured by the page, or None if it is not plausible."""
    return int(value) if type(value) in (int, float) and 0 <= value < LARGEST else None  # type: ignore[operator, arg-type]
