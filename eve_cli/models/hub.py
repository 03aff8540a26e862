"""Files of the Hugging Face Hub: found in its cache, or fetched whole, resumable and with their hashes checked.

Nothing here goes on the network but `listing` and `fetch`, and those not where `HF_HUB_OFFLINE` is set.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from eve_cli.errors import ModelError, OutputError
from eve_cli.models import bundle_manifest
from eve_cli.storage.hashing import file_sha256

PARTIAL = ".partial"


@dataclass(frozen=True)
class RemoteFile:
    """A file in a repository, as the Hub lists it."""

    path: str
    bytes: int
    sha256: str | None
    """Of a large file; a small one has the hash that git gives it."""
    git: str | None = None

    @property
    def key(self) -> str:
        """What tells its content from any other."""
        return self.sha256 or self.git or self.path.replace("/", "--")

    def matches(self, file: Path) -> bool:
        """Whether a file holds just this content; large ones are read once."""
        if file.stat().st_size != self.bytes:
            return False
        if self.sha256:
            return file_sha256(file) == self.sha256
        content = file.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return self.git in (None, blob.hexdigest())


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit."""

    repository: str
    revision: str
    """The commit's full hash."""
    licence: str | None
    files: dict[str, RemoteFile]

    def pick(self, path: str) -> RemoteFile:
        """A file; ModelError if the repository lacks it, or has it as a pickle alone."""
        if path not in self.files:
            folder_of = path.rpartition("/")[0]
            pickled = [
                n for n in self.files if n.rpartition("/")[0] == folder_of and Path(n).suffix in bundle_manifest.PICKLES
            ]
            only = f" but for a pickle ({pickled[0]}), which can run code" if pickled else ""
            raise ModelError(f"{self.repository}@{self.revision[:12]} has no {path}{only}: eve cannot use it.")
        return self.files[path]


def snapshot(repository: str, patterns: Sequence[str], *, revision: str | None = None, download: bool = False) -> Path:
    """The cached folder of a repository with the files that match; fetched only with `download` and online.

    Errors of the Hub client are not wrapped: there are dozens.
    """
    online = download and not constants.HF_HUB_OFFLINE
    folder = snapshot_download(
        repository, revision=revision, allow_patterns=list(patterns), local_files_only=not online
    )
    return Path(folder)


def cached(repository: str, path: str, revision: str) -> Path | None:
    """A file in the Hub's cache, or None."""
    file = try_to_load_from_cache(repository, path, revision=revision)
    return Path(file) if isinstance(file, str) and Path(file).is_file() else None


def commit_of(path: Path) -> str | None:
    """The commit that a file in the Hub's cache is of; None for any other file."""
    return path.parts[path.parts.index("snapshots") + 1] if "snapshots" in path.parts else None


def listing(repository: str, revision: str) -> Listing:
    """The files of a repository on the Hub; ModelError, in one sentence, if the Hub does not answer."""
    need_network(f"ask the Hub for {repository}")
    try:
        info: Any = HfApi(endpoint=constants.ENDPOINT).model_info(repository, revision=revision, files_metadata=True)
    except Exception as error:  # the Hub raises dozens of kinds
        raise ModelError(f"{repository}@{revision[:12]} could not be listed ({_reason(error)}).") from error
    card = info.card_data.to_dict() if info.card_data else {}
    files = {
        each.rfilename: RemoteFile(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else None, each.blob_id)
        for each in info.siblings or ()
    }
    return Listing(repository, info.sha, card.get("license"), files)


def fetch(listed: Listing, file: RemoteFile) -> Path:
    """A file, from the Hub's cache or from the Hub, checked; what was fetched before an interruption is kept.

    It lies in `eve`'s own folder, under its hash, until `forget` is called. ModelError if it cannot be had whole.
    """
    known = cached(listed.repository, file.path, listed.revision)
    if known is not None and file.matches(known):
        return known
    whole = bundle_manifest.home() / PARTIAL / file.key
    if whole.is_file() and file.matches(whole):
        return whole
    need_network(f"fetch {listed.repository}/{file.path}")
    part = whole.with_name(whole.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _download(listed, file, part)
    except OSError as error:
        if error.errno is not None:
            raise OutputError(f"{part.parent} cannot be written ({error.strerror}): free some space.") from error
        raise _broken_off(listed, file, error) from error
    except Exception as error:  # the Hub and the network raise dozens of kinds
        raise _broken_off(listed, file, error) from error
    if not file.matches(part):
        part.unlink()
        raise ModelError(f"{listed.repository}/{file.path} came damaged (its hash is not the Hub's): pull it again.")
    part.replace(whole)
    return whole


def at_hand(listed: Listing, file: RemoteFile) -> bool:
    """Whether a file need not be fetched, by its size; `fetch` looks at its content."""
    for place in (cached(listed.repository, file.path, listed.revision), bundle_manifest.home() / PARTIAL / file.key):
        if place is not None and place.is_file() and place.stat().st_size == file.bytes:
            return True
    return False


def _download(listed: Listing, file: RemoteFile, part: Path) -> None:
    url = f"{constants.ENDPOINT}/{listed.repository}/resolve/{listed.revision}/{quote(file.path)}"
    have = part.stat().st_size if part.exists() else 0
    if have > file.bytes:
        part.unlink()
        have = 0
    with part.open("ab") as stream:
        http_get(
            url,
            stream,
            resume_size=have,
            headers=build_hf_headers(),
            expected_size=file.bytes,
            displayed_filename=f"{listed.repository.rpartition('/')[2]}/{Path(file.path).name}",
        )


def _broken_off(listed: Listing, file: RemoteFile, error: Exception) -> ModelError:
    what = f"{listed.repository}/{file.path}"
    return ModelError(f"{what} could not be fetched ({_reason(error)}): pull again to resume the download.")


def forget(files: Iterable[Path]) -> None:
    """Deletes partial downloads that a model now contains."""
    for file in files:
        if file.parent == bundle_manifest.home() / PARTIAL:
            file.unlink(missing_ok=True)


def room(needed: int) -> None:
    """OutputError if the disk of the models has no room for so many bytes."""
    place = bundle_manifest.home()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OutputError(
            f"{needed / 1e9:.1f} GB are needed in {bundle_manifest.home()} and {free / 1e9:.1f} GB are free: "
            "make room, or set EVE_MODELS to another disk."
        )


def need_network(what: str) -> None:
    """ModelError in offline mode."""
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"Offline, so eve will not {what}: leave out --offline (HF_HUB_OFFLINE), or import a bundle.")


def _reason(error: Exception) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
