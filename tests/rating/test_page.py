"""The page in a real browser, as a rater meets it: play, answer by keys, close the tab, resume, finish, analyse."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from eve_cli.cli.app import run
from eve_cli.rating import answers
from eve_cli.rating.server import Server
from tests.rating.studies import CAPTION, INSTRUCTION, make_study

pytest.importorskip("uvicorn", reason="the extra `rate` is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
CHROMIUM = os.environ.get("EVE_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
DESKTOP = (1280, 800)
MODES = {"pairwise": ("ours", "theirs"), "scores": ("ours", "theirs"), "best": ("ours", "b", "c", "d")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (or name it in EVE_CHROMIUM)")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield opened
        opened.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a study while it is served."""
    server = Server(folder)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(30)


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens tabs of one person; what the browser complains about, or asks other hosts for, fails the test."""
    context = browser.new_context()
    problems: list[str] = []

    def opened(url: str) -> Any:
        page = context.new_page()
        page.set_viewport_size(dict(zip(("width", "height"), DESKTOP, strict=True)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((url, "data:")) else problems.append(asked.url))
        page.goto(url)
        return page

    yield opened
    context.close()
    assert not problems


def begin(page: Any, name: str = "") -> None:
    if name:
        page.fill("#name", name)
    page.keyboard.press("Enter") if name else page.click("#begin button")
    page.wait_for_selector("#trial:not([hidden])")


def settled(page: Any) -> None:
    page.wait_for_selector("#answer[aria-busy=false]", state="attached")


def answer(page: Any, key: str) -> None:
    """Waits until the videos have played, presses a key, and waits for the next question."""
    page.wait_for_selector("#choices button:enabled")
    with page.expect_response("**/answer"):
        page.keyboard.press(key)
    settled(page)


@pytest.mark.slow
def test_a_rater_from_start_to_analysis(tmp_path: Path, new_page: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study(tmp_path, MODES["pairwise"], 1, real=True)
    with served(folder) as url:
        page = new_page(url)
        assert "3 questions on each of 4" in page.inner_text("#welcome")
        begin(page, "Ann")
        page.keyboard.press("1")  # too early: nothing has played yet
        assert page.inner_text("#hint") == "Watch once, then answer."
        assert (page.inner_text("#caption"), page.inner_text("#instruction")) == (CAPTION, INSTRUCTION)
        answer(page, "1")
        answer(page, "2")
        page.keyboard.press("3")  # no such answer here
        page.close()
        events = answers.read(answers.path_of(folder, "ann")).events
        assert [line["choice"] for line in events] == [1, 2] and events[0]["replays"] >= 1 and events[0]["rt_ms"] > 500

        page = new_page(url)
        assert page.input_value("#name") == "Ann"
        begin(page)
        assert page.inner_text("#position") == "1 of 4" and page.locator("#steps li.done").count() == 2
        with page.expect_response("**/undo"):
            page.keyboard.press("z")
        settled(page)
        assert page.locator("#steps li.done").count() == 1
        for _ in range(2):
            answer(page, "1")
        assert page.inner_text("#position") == "2 of 4"
        with page.expect_response("**/broken"):
            page.keyboard.press("n")
        for _ in range(6):
            answer(page, "2")
        page.wait_for_selector("#end:not([hidden])")
        assert "Done" in page.inner_text("#end") and page.title() == "Rating"
    assert run(["rate", "analyze", str(folder), "--json"]) == 0
    (rater,) = json.loads(capsys.readouterr().out)["raters"]
    assert (rater["name"], rater["votes"], rater["broken"], rater["first"][0]) == ("ann", 9, 1, pytest.approx(3 / 9))


def test_all_videos_keep_one_clock_under_every_key(tmp_path: Path, new_page: Any) -> None:
    with served(make_study(tmp_path, MODES["pairwise"], 1, real=True)) as url:
        page = new_page(url)
        begin(page, "Ann")
        page.wait_for_selector("#choices button:enabled")

        def videos(what: str) -> list[Any]:
            return page.evaluate(f"[...document.querySelectorAll('video')].map((video) => video.{what})")

        apart = []
        for _ in range(5):
            page.wait_for_timeout(70)
            times = videos("currentTime")
            apart.append(max(times) - min(times))
        assert len(times) == 3 and median(apart) < 0.1  # a busy machine may stall a frame
        page.keyboard.press(" ")
        assert videos("paused") == [True] * 3 and page.inner_text("#playing") == "Play"
        page.keyboard.press("r")
        page.keyboard.press(" ")
        page.evaluate("clock.seek(0)")
        for key, frame in ((".", 1), (".", 2), (",", 1), (",", 0), (",", 0)):
            page.keyboard.press(key)
            assert videos("currentTime") == [pytest.approx((frame + 0.5) / 10, abs=1e-3)] * 3
        page.keyboard.press("s")
        assert videos("playbackRate") == [0.5] * 3
        page.keyboard.press(" ")
        assert videos("paused") == [False] * 3


@pytest.mark.parametrize("mode", MODES)
def test_everything_is_in_sight(mode: str, tmp_path: Path, new_page: Any) -> None:
    ties = mode != "scores"
    with served(make_study(tmp_path, MODES[mode], 1, real=True, mode=mode, ties=ties)) as url:
        page = new_page(url)
        begin(page, "Ann")
        page.wait_for_selector("#choices button:enabled")
        for width, height in (DESKTOP, (390, 780)):
            page.set_viewport_size({"width": width, "height": height})
            for box in (each.bounding_box() for each in page.locator("#trial video, #trial button").all()):
                assert box["x"] >= 0 and box["y"] >= 0 and box["width"] > 20 and box["height"] > 20
                assert box["x"] + box["width"] <= width and box["y"] + box["height"] <= height
        assert page.locator("#choices button").count() == {"pairwise": 3, "scores": 5, "best": 5}[mode]
        answer(page, "0" if ties else "5")
        answer(page, "1")


def test_a_video_that_does_not_play_is_said_and_passed_over(tmp_path: Path, new_page: Any) -> None:
    folder = make_study(tmp_path, MODES["pairwise"], 1, real=True)
    for video in (folder / "m").iterdir():
        video.write_bytes(b"not a video")
    with served(folder) as url:
        page = new_page(url)
        begin(page, "Ann")
        expect(page.locator("#hint")).to_contain_text("does not play")
        page.keyboard.press("1")
        page.keyboard.press("n")
        expect(page.locator("#position")).to_have_text("2 of 4")
    log = answers.read(answers.path_of(folder, "ann"))
    assert not log.answers and len(log.broken) == 1


def test_an_answer_that_cannot_be_kept_is_said(tmp_path: Path, browser: Any) -> None:
    folder = make_study(tmp_path, MODES["pairwise"], 1, real=True)
    page = browser.new_page()
    with served(folder) as url:
        page.goto(url)
        begin(page, "Ann")
        page.wait_for_selector("#choices button:enabled")
    page.keyboard.press("1")
    expect(page.locator("#hint")).to_contain_text("No reply")
    assert page.locator("#steps li.done").count() == 0
    page.close()
