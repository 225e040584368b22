"""A real S3 API for tests. What belongs here: its lifecycle, buckets, counting requests."""

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from moto.server import ThreadedMotoServer

from quant_assets.io_managers import bucket as s3

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@contextmanager
def s3_server() -> Iterator[str]:
    """Address of a server of its own, in memory, with an endpoint of its own for ``s3://``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def on_s3(endpoint: str) -> Iterator[str]:
    """Root ``s3://bucket/prefix`` in a new bucket; the environment leads to the server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL_S3": endpoint}.items():
            patch.setenv(name, value)
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        s3._client.cache_clear()
        name = f"quant-{uuid.uuid4().hex[:12]}"
        boto3.client("s3").create_bucket(Bucket=name)
        try:
            yield f"s3://{name}/some/prefix"
        finally:
            s3._client.cache_clear()


@contextmanager
def counted(client: Any) -> Iterator[Counter[str]]:
    """How many requests of each kind a client sends meanwhile."""
    found: Counter[str] = Counter()

    def count(event_name: str, **_: object) -> None:
        found[event_name.rpartition(".")[2]] += 1

    client.meta.events.register("before-send.s3.*", count)
    try:
        yield found
    finally:
        client.meta.events.unregister("before-send.s3.*", count)


class _Body:
    """The body of an answer that never came over a wire."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._content


@contextmanager
def answering(client: Any, status: int, code: str, *, times: int = 10**9) -> Iterator[list[str]]:
    """The next requests of a client are refused so; which they were."""
    refused: list[str] = []
    body = f"<Error><Code>{code}</Code><Message>as the test wants</Message></Error>".encode()

    def refuse(request: Any, event_name: str, **_: object) -> AWSResponse | None:
        if len(refused) >= times:
            return None
        refused.append(event_name.rpartition(".")[2])
        return AWSResponse(request.url, status, {"Content-Type": "text/xml"}, _Body(body))

    client.meta.events.register("before-send.s3.*", refuse)
    try:
        yield refused
    finally:
        client.meta.events.unregister("before-send.s3.*", refuse)
