"""Presets from the Hub: what would be fetched, and the bundle that comes of it, with the commit of every part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from eve_cli.errors import ModelError, UsageError
from eve_cli.models import bundle_builder, bundle_manifest, hub, presets
from eve_cli.models.bundle_builder import Part
from eve_cli.models.presets import PRESETS, Preset, Source

NEWEST = "main"


@dataclass(frozen=True)
class Row:
    """One part that a model is made of, as it is listed before the download."""

    part: str
    address: str
    """Repository and commit."""
    bytes: int
    licence: str
    here: bool
    """Whether it need not be fetched."""


def named(name: str) -> Preset:
    """The row of a preset that is made of parts of the Hub; UsageError if there is none such."""
    if name not in PRESETS or not PRESETS[name].sources:
        known = ", ".join(n for n, preset in PRESETS.items() if preset.sources)
        raise UsageError(f"{name} is nothing to pull; known are: {known}.")
    return PRESETS[name]


def with_backbone(preset: Preset, repository: str) -> Preset:
    """The preset with another Stable Diffusion 1.5 from the Hub in place of its own, `REPO` or `REPO@COMMIT`."""
    name, _, revision = repository.partition("@")
    sources = presets.backbone(name, revision or NEWEST, "see its page on the Hub")
    return replace(preset, name=derived(preset.name, name), sources={**preset.sources, **sources})


def derived(base: str, backbone: str) -> str:
    """The name of a model that is `base` with another backbone."""
    return f"{base}+{backbone.replace('/', '--')}"


def derived_folder(base: str, repository: str) -> Path:
    """Where `base` with the backbone of a repository lies; ModelError with what to do if it was not pulled."""
    place = bundle_manifest.home() / derived(base, repository.partition("@")[0])
    if not (place / bundle_manifest.MANIFEST).is_file():
        raise ModelError(
            f"{repository} is no path, and was not pulled: eve models pull {base} --backbone {repository} fetches it."
        )
    return place


def have(preset: Preset) -> bundle_manifest.Manifest | None:
    """The model on this machine, if it has exactly these commits."""
    place = bundle_manifest.home() / preset.name
    if not (place / bundle_manifest.MANIFEST).is_file():
        return None
    manifest = bundle_manifest.read(place)
    for part, source in preset.sources.items():
        stored = manifest.sources.get(part, {})
        same = stored.get("repository") == source.repository
        if not same or source.revision not in (NEWEST, stored.get("revision")):
            return None
    return manifest


class Pull:
    """The download of a preset: what the Hub lists, and what has to be fetched.

    Offline, everything must be in the Hub's cache; then no request is sent.
    """

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.offline = hub.constants.HF_HUB_OFFLINE
        self.listings: dict[tuple[str, str], hub.Listing] = {}
        if not self.offline:
            self.listings = {
                key: hub.listing(*key)
                for key in dict.fromkeys((s.repository, s.revision) for s in preset.sources.values())
            }

    def rows(self) -> list[Row]:
        """Each part with its commit, exact size and licence, where the Hub was queried."""
        rows = []
        for part, source in self.preset.sources.items():
            listed = self.listings.get((source.repository, source.revision))
            if listed is None:
                size = sum(file.stat().st_size for file in _from_cache(source).values())
                rows.append(Row(part, source.address, size, source.licence, True))
                continue
            files = [listed.pick(path) for path in self._paths(source, listed).values()]
            here = all(hub.at_hand(listed, file) for file in files)
            address = f"{source.repository}@{listed.revision[:12]}"
            licence = listed.licence or source.licence
            rows.append(Row(part, address, sum(file.bytes for file in files), licence, here))
        return rows

    def run(self, said: Callable[[str], None] = lambda text: None) -> Path:
        """Fetches what is missing and makes the bundle; an interrupted download is kept."""
        hub.room(sum(row.bytes for row in self.rows() if not row.here))
        parts: dict[str, Part] = {}
        for part, source in self.preset.sources.items():
            said(f"{bundle_manifest.FOLDERS[part]} from {source.address}")
            parts[part] = self._part(source)
        preset = self.preset
        schedules = {"schedule": preset.schedule, "image_schedule": preset.image_schedule}
        configs = {name: config for name, config in schedules.items() if config}
        folder = bundle_builder.make(preset.name, parts, preset.settings, configs)
        hub.forget(file for part in parts.values() for file in part.files.values())
        return folder

    def _part(self, source: Source) -> Part:
        listed = self.listings.get((source.repository, source.revision))
        if listed is None:
            files = _from_cache(source)
            revision = hub.commit_of(next(iter(files.values()))) or source.revision
        else:
            files = {n: hub.fetch(listed, listed.pick(path)) for n, path in self._paths(source, listed).items()}
            revision = listed.revision
        origin = {"repository": source.repository, "revision": revision, "licence": source.licence}
        return Part(files, config=source.config, source=origin)

    def _paths(self, source: Source, listed: hub.Listing) -> Mapping[str, str]:
        """The files that a part is made of; half precision where a repository has it."""
        return {name: path if path in listed.files else _full(path) for name, path in source.files.items()}


def _full(path: str) -> str:
    return path.replace(".fp16.", ".")


def _from_cache(source: Source) -> dict[str, Path]:
    cached = {}
    for name, path in source.files.items():
        file = hub.cached(source.repository, path, source.revision)
        file = file or hub.cached(source.repository, _full(path), source.revision)
        if file is None:
            missing = f"{source.repository}/{path}"
            raise ModelError(f"Offline, and {missing} is not in the Hub's cache: pull it online, or import a bundle.")
        cached[name] = file
    return cached
