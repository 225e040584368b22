"""Sessions, pacing, redaction and the typing of answers, against a scripted server."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from quant_assets.errors import PermanentError, TransientError
from quant_assets.vendors.http import HttpCaller, Pacer, build_session
from quant_assets.vendors.redaction import MASK, redact, redact_query
from quant_assets_tests.unit.scripted_server import Reply, ScriptedServer

KEY = "s3cret+key/with=signs"


def session(*, retries: int = 2, timeout_seconds: float = 2.0, **others: int) -> requests.Session:
    return build_session(
        retries=retries,
        backoff_seconds=0.001,
        timeout_seconds=timeout_seconds,
        user_agent="test agent",
        **others,
    )


def caller(made: requests.Session | None = None) -> HttpCaller:
    return HttpCaller("Vendor", made or session(), secrets=(KEY,), key_name="VENDOR_KEY")


def ask(server: ScriptedServer, made: requests.Session | None = None) -> requests.Response:
    return caller(made).get(f"{server.url}/thing", endpoint="thing", params={"apikey": KEY})


@pytest.fixture(autouse=True)
def _no_key_leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test of this module makes the libraries log, the key is not in it."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert KEY not in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_retried(status: int) -> None:
    with ScriptedServer([Reply(status=status), Reply("fine")]) as server:
        assert ask(server).text == "fine"
        assert len(server.requests) == 2
        assert server.requests[0].headers["User-Agent"] == "test agent"


def test_a_lasting_failure_is_asked_retries_plus_one_times() -> None:
    with ScriptedServer([Reply("<html>down</html>", 503)]) as server:
        with pytest.raises(TransientError, match=r"Vendor thing: the server failed \(HTTP 503"):
            ask(server, session(retries=3))
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "soon"}, None),
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:29:00 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            60.0,
        ),
    ],
)
def test_rate_limit_carries_the_wait_asked_for(
    headers: dict[str, str], expected: float | None
) -> None:
    response = requests.Response()
    response.status_code = 429
    response.headers.update(headers)
    response._content = b""
    made = session()
    made.get = lambda *args, **kwargs: response  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="rate limited") as caught:
        caller(made).get("http://vendor.test/thing", endpoint="thing")
    assert caught.value.retry_after_seconds == expected


def test_retry_after_is_obeyed_up_to_the_maximum() -> None:
    replies = [Reply(status=429, headers={"Retry-After": "21600"}), Reply("fine")]
    with ScriptedServer(replies) as server:
        started = time.monotonic()
        assert ask(server, session(retry_after_max_seconds=1)).text == "fine"
        assert 0.9 < time.monotonic() - started < 5.0


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (400, PermanentError, "request refused"),
        (401, PermanentError, "check VENDOR_KEY"),
        (403, PermanentError, "check VENDOR_KEY"),
        (404, PermanentError, "not found"),
        (408, TransientError, "try again"),
    ],
)
def test_other_statuses_are_typed_and_not_retried(
    status: int, error: type[Exception], words: str
) -> None:
    with ScriptedServer([Reply(f"bad {KEY}", status)]) as server:
        with pytest.raises(error, match=words) as caught:
            ask(server)
        assert len(server.requests) == 1
        assert KEY not in str(caught.value)
        assert MASK in str(caught.value)


def test_html_where_json_is_due_is_transient() -> None:
    with (
        ScriptedServer([Reply("\n<!DOCTYPE html><html>consent</html>")]) as server,
        pytest.raises(TransientError, match="HTML page came where JSON is due"),
    ):
        ask(server)


@pytest.mark.parametrize(
    ("fault", "words", "asked"),
    [("reset", "connection failed", 3), ("hang", "no answer in time", 3), ("cut", "broke off", 1)],
)
def test_broken_connections_are_transient_without_the_address(
    fault: str, words: str, asked: int
) -> None:
    with ScriptedServer([Reply("x" * 1000, fault=fault)]) as server:
        with pytest.raises(TransientError, match=words) as caught:
            ask(server, session(timeout_seconds=0.2))
        assert len(server.requests) == asked
    error = caught.value
    assert KEY not in str(error)
    assert "s3cret" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_an_unusable_address_is_permanent() -> None:
    with pytest.raises(PermanentError, match="address is not usable"):
        caller().get("nowhere://x", endpoint="thing")


def test_a_body_that_is_not_json_is_transient() -> None:
    with ScriptedServer([Reply('{"a": 1')]) as server:
        response = ask(server)
        with pytest.raises(TransientError, match="not valid JSON") as caught:
            caller().json(response, endpoint="thing")
    assert caught.value.__context__ is None


def test_loopback_is_reached_past_the_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with ScriptedServer([Reply("direct")]) as server:
        assert ask(server).text == "direct"


def test_warnings_of_a_retry_do_not_print_the_key(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedServer([Reply(fault="reset"), Reply("fine")]) as server:
        ask(server)
    assert "Retrying" in caplog.text
    assert f"apikey={MASK}" in caplog.text


class FakeTime:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(
    ("pace", "window_seconds", "limit"),
    [
        ({"max_per_minute": 5}, 60.0, 5),
        ({"max_per_second": 4}, 1.0, 4),
        ({"max_per_second": 0.5}, 2.0, 1),
        ({"max_per_second": 2.5}, 0.8, 2),
    ],
)
def test_no_window_sees_more_than_its_share(
    pace: dict[str, float], window_seconds: float, limit: int
) -> None:
    clock = FakeTime()
    pacer = Pacer(**pace, monotonic=clock.monotonic, sleep=clock.sleep)
    starts = []
    for _ in range(4 * limit):
        pacer.wait()
        starts.append(clock.now)
    assert starts[limit - 1] == starts[0], "a burst up to the limit passes at once"
    assert all(
        later - earlier >= window_seconds - 1e-9
        for earlier, later in zip(starts, starts[limit:], strict=False)
    )
    assert starts[-1] - starts[0] == pytest.approx(3 * window_seconds)


def test_threads_share_one_pace() -> None:
    pacer = Pacer(max_per_second=50)
    starts: list[float] = []

    def work() -> None:
        for _ in range(10):
            pacer.wait()
            starts.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(starts) == 80
    assert max(starts) - min(starts) >= 1.0 - 0.01


@pytest.mark.parametrize(
    "pace", [{}, {"max_per_second": 1, "max_per_minute": 1}, {"max_per_second": 0}]
)
def test_a_pacer_needs_exactly_one_positive_pace(pace: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"pace|exactly one"):
        Pacer(**pace)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u?a=1&apikey=abc&b=2", f"u?a=1&apikey={MASK}&b=2"),
        ("/fred?API_KEY=abc HTTP/1.1", f"/fred?API_KEY={MASK} HTTP/1.1"),
        ("('u?crumb=a.b/c',)", f"('u?crumb={MASK}',)"),
        ("token=x access_token=y", f"token={MASK} access_token={MASK}"),
        ("my_token=kept, tokens=kept", "my_token=kept, tokens=kept"),
    ],
)
def test_query_parameters_are_masked(text: str, expected: str) -> None:
    assert redact_query(text) == expected


def test_secrets_are_masked_plain_and_quoted() -> None:
    quoted = "s3cret%2Bkey%2Fwith%3Dsigns"
    assert redact(f"a {KEY} b {quoted} c", (KEY, "")) == f"a {MASK} b {MASK} c"
