"""`eve rate`: let people judge edits, blind, and count what they say."""

from __future__ import annotations

import json
import webbrowser

import typer

from eve_cli.cli import console
from eve_cli.cli.options import add_command
from eve_cli.rating.settings import MakeSettings, ServeSettings, TallySettings

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Let people judge edits, blind.")


def make(settings: MakeSettings) -> None:
    """Says what the votes can show, then writes the study; its folder goes to stdout."""
    from eve_cli.rating import create as making
    from eve_cli.rating import power

    drafted = making.draft(settings)
    console.say("in", f"{', '.join(drafted.systems)} · {len(drafted.items)} edits in common")
    if drafted.left_out:
        console.say(
            "note", f"{drafted.left_out} edits are left out: not all systems have them, or the source is missing"
        )
    seen = min(settings.each or len(drafted.trials), len(drafted.trials))
    raters = settings.raters * seen / len(drafted.trials)
    console.say(
        "plan", f"{len(drafted.trials)} trials, {seen} a rater, and {len(drafted.checks)} catch trials for each"
    )
    console.say("power", power.told(settings.mode, drafted.rated, raters, len(drafted.systems)))
    writer = making.Writer(settings, drafted)
    bar = console.Progress("video", writer.videos, "videos")
    try:
        written = writer.write(bar.update)
    finally:
        bar.close()
    for note in written.notes:
        console.say("note", note)
    console.say("next", f"eve rate serve {settings.out}")
    console.result(settings.out)


def serve(settings: ServeSettings) -> None:
    """Prints the address and serves until Ctrl-C."""
    from eve_cli.rating import answers
    from eve_cli.rating.server import Server

    server = Server(settings.study, settings.port)
    console.result(server.url)
    console.say("serve", "on this computer only; whoever has the address can rate. Ctrl-C ends it.")
    if settings.open:
        webbrowser.open(server.url)
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    counts = [len(log.answers) for log in answers.read_all(settings.study)]
    console.say("done", f"{sum(counts)} answers of {len(counts)} raters · eve rate tally {settings.study}")


def tally(settings: TallySettings) -> None:
    """Counts, writes the files and prints the tables."""
    from eve_cli.rating import analyze as counting
    from eve_cli.rating import summary

    counted = counting.count(settings)
    for note in counted.notes:
        console.say("note", note)
    told = summary.write(counted, settings.out or settings.study)
    console.result(json.dumps(told.values) if settings.json else told.text)


add_command(app, "make", MakeSettings, make)
add_command(app, "serve", ServeSettings, serve)
add_command(app, "tally", TallySettings, tally)
