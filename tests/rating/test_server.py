"""The rater's page against those who should not see it: nothing leaks."""

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eve_cli.rating import study
from eve_cli.rating.server import Server, page
from tests.rating.studies import CAPTION, INSTRUCTION, make_study

pytest.importorskip("uvicorn", reason="the extra `rate` is not installed")
pytest.importorskip("starlette", reason="the extra `rate` is not installed")


class Visitor:
    """Asks a served study for things."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.host = folder, urlsplit(url).netloc
        self.token = urlsplit(url).path.strip("/")

    def ask(
        self, path: str, method: str = "GET", body: object = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of a reply; `path` is below the token unless it starts with a slash."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        held = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if held is not None:
            given = {"content-type": "application/json", **given}
        whole = path if path.startswith("/") else f"/{self.token}/{path}"
        connection.request(method, whole, held, given)
        reply = connection.getresponse()
        found = reply.status, reply.msg, reply.read()
        connection.close()
        return found


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    folder = make_study(tmp_path_factory.mktemp("study"), ("ours", "theirs"), 1, real=True)
    server = Server(folder)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield Visitor(folder, server.url)
    server.stop()
    thread.join(30)
    assert not thread.is_alive()


def a_video(visitor: Visitor) -> tuple[str, bytes]:
    name = sorted(study.load(visitor.folder).media)[0]
    return f"{study.MEDIA}/{name}", (visitor.folder / study.MEDIA / name).read_bytes()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("//", 404),
        ("/wrong-token/", 404),
        ("/wrong-token/about", 404),
        ("/m/{video}", 404),
        ("/{token}x/", 404),
        ("/{token}", 404),
        ("key.json", 404),
        ("plan.json", 404),
        ("answers-ann.jsonl", 404),
        ("m/", 404),
        ("m/../key.json", 404),
        ("m/..%2fkey.json", 404),
        ("m/%2e%2e/key.json", 404),
        ("m/..%5ckey.json", 404),
        ("m/%00", 404),
        ("//etc/passwd", 404),
        ("start", 405),
        ("docs", 404),
        ("openapi.json", 404),
    ],
)
def test_what_is_not_for_raters_is_not_there(path: str, status: int, visitor: Visitor) -> None:
    video = a_video(visitor)[0].split("/")[1]
    code, _, body = visitor.ask(path.format(token=visitor.token, video=video))
    assert code == status and b"ours" not in body and b"{" not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:80", "localhost.evil:1", "[::1]:80", ""]
)
@pytest.mark.parametrize("path", ["", "about", "{video}"])
def test_another_host_name_gets_nothing(host: str, path: str, visitor: Visitor) -> None:
    status, _, body = visitor.ask(path.format(video=a_video(visitor)[0]), Host=host)
    assert (status, body) == (421, b"Not here.")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1"])
def test_another_site_cannot_speak_for_a_rater(origin: str, visitor: Visitor) -> None:
    assert visitor.ask("start", "POST", {"rater": "mallory"}, Origin=origin)[0] == 403
    assert visitor.ask("start", "POST", b'{"rater":"mallory"}', content_type="text/plain")[0] == 415
    assert not list(visitor.folder.glob("answers-mallory*"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 10_000, 400),
        (b'{"rater": "' + b"x" * 20_000 + b'"}', 413),
        (b"{}", 422),
        (b'{"rater": "../../x"}', 422),
        (b'{"rater": "meta_copy", "trial": "t0001"}', 422),
    ],
)
def test_bad_sayings_are_refused_in_words(body: bytes, status: int, visitor: Visitor) -> None:
    code, _, reply = visitor.ask("answer", "POST", body)
    assert code == status and b"Traceback" not in reply and str(visitor.folder).encode() not in reply


def test_every_reply_has_the_safe_headers(visitor: Visitor) -> None:
    for path in ("", "about", a_video(visitor)[0], "nothing", "/"):
        _, headers, _ = visitor.ask(path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers and "server" not in headers


def test_the_page_is_one_file_and_holds_nobodys_text(visitor: Visitor) -> None:
    status, headers, body = visitor.ask("")
    text = body.decode()
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert text == page()[0] and CAPTION not in text and INSTRUCTION not in text
    assert not [
        word for word in ("src=", "http:", "https:", "//cdn", "innerHTML", "insertAdjacentHTML") if word in text
    ]


def test_parts_of_a_video_can_be_asked_for(visitor: Visitor) -> None:
    path, whole = a_video(visitor)
    status, headers, body = visitor.ask(path)
    assert (status, body, headers["accept-ranges"], headers["content-type"]) == (200, whole, "bytes", "video/mp4")
    status, headers, body = visitor.ask(path, Range="bytes=10-19")
    assert (status, body) == (206, whole[10:20]) and headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert visitor.ask(path, Range="bytes=-5")[2] == whole[-5:]
    assert visitor.ask(path, Range=f"bytes={len(whole)}-")[0] == 416


def test_an_old_tab_is_shown_the_open_question(visitor: Visitor) -> None:
    _, _, body = visitor.ask("start", "POST", {"rater": "ann"})
    first = json.loads(body)
    said = {"rater": "ann", "trial": first["trial"]["id"], "question": first["question"]}
    assert visitor.ask("answer", "POST", {**said, "choice": 1})[0] == 200
    status, _, body = visitor.ask("answer", "POST", {**said, "choice": 2})
    assert status == 409 and json.loads(body)["state"]["question"] != first["question"]


def test_two_at_the_same_time_leave_one_answer_each(visitor: Visitor) -> None:
    first = json.loads(visitor.ask("start", "POST", {"rater": "twin"})[2])
    said = {"rater": "twin", "trial": first["trial"]["id"], "question": first["question"]}
    replies: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: replies.append(visitor.ask("answer", "POST", {**said, "choice": n})[0]))
        for n in (1, 2, 1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies) == [200, 200, 409, 409]
    assert (visitor.folder / "answers-twin.jsonl").read_bytes().count(b'"answer"') == 1


def test_the_command_serves_until_ctrl_c_and_says_what_came_in(visitor: Visitor) -> None:
    words = [sys.executable, "-m", "eve_cli", "rate", "serve", str(visitor.folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        own = Visitor(visitor.folder, process.stdout.readline().strip())
        assert own.host.startswith("127.0.0.1:") and len(own.token) >= 32 and own.token != visitor.token
        assert json.loads(own.ask("start", "POST", {"rater": "command"})[2])["rater"] == "command"
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[1]
    assert process.returncode == 0 and "Traceback" not in output
    assert f"eve rate analyze {visitor.folder}" in output.splitlines()[-1]
