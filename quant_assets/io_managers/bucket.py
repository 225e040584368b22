"""An S3 bucket as a place of files. What belongs here: requests, their number, their errors.

Region, endpoint and credentials are those of AWS's own tools: ``AWS_REGION``,
``AWS_ENDPOINT_URL_S3``, ``AWS_PROFILE``, roles of machines and pods. With an endpoint of one's own
the bucket is part of the path, as MinIO and others want it.

A write is one PUT, which S3 makes visible as a whole; a read is one GET a file, many at a time. S3
answers for what was written before: no listing is stale.
"""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from quant_assets.errors import (
    BadConfigurationError,
    BadDataError,
    QuantAssetsError,
    TransientError,
)
from quant_assets.io_managers.places import S3_SCHEME, FileFacts

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

THREADS = 32
"""Requests at a time: at 30 ms each they read 300 files in a third of a second."""
ATTEMPTS = 5
FEW = 4
"""So many files are asked for one by one; more are found by listing, a thousand a request."""
LISTING_SECONDS = 5.0
LEASE_SECONDS = 60.0
"""A lock that was not renewed for so long is taken over: its holder died."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ABSENT = ("404", "NoSuchKey", "NotFound")
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_PASSING = ("SlowDown", "RequestTimeout", "OperationAborted", "BadDigest")
_REFUSED = {
    "NoSuchBucket": "there is no such bucket: make it, or correct QUANT_DATA_ROOT",
    "AccessDenied": "the credentials may not do that: they need GetObject, PutObject, DeleteObject "
    "and ListBucket there",
    "403": "the credentials may not do that: they need GetObject, PutObject, DeleteObject and "
    "ListBucket there",
    "InvalidAccessKeyId": "S3 does not know the key: correct AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "the secret key is wrong: correct AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired: log in again",
    "PermanentRedirect": "the bucket is in another region: correct AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: correct AWS_REGION",
    "301": "the bucket is in another region: correct AWS_REGION",
    "400": "the credentials or the region are wrong",
    "InvalidToken": "the session token is wrong: log in again",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
}


@lru_cache(maxsize=8)
def _client(_process: int) -> Any:
    """The client of this process; boto3 says that threads may share one, forks may not."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        config=Config(
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=THREADS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            user_agent_extra="quant_assets",
        ),
    )


class Bucket:
    """The objects below a prefix of a bucket; see ``Place``.

    Every method raises ``TransientError`` where S3 does not answer, ``BadConfigurationError`` where
    it refuses, each with the address.
    """

    has_versions = True

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._listings: dict[str, tuple[float, dict[str, FileFacts]]] = {}
        self.address = f"{S3_SCHEME}{bucket}/{prefix}".rstrip("/")

    @classmethod
    def at(cls, address: str) -> Bucket:
        """The place of ``s3://bucket/prefix``. Raises ``BadConfigurationError``."""
        bucket, _, prefix = address.removeprefix(S3_SCHEME).partition("/")
        prefix = prefix.strip("/")
        if not _BUCKET.fullmatch(bucket) or any(
            p in ("", ".", "..") for p in prefix.split("/")[1:]
        ):
            raise BadConfigurationError(
                f"QUANT_DATA_ROOT is {address!r}: give s3://BUCKET/PREFIX, the bucket's name of "
                "lower-case letters, digits, dots and hyphens"
            )
        return cls(bucket, prefix)

    def existing(self, names: Sequence[str]) -> set[str]:
        """Those of ``names`` that are there: by a HEAD each for a few, else by listing."""
        wanted = set(names)
        if len(wanted) <= FEW:
            return {name for name in wanted if self._head(name)}
        found: set[str] = set()
        folders = {name.rpartition("/")[0] for name in wanted}
        for folder in folders:
            own = sorted(name for name in wanted if name.rpartition("/")[0] == folder)
            found.update(name for name, _ in self._listed(folder, own[0], own[-1]))
        return wanted & found

    def sources(self, names: Sequence[str]) -> dict[str, Path | bytes]:
        """Contents of those that are there."""
        contents = self.each(self._get, names)
        both = zip(names, contents, strict=True)
        return {name: content for name, content in both if content is not None}

    def facts(self, name: str) -> FileFacts:
        """Size and time of an object.

        From a listing of its folder that may be some seconds old, but knows what this process
        wrote: who asks for one object asks for its neighbours, too.
        """
        folder = name.rpartition("/")[0]
        since, listed = self._listings.get(folder, (0.0, {}))
        if time.monotonic() - since > LISTING_SECONDS:
            listed = dict(self._listed(folder))
            self._listings[folder] = (time.monotonic(), listed)
        if name not in listed:
            raise FileNotFoundError(f"{self.address}/{name}")
        return listed[name]

    def all_facts(self, folder: str) -> dict[str, FileFacts]:
        """Size and time of every object in ``folder``, by its name there."""
        return {name.rpartition("/")[2]: facts for name, facts in self._listed(folder)}

    def write(self, name: str, fill: Callable[[IO[bytes]], object]) -> int:
        """Write an object with one PUT."""
        return self._write(name, fill)

    def versioned(self, name: str) -> tuple[Path | bytes | None, str]:
        """The content of an object and its ETag."""
        try:
            answer = self._asked("get_object", name)
        except FileNotFoundError:
            return None, ""
        return answer["content"], str(answer["ETag"])

    def write_over(self, name: str, fill: Callable[[IO[bytes]], object], version: str) -> int:
        """Write an object with one PUT that S3 refuses if its ETag is another by then."""
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        return self._write(name, fill, **condition)

    def _write(self, name: str, fill: Callable[[IO[bytes]], object], **condition: str) -> int:
        content = io.BytesIO()
        fill(content)
        if not self._put(name, content.getvalue(), **condition):
            raise FileExistsError(f"{self.address}/{name}")
        self._listings.pop(name.rpartition("/")[0], None)
        return content.tell()

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Many at a time: each waits for the network."""
        listed = list(items)
        if len(listed) < 2:
            return [work(item) for item in listed]
        with ThreadPoolExecutor(min(THREADS, len(listed)), thread_name_prefix="s3") as pool:
            return list(pool.map(work, listed))

    def names(self, folder: str) -> list[str]:
        """Names of the objects in ``folder``."""
        found = (name.rpartition("/")[2] for name, _ in self._listed(folder))
        return sorted(name for name in found if not name.startswith("."))

    def delete(self, names: Sequence[str]) -> int:
        """Remove objects; how many there were."""
        self._listings.clear()
        there = sorted(self.existing(names))
        for start in range(0, len(there), 1000):
            objects = [{"Key": self._prefix + name} for name in there[start : start + 1000]]
            answer = self._asked(
                "delete_objects", there[start], Delete={"Objects": objects, "Quiet": True}
            )
            if errors := answer.get("Errors"):
                raise BadDataError(
                    f"{self.address}: {len(errors)} object(s) could not be removed, such as "
                    f"{errors[0].get('Key')}: {errors[0].get('Message')}"
                )
        return len(there)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """A lease: an object that only one can make; one that is too old is taken over.

        Its holder renews it. Raises ``TransientError`` if it was taken over all the same, by a
        process for which this one looked dead: what was done then is to be done again.
        """
        key, mine = f".locks/{name.replace('/', '.')}", uuid.uuid4().hex
        until = time.monotonic() + 10 * LEASE_SECONDS
        pause = 0.02
        while not self._take(key, mine):
            if time.monotonic() > until:
                raise TransientError(f"{self.address}/{key}: others have held it for too long")
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
        is_over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(key, mine, is_over), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            is_over.set()
            renewing.join()
            is_held = self._is_held(key, mine)
            if is_held:
                self._asked("delete_object", key)
        if not is_held:
            raise TransientError(f"{self.address}/{key}: another has taken it over meanwhile")

    def _renew(self, key: str, mine: str, is_over: threading.Event) -> None:
        """Write the lease anew until it is over, so that it looks young."""
        while not is_over.wait(LEASE_SECONDS / 4):
            try:
                if not self._is_held(key, mine):
                    return
                self._put(key, _lease(mine))
            except QuantAssetsError as error:
                logger.warning("%s", error)

    def _is_held(self, key: str, mine: str) -> bool:
        held = self._get(key)
        return held is not None and json.loads(held).get("holder") == mine

    def _take(self, key: str, mine: str) -> bool:
        """Make the lease, or take over one whose time is over; whether it is ours now."""
        body = _lease(mine)
        if self._put(key, body, IfNoneMatch="*"):
            return True
        try:
            found = self._asked("head_object", key)
        except FileNotFoundError:
            return False
        # Both times are S3's own: clocks of machines differ.
        now = found["ResponseMetadata"]["HTTPHeaders"].get("date")
        age = _seconds_between(found["LastModified"], now)
        return age > LEASE_SECONDS and self._put(key, body, IfMatch=found["ETag"])

    def prepare(self, folder: str) -> None:
        """S3 has no folders."""

    def claim(self, owner: str) -> str:
        """Write down whose the root is, if it is nobody's."""
        self._put(".profile", f"{owner}\n".encode(), IfNoneMatch="*")
        return self.owner() or owner

    def owner(self) -> str | None:
        """Whose the root is."""
        content = self._get(".profile")
        return None if content is None else content.decode().strip()

    def demand_readable(self, folder: str) -> None:
        """Raise if the prefix may not be listed."""
        next(self._listed(folder), None)

    def remove_unfinished(self, pid: int) -> int:
        """A PUT that was not finished has left nothing."""
        return 0

    def _head(self, name: str) -> FileFacts | None:
        try:
            found = self._asked("head_object", name)
        except FileNotFoundError:
            return None
        return FileFacts(int(found["ContentLength"]), found["LastModified"].timestamp())

    def _get(self, name: str) -> bytes | None:
        try:
            answer = self._asked("get_object", name)
        except FileNotFoundError:
            return None
        content: bytes = answer["content"]
        return content

    def _put(self, name: str, content: bytes, **conditions: str) -> bool:
        """Write an object; False if a condition is not met."""
        try:
            self._asked("put_object", name, Body=content, **conditions)
        except (FileExistsError, FileNotFoundError):
            # What was to be replaced is another by now, or gone.
            return False
        return True

    def _listed(
        self, folder: str, first: str = "", last: str = ""
    ) -> Iterator[tuple[str, FileFacts]]:
        """Objects of a folder, ascending, from ``first`` to ``last``."""
        prefix = f"{self._prefix}{folder}/"
        # S3 begins after a key: one that sorts just before the first.
        start = (self._prefix + first)[:-1] if first else ""
        token: dict[str, str] = {"StartAfter": start} if start else {}
        while True:
            answer = self._asked("list_objects_v2", folder, Prefix=prefix, Delimiter="/", **token)
            for one in answer.get("Contents", ()):
                name = str(one["Key"]).removeprefix(self._prefix)
                if last and name > last:
                    return
                yield name, FileFacts(int(one["Size"]), one["LastModified"].timestamp())
            if not answer.get("IsTruncated"):
                return
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def _asked(self, method: str, name: str, **arguments: Any) -> Any:
        """The answer to a request; ``content`` of an object is read within it.

        Raises ``FileNotFoundError`` for an object that is not there, ``FileExistsError`` where a
        condition is not met.
        """
        import os

        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            FlexibleChecksumError,
            HTTPClientError,
            IncompleteReadError,
        )
        from botocore.parsers import ResponseParserError

        if method in ("get_object", "head_object", "put_object", "delete_object"):
            arguments["Key"] = self._prefix + name
        try:
            client = _client(os.getpid())
            for attempt in range(ATTEMPTS):
                answer = getattr(client, method)(Bucket=self._bucket, **arguments)
                if method != "get_object":
                    return answer
                try:
                    return {**answer, "content": answer["Body"].read()}
                except (IncompleteReadError, HTTPClientError, FlexibleChecksumError):
                    # boto3 repeats requests, but not the reading of their answers.
                    if attempt == ATTEMPTS - 1:
                        raise
        except ClientError as error:
            raise self._refused(error, name) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise self._failed(error, name) from error

    def _refused(self, error: ClientError, name: str) -> Exception:
        told = error.response.get("Error", {})
        code, message = str(told.get("Code", "")), str(told.get("Message", ""))
        if code in _ABSENT:
            return FileNotFoundError(f"{self.address}/{name}")
        if code in _TAKEN:
            return FileExistsError(f"{self.address}/{name}")
        where = f"{self.address}/{name}: S3 said {code or 'nothing'} {message}".rstrip(". ")
        if code in _REFUSED:
            return BadConfigurationError(f"{where}; {_REFUSED[code]}")
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status >= 500 or status == 429 or code in _PASSING:
            return TransientError(f"{where}; it was asked {ATTEMPTS} times")
        return BadConfigurationError(where)

    def _failed(self, error: Exception, name: str) -> QuantAssetsError:
        from botocore import exceptions as of
        from botocore.parsers import ResponseParserError

        where = f"{self.address}/{name}: {error}"
        if isinstance(error, of.NoCredentialsError | of.PartialCredentialsError):
            return BadConfigurationError(
                f"{where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or "
                "give the machine a role"
            )
        passing = (
            of.HTTPClientError,
            of.ConnectionError,
            of.IncompleteReadError,
            of.FlexibleChecksumError,
            of.CredentialRetrievalError,
            of.MetadataRetrievalError,
            ResponseParserError,
        )
        if isinstance(error, passing):
            return TransientError(f"{where}: is the network up, and AWS_ENDPOINT_URL_S3 right?")
        return BadConfigurationError(f"{where}: correct the AWS_ variables or ~/.aws/config")


def _lease(holder: str) -> bytes:
    return json.dumps({"holder": holder}).encode()


def _seconds_between(earlier: Any, now: str | None) -> float:
    from email.utils import parsedate_to_datetime

    if now is None:
        return 0.0
    seconds: float = (parsedate_to_datetime(now) - earlier).total_seconds()
    return seconds
