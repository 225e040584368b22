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
import re
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from quant_assets.errors import BadConfigurationError, BadDataError, QuantAssetsError
from quant_assets.vendors.archive_files import locked, remove, touched, write_whole
from quant_assets.vendors.redaction import SECRET_PARAMETERS, redact, redact_bytes

VENDOR_KEYS = ("apikey", "api_key", "crumb")
"""Parameters that say who asks and not what."""
KEPT_HEADERS = ("Content-Type", "ETag", "Last-Modified")
UNKEPT_STATUSES = frozenset({401, 403, 408, 429}) | frozenset(range(500, 600))
"""What says nothing of the data: refusals and failures, which a client asks again anyway."""
STAMP = "%Y%m%dT%H%M%S%fZ"
LONGEST_FETCH = timedelta(days=1)
"""A body this young is never removed: a fetch in progress may be about to name it."""
_HASH = re.compile(rb"\b[0-9a-f]{64}\b")


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


class UnreadableArchiveError(QuantAssetsError):
    """A kept answer or manifest is damaged; no ``BadDataError``, which clients may survive."""


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
    """Name of a request: host unless it is local, path, and parameters without secrets.

    So the key of a user does not get into the archive, and a local stand-in for a vendor may
    change its port. Of other secrets, which tell two feeds apart, a hash stays.
    """
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True)]
    query += [(name, str(value)) for name, value in (params or {}).items()]
    shown = sorted((n, _unsecret(n, v)) for n, v in query if n.lower() not in VENDOR_KEYS)
    host = parts.hostname or ""
    port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    place = "" if is_local(host) else f"//{host}{port}"
    return f"{place}{parts.path or '/'}" + (f"?{urlencode(shown)}" if shown else "")


def _unsecret(name: str, value: str) -> str:
    if name.lower() not in SECRET_PARAMETERS:
        return value
    return hashlib.sha256(value.encode()).hexdigest()[:8]


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
        """Kept fetches of an asset, oldest first, by their names alone; other files are ignored."""
        found = []
        for path in self._manifests(asset).glob("*.json"):
            try:
                first, last, when = path.stem.split("__")
                saved_at = datetime.strptime(when, STAMP).replace(tzinfo=UTC)
            except ValueError:
                continue
            found.append(Manifest(path, first, last, saved_at))
        return sorted(found, key=lambda manifest: manifest.saved_at)

    def assets(self) -> list[str]:
        """Assets with kept fetches."""
        folders = (self.root / "manifests").glob("*/")
        return sorted(folder.name.replace(".", "/") for folder in folders)

    def put(self, body: bytes) -> str:
        """Keep a body once; returns its hash. What is kept already is marked as used again.

        A damaged file is written anew. Raises ``OSError`` where the disk refuses.
        """
        digest = hashlib.sha256(body).hexdigest()
        path = self._blob(digest)
        with locked(self.root, is_shared=True):
            try:
                os.utime(path)
                is_kept = gzip.decompress(path.read_bytes()) == body
            except (OSError, EOFError, zlib.error):
                is_kept = False
            if not is_kept:
                write_whole(path, gzip.compress(body, 6, mtime=0))
        return digest

    def get(self, digest: str) -> bytes:
        """A kept body. Raises ``UnreadableArchiveError`` if it is gone or damaged."""
        path = self._blob(digest)
        try:
            body = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            problem = f"cannot be read: {error}"
        else:
            if hashlib.sha256(body).hexdigest() == digest:
                return body
            problem = "is damaged: its content has another hash"
        raise UnreadableArchiveError(
            f"the raw answer {path} {problem}; materialize the partitions again, which asks the "
            "vendor"
        )

    def save(self, asset: str, scope: Scope, entries: Iterable["Entry"]) -> Path:
        """Write the manifest of a fetch. Raises ``OSError`` where the disk refuses."""
        when = datetime.now(UTC).strftime(STAMP)
        path = self._manifests(asset) / f"{scope.first}__{scope.last}__{when}.json"
        content = {
            "asset": asset,
            "first": scope.first,
            "last": scope.last,
            "now": scope.now.isoformat(),
            "entries": [asdict(entry) for entry in entries],
        }
        write_whole(path, json.dumps(content, indent=1).encode())
        return path

    def mask_text(self, text: str) -> str:
        """A request or a header without the secrets."""
        return redact(text, self._secrets)

    def mask(self, body: bytes) -> bytes:
        """A body without the secrets."""
        return redact_bytes(body, self._secrets)

    def prune(self, before: datetime, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove the fetches saved before a time, and the bodies older than it that none names.

        Returns how many files and bytes. A body younger than ``LONGEST_FETCH`` stays, because a
        fetch in progress may be about to name it; so do the bodies of a damaged manifest.
        """
        old: list[Path] = []
        kept: set[str] = set()
        for asset in self.assets():
            for manifest in self.manifests(asset):
                if manifest.saved_at < before:
                    old.append(manifest.path)
                else:
                    kept |= manifest.hashes()
        count, size = remove(old, dry_run=dry_run)
        limit = min(before, datetime.now(UTC) - LONGEST_FETCH).timestamp()
        unnamed = [p for p in (self.root / "blobs").glob("*/*.gz") if p.stem not in kept]
        unfinished = (self.root / "blobs").glob("*/.*.tmp")
        with locked(self.root, is_shared=False):
            stale = [p for p in (*unnamed, *unfinished) if touched(p) < limit]
            more, bytes_more = remove(stale, dry_run=dry_run)
        return count + more, size + bytes_more

    def prune_daily(self, now: datetime, retention_days: int) -> None:
        """Prune once a day, whoever comes first. Raises ``OSError`` where the disk refuses."""
        marker = self.root / ".pruned"
        today = now.date().isoformat().encode()
        if marker.exists() and marker.read_bytes() == today:
            return
        self.prune(now - timedelta(days=retention_days))
        write_whole(marker, today)

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
        """What it was for and its answers. Raises ``UnreadableArchiveError`` if it is damaged."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            now = datetime.fromisoformat(content["now"]).astimezone(UTC)
            entries = [Entry(**entry) for entry in content["entries"]]
            scope = Scope(str(content["first"]), str(content["last"]), now)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnreadableArchiveError(
                f"the manifest {self.path} cannot be read: {error!r}; remove it, and an older "
                "fetch of the same partitions is used if one is kept"
            ) from None
        return scope, entries

    def hashes(self) -> set[str]:
        """The bodies that it names, also if it is damaged. Raises ``OSError`` if unreadable."""
        with suppress(FileNotFoundError):
            return {digest.decode() for digest in _HASH.findall(self.path.read_bytes())}
        return set()


class Recording:
    """Keeps the answers of one fetch; of a request asked twice the last answer counts.

    A disk that refuses to keep them is no reason to lose the rows: recording then ends, and
    ``problem`` says why.
    """

    is_closed = False

    def __init__(self, archive: RawArchive, scope: Scope) -> None:
        self.scope = scope
        self.archive = archive
        self.problem = ""
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def find(self, request: str) -> None:
        """Nothing: the vendor is asked."""

    def note(self, request: str, answer: Answer) -> None:
        """Keep an answer, unless it is a refusal or a failure."""
        if answer.status in UNKEPT_STATUSES or self.problem:
            return
        body = self.archive.mask(answer.body)
        try:
            digest = self.archive.put(body)
        except OSError as error:
            self.problem = _refusal(error)
            return
        mask = self.archive.mask_text
        headers = {name: mask(value) for name, value in answer.headers.items()}
        entry = Entry(mask(request), answer.status, headers, digest, len(body))
        with self._lock:
            self._entries[request] = entry

    def save(self, asset: str) -> Path | None:
        """Write the manifest, without which the answers are not found again.

        ``None`` if not all of them could be kept.
        """
        if self.problem:
            return None
        with self._lock:
            entries = list(self._entries.values())
        try:
            return self.archive.save(asset, self.scope, entries)
        except OSError as error:
            self.problem = _refusal(error)
            return None


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
        request = self._archive.mask_text(request)
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

    def find(self, request: str) -> None:
        """Nothing: the vendor is asked."""

    def note(self, request: str, answer: Answer) -> None:
        """Nothing."""


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers of an answer that clients read."""
    values = ((name, headers.get(name)) for name in KEPT_HEADERS)
    return {name: value for name, value in values if value}


def _refusal(error: OSError) -> str:
    return (
        f"the raw answers of this fetch are not kept: {error}; free space there or make it "
        "writable, or set QUANT_RAW_RETENTION_DAYS=0 to keep none"
    )


def is_local(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
