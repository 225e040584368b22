"""What each feed showed last, kept between processes. What belongs here: one file a feed.

A conditional request is only safe if the body that the entity tag stands for is at hand: a run may
have been killed after it read the feed and before it stored the articles. So the body is kept and
read again when the publisher answers that nothing changed. The time of the last change tells a
feed that has fallen silent from one that is alive.
"""

import gzip
import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from quant_assets.vendors.archive_files import write_whole


@dataclass(frozen=True)
class CachedFeed:
    """A feed's last whole answer; ``changed_at`` is when this body was first seen, UTC."""

    body: bytes
    etag: str | None
    modified: str | None
    changed_at: datetime


@dataclass(frozen=True)
class _Head:
    """First line of a file: everything but the body, and the body's hash."""

    etag: str | None
    modified: str | None
    changed_at: str
    sha256: str


class FeedCache:
    """Last answers below ``folder``, one file an address, named by the address's hash.

    The address may hold a password and is not written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, url: str) -> CachedFeed | None:
        """The last answer, ``None`` if there is none or its file is damaged: then ask plainly."""
        try:
            line, _, body = gzip.decompress(self._path(url).read_bytes()).partition(b"\n")
            head = _Head(**json.loads(line))
            changed_at = datetime.fromisoformat(head.changed_at)
        except (OSError, EOFError, zlib.error, ValueError, TypeError):
            return None
        if hashlib.sha256(body).hexdigest() != head.sha256 or changed_at.tzinfo is None:
            return None
        return CachedFeed(body, head.etag, head.modified, changed_at)

    def put(
        self, url: str, body: bytes, etag: str | None, modified: str | None, now: datetime
    ) -> CachedFeed:
        """Keep an answer. A body that came before keeps the time at which it first did.

        A disk that refuses costs a plain request next time, not the feed.
        """
        before = self.get(url)
        is_same = before is not None and before.body == body
        changed_at = before.changed_at if before is not None and is_same else now
        kept = CachedFeed(body, etag, modified, changed_at)
        digest = hashlib.sha256(body).hexdigest()
        head = json.dumps(asdict(_Head(etag, modified, changed_at.isoformat(), digest)))
        try:
            write_whole(self._path(url), gzip.compress(head.encode() + b"\n" + body, 6, mtime=0))
        except OSError:
            return kept
        return kept

    def _path(self, url: str) -> Path:
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.gz"
