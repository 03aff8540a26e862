"""`eve rate`: collect and analyse blind human ratings."""

from __future__ import annotations

import webbrowser

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.rating.settings import AnalyzeSettings, CreateSettings, ServeSettings
from eve_cli.storage.paths import shell_word

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Collect and analyse blind human ratings.")


def create(settings: CreateSettings) -> None:
    """Prints the power estimate, then writes the study; its folder goes to stdout."""
    from eve_cli.rating import create as studies
    from eve_cli.rating import power

    draft = studies.draft(settings)
    console.say("in", f"{', '.join(draft.systems)} · {len(draft.items)} edits in common")
    if draft.skipped:
        console.say("note", f"{draft.skipped} edits are left out: a system has no result, or the source is missing")
    per_rater = min(settings.each or len(draft.trials), len(draft.trials))
    raters = settings.raters * per_rater / len(draft.trials)
    console.say("plan", f"{len(draft.trials)} trials, {per_rater} per rater, plus {len(draft.checks)} catch trials")
    console.say("power", power.describe(settings.mode, draft.trials_per_comparison, raters, len(draft.systems)))
    writer = studies.StudyWriter(settings, draft)
    bar = console.Progress("video", writer.videos, "videos")
    try:
        study = writer.write(bar.update)
    finally:
        bar.close()
    for note in study.notes:
        console.say("note", note)
    console.say("next", f"eve rate serve {shell_word(settings.out)}")
    console.result(settings.out)


def serve(settings: ServeSettings) -> None:
    """Prints the address and serves until Ctrl-C."""
    from eve_cli.rating import answers
    from eve_cli.rating.server import Server

    server = Server(settings.study, settings.port)
    console.result(server.url)
    console.say("serve", "on this computer only; anyone with the address can rate. Ctrl-C stops it.")
    if settings.open:
        webbrowser.open(server.url)
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    counts = [len(log.answers) for log in answers.read_all(settings.study)]
    console.say(
        "done", f"{sum(counts)} answers of {len(counts)} raters · eve rate analyze {shell_word(settings.study)}"
    )


def analyze(settings: AnalyzeSettings) -> None:
    """Reads the votes, writes the analysis and prints the tables."""
    from eve_cli.rating import summary
    from eve_cli.rating.votes import read_votes

    votes = read_votes(settings)
    for note in votes.notes:
        console.say("note", note)
    analysis = summary.write(votes, settings.out or settings.study)
    if settings.json:
        console.result(analysis.values, as_json=True)
    else:
        console.markdown(analysis.text)


add_command(app, "create", CreateSettings, create)
add_command(app, "serve", ServeSettings, serve)
add_command(app, "analyze", AnalyzeSettings, analyze)
