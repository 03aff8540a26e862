"""The questions to raters: three protocols of the literature, as a table."""

from __future__ import annotations

from dataclasses import dataclass

SCALE = 5


@dataclass(frozen=True)
class Question:
    """One question: a short id, the sentence on the page, and the labels of the two ends of its scale."""

    id: str
    ask: str
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class Mode:
    """A protocol: its questions, how many systems a trial shows (0 = all), and whether answers are scores."""

    name: str
    questions: tuple[Question, ...]
    shown: int
    scores: bool = False

    def choices(self, shown: int, ties: bool) -> tuple[int, ...]:
        """The possible answers to a trial with `shown` edits; 0 is a tie."""
        if self.scores:
            return tuple(range(1, SCALE + 1))
        return (*((0,) if ties else ()), *range(1, shown + 1))


MODES: dict[str, Mode] = {
    # The LOVEU-TGVE-2023 protocol, as in EVE's section 4.
    "pairwise": Mode(
        "pairwise",
        (
            Question("text", "Which video better matches the text?"),
            Question("structure", "Which video better preserves the structure of the input video?"),
            Question("quality", "Aesthetically, which video is better?"),
        ),
        shown=2,
    ),
    # Dreamix, section 5: an edit is a success where all three mean scores are above 2.
    "scores": Mode(
        "scores",
        (
            Question("quality", "How good and how smooth is the edited video?", "very bad", "very good"),
            Question("text", "How well does the edited video match the text?", "not at all", "perfectly"),
            Question("preserve", "How well are the unedited details of the input kept?", "not at all", "perfectly"),
        ),
        shown=1,
        scores=True,
    ),
    # As in the study of zero-shot score distillation: the best of all systems, for each question.
    "best": Mode(
        "best",
        (
            Question("text", "Which video matches the text best?"),
            Question("consistency", "Which video is the smoothest and steadiest?"),
            Question("preserve", "Which video best keeps what should not change?"),
        ),
        shown=0,
    ),
}
