"""Files are complete or absent, caches compute once, JSON lines end at a newline alone, hashes follow contents."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eve_cli.errors import OutputError, UsageError
from eve_cli.storage import atomic, cache, hashing, jsonl, paths


def test_an_error_leaves_the_old_file_and_the_old_folder(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.txt", tmp_path / "f"
    atomic.write_text(file, "old\r\n")
    with atomic.atomic_folder(folder) as part:
        (part / "x").write_text("old")
    with pytest.raises(RuntimeError), atomic.atomic_file(file) as part:
        part.write_text("new")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic.atomic_folder(folder) as part:
        (part / "y").write_text("new")
        raise RuntimeError
    assert file.read_bytes() == b"old\r\n" and os.listdir(folder) == ["x"]
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "f"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("x", "y"):
        with atomic.atomic_folder(tmp_path / "f") as part:
            (part / name).write_text(name)
    assert os.listdir(tmp_path / "f") == ["y"] and os.listdir(tmp_path) == ["f"]
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.txt: cannot write \(no space left on device\)"):
        atomic.write_text(tmp_path / "a.txt", "x")
    assert not os.listdir(tmp_path)


def test_a_line_ends_at_a_newline_alone(tmp_path: Path) -> None:
    path, text = tmp_path / "a.jsonl", "one\u2028two\u0085three"
    jsonl.write(path, [{"text": text}, {"text": "b"}])
    assert [row["text"] for _, row in jsonl.read(path)] == [text, "b"]
    path.write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n\n{"n": 2}')
    assert [(number, row["n"]) for number, row in jsonl.read(path)] == [(1, 1), (3, 2)]


@pytest.mark.parametrize(("line", "message"), [("{bad", "line 2 is not JSON"), ("[1]", "line 2 must be an object")])
def test_a_damaged_line_is_an_error_but_in_a_log(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 1}\n' + line)
    with pytest.raises(UsageError, match=message):
        list(jsonl.read(path, UsageError))
    jsonl.append(path, {"n": 3}, durable=True)
    assert list(jsonl.read_log(path)) == [{"n": 1}, None, {"n": 3}]
    assert list(jsonl.read_log(tmp_path / "missing")) == []


def test_a_cache_computes_once_and_again_after_damage(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> dict[str, Tensor]:
        calls.append(1)
        return {"a": torch.arange(6.0).view(2, 3).T}

    path, expected = tmp_path / "deep" / "a.safetensors", torch.arange(6.0).view(2, 3).T
    for _ in range(2):
        assert torch.equal(cache.cached(path, compute)["a"], expected) and len(calls) == 1
    path.write_bytes(b"damaged")
    assert torch.equal(cache.cached(path, compute)["a"], expected) and len(calls) == 2


def test_a_cache_that_cannot_be_written_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EVE_CACHE", str(tmp_path / "file"))
    calls: list[int] = []
    for _ in range(2):
        cache.user_cached("kind", "key", lambda: {"a": torch.zeros(len(calls.append(1) or calls))})
    assert len(calls) == 1
    with pytest.raises(OutputError, match="cannot make this folder"):
        cache.cached(tmp_path / "file" / "a.safetensors", dict)


def test_a_table_keeps_the_latest(tmp_path: Path) -> None:
    table = cache.JsonTable(tmp_path / "new" / "t.json", 2)
    for number, key in enumerate("abac"):
        table.set(key, number)
    assert [table.get(key) for key in "abc"] == [2, None, 3]
    table.path.write_text("[damaged")
    assert table.get("a") is None


def test_a_hash_follows_content_and_names(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    before, alone = hashing.content_sha256(tmp_path), hashing.content_sha256(file)
    assert alone == hashing.file_sha256(file) != before
    file.write_bytes(b"22")
    assert hashing.content_sha256(file) == hashing.file_sha256(file) != alone
    changed = hashing.content_sha256(tmp_path)
    file.rename(tmp_path / "b")
    assert len({before, changed, hashing.content_sha256(tmp_path)}) == 3
    assert hashing.json_sha256({"a": 1, "b": 2}) == hashing.json_sha256({"b": 2, "a": 1})


def test_the_environment_names_the_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in {"EVE_STATE": paths.state, "EVE_CACHE": paths.cache, "EVE_MODELS": paths.models}.items():
        monkeypatch.setenv(name, "~/own")
        assert folder() == Path.home() / "own"
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", "/x/state")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/cache")
    assert (paths.state(), paths.cache()) == (Path("/x/state/eve"), Path("/x/cache/eve"))
    assert paths.models() == Path("/x/cache/eve/models")
