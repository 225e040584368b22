"""The vendors' answers as they came. What belongs here: keeping, finding and removing them.

Every answer that a fetch rests on is kept once, compressed, under the hash of its content; a
manifest a fetch lists its requests with these hashes, what it was for and when. With it the fetch
can be repeated later without the vendor (``Replay``), to the same rows. What does not belong here:
what an answer means (the clients).

Layout below the root: ``blobs/ab/abcd....gz`` and ``manifests/us.prices/FIRST__LAST__WHEN.json``.
"""

import gzip
import hashlib
import json
import os
import threading
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from quant_assets.errors import BadConfigurationError, BadDataError
from quant_assets.vendors.redaction import SECRET_PARAMETERS, redact, redact_bytes

KEPT_HEADERS = ("Content-Type", "ETag", "Last-Modified")
UNKEPT_STATUSES = frozenset({401, 403, 408, 429}) | frozenset(range(500, 600))
"""What says nothing of the data: refusals and failures, which a client asks again anyway."""
STAMP = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class Answer:
    """One answer of a vendor; ``headers`` holds ``KEPT_HEADERS`` that were there."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Scope:
    """What a fetch was for: its partitions from ``first`` to ``last``, at the time ``now``."""

    first: str
    last: str
    now: datetime


class NotKeptError(BadDataError):
    """A kept fetch has no answer to a request: it was not part of it."""


class Tape(Protocol):
    """What a transport asks before it goes to the vendor, and tells after."""

    @property
    def is_closed(self) -> bool:
        """Whether the vendor must not be asked at all."""

    def find(self, request: str) -> Answer | None:
        """The answer to give instead of asking the vendor, or ``None`` to ask."""

    def note(self, request: str, answer: Answer) -> None:
        """Take notice of the vendor's answer."""


def request_key(url: str, params: Mapping[str, object] | None = None) -> str:
    """Name of a request: path and parameters without secrets, and the host unless it is local.

    So the key of a user does not get into the archive, and a local stand-in for a vendor may
    change its port.
    """
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True)]
    query += [(name, str(value)) for name, value in (params or {}).items()]
    shown = sorted((n, v) for n, v in query if n.lower() not in SECRET_PARAMETERS)
    host = parts.hostname or ""
    place = "" if is_local(host) else f"//{host}"
    return f"{place}{parts.path or '/'}" + (f"?{urlencode(shown)}" if shown else "")


class RawArchive:
    """Raw answers below ``root``; ``secrets`` are masked in everything that is written."""

    def __init__(self, root: Path, secrets: Sequence[str] = ()) -> None:
        self.root = root
        self._secrets = tuple(secrets)

    def record(self, scope: Scope) -> "Recording":
        """Begin to keep the answers of a fetch."""
        return Recording(self, scope)

    def replay(self, asset: str, first: str, last: str) -> "Replay":
        """The newest kept fetch that covers a range, ready to answer in the vendor's place.

        Raises ``BadConfigurationError`` if none is kept.
        """
        covering = [m for m in self.manifests(asset) if m.first <= first and last <= m.last]
        if not covering:
            raise BadConfigurationError(
                f"{asset} {first} .. {last}: no raw answers are kept for it "
                "(QUANT_RAW_RETENTION_DAYS); materialize it, which asks the vendor"
            )
        return Replay(self, covering[-1])

    def manifests(self, asset: str) -> list["Manifest"]:
        """Kept fetches of an asset, oldest first, by their names alone."""
        folder = self._manifests(asset)
        found = []
        for path in folder.glob("*.json"):
            first, last, when = path.stem.split("__")
            saved_at = datetime.strptime(when, STAMP).replace(tzinfo=UTC)
            found.append(Manifest(path, first, last, saved_at))
        return sorted(found, key=lambda manifest: manifest.saved_at)

    def assets(self) -> list[str]:
        """Assets with kept fetches."""
        folder = self.root / "manifests"
        return sorted(p.name.replace(".", "/") for p in folder.iterdir()) if folder.exists() else []

    def put(self, body: bytes) -> str:
        """Keep a body once; returns its hash. What is kept already is marked as used again."""
        digest = hashlib.sha256(body).hexdigest()
        path = self._blob(digest)
        try:
            os.utime(path)
        except FileNotFoundError:
            _write(path, gzip.compress(body, 6, mtime=0))
        return digest

    def get(self, digest: str) -> bytes:
        """A kept body. Raises ``BadDataError`` if it is gone or damaged, naming the file."""
        path = self._blob(digest)
        try:
            body = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise BadDataError(f"the raw answer {path} cannot be read: {error}") from error
        if hashlib.sha256(body).hexdigest() != digest:
            raise BadDataError(f"the raw answer {path} is damaged: its content has another hash")
        return body

    def save(self, asset: str, scope: Scope, entries: Iterable["Entry"]) -> Path:
        """Write the manifest of a fetch."""
        when = datetime.now(UTC).strftime(STAMP)
        path = self._manifests(asset) / f"{scope.first}__{scope.last}__{when}.json"
        content = {
            "asset": asset,
            "first": scope.first,
            "last": scope.last,
            "now": scope.now.isoformat(),
            "entries": [asdict(entry) for entry in entries],
        }
        text = redact(json.dumps(content, indent=1), self._secrets)
        _write(path, text.encode())
        return path

    def mask(self, body: bytes) -> bytes:
        """A body without the secrets."""
        return redact_bytes(body, self._secrets)

    def prune(self, before: datetime, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove the fetches saved before a time and the bodies that no other needs.

        Returns how many files and bytes. A body touched since stays, because a fetch in progress
        may be about to name it.
        """
        old, kept = [], set()
        for asset in self.assets():
            for manifest in self.manifests(asset):
                if manifest.saved_at < before:
                    old.append(manifest.path)
                else:
                    kept |= {entry.sha256 for entry in manifest.load()[1]}
        limit = before.timestamp()
        for path in (self.root / "blobs").glob("*/*.gz"):
            if path.stem not in kept and path.stat().st_mtime < limit:
                old.append(path)
        size = sum(path.stat().st_size for path in old)
        if not dry_run:
            for path in old:
                path.unlink(missing_ok=True)
        return len(old), size

    def prune_daily(self, now: datetime, retention_days: int) -> None:
        """Prune once a day, whoever comes first."""
        marker = self.root / ".pruned"
        today = now.date().isoformat()
        if marker.exists() and marker.read_text(encoding="utf-8") == today:
            return
        self.prune(now - timedelta(days=retention_days))
        _write(marker, today.encode())

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / digest[:2] / f"{digest}.gz"

    def _manifests(self, asset: str) -> Path:
        return self.root / "manifests" / asset.replace("/", ".")


@dataclass(frozen=True)
class Entry:
    """One request of a fetch and where its answer lies."""

    request: str
    status: int
    headers: dict[str, str]
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """One kept fetch."""

    path: Path
    first: str
    last: str
    saved_at: datetime

    def load(self) -> tuple[Scope, list[Entry]]:
        """What it was for and its answers. Raises ``BadDataError`` for a damaged manifest."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            now = datetime.fromisoformat(content["now"])
            entries = [Entry(**entry) for entry in content["entries"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadDataError(f"the manifest {self.path} cannot be read: {error!r}") from error
        return Scope(content["first"], content["last"], now), entries


class Recording:
    """Keeps the answers of one fetch; of a request asked twice the last answer counts."""

    is_closed = False

    def __init__(self, archive: RawArchive, scope: Scope) -> None:
        self.scope = scope
        self.archive = archive
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def find(self, request: str) -> Answer | None:
        """Always ``None``: the vendor is asked."""
        return None

    def note(self, request: str, answer: Answer) -> None:
        """Keep an answer, unless it is a refusal or a failure."""
        if answer.status in UNKEPT_STATUSES:
            return
        body = self.archive.mask(answer.body)
        entry = Entry(
            request, answer.status, dict(answer.headers), self.archive.put(body), len(body)
        )
        with self._lock:
            self._entries[request] = entry

    def save(self, asset: str) -> Path:
        """Write the manifest; without it the answers are not found again."""
        with self._lock:
            entries = list(self._entries.values())
        return self.archive.save(asset, self.scope, entries)


class Replay:
    """Answers from a kept fetch; asks nobody."""

    is_closed = True

    def __init__(self, archive: RawArchive, manifest: Manifest) -> None:
        self._archive = archive
        self.manifest = manifest
        self.scope, entries = manifest.load()
        self._entries = {entry.request: entry for entry in entries}

    def find(self, request: str) -> Answer:
        """The kept answer. Raises ``NotKeptError`` for a request that was not part of the fetch."""
        entry = self._entries.get(request)
        if entry is None:
            raise NotKeptError(
                f"the kept fetch {self.manifest.path.name} has no answer to {request}: the "
                "settings have changed since; materialize the partition, which asks the vendor"
            )
        return Answer(entry.status, entry.headers, self._archive.get(entry.sha256))

    def note(self, request: str, answer: Answer) -> None:
        """Nothing: the answer is kept already."""


class NoTape:
    """Keeps nothing and finds nothing."""

    is_closed = False

    def __init__(self, scope: Scope | None = None) -> None:
        self.scope = scope or Scope("", "", datetime.now(UTC))

    def find(self, request: str) -> Answer | None:
        """Always ``None``: the vendor is asked."""
        return None

    def note(self, request: str, answer: Answer) -> None:
        """Nothing."""


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers of an answer that clients read."""
    values = ((name, headers.get(name)) for name in KEPT_HEADERS)
    return {name: value for name, value in values if value}


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadDataError(
            f"the raw answer {path} could not be written: {error}; free space there, or set "
            "QUANT_RAW_RETENTION_DAYS=0 to keep none"
        ) from error


def is_local(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
