"""Faults of the transport, the control paths and the life of the server."""

from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pytest
import requests

from quant_assets.errors import BadConfigurationError
from quant_assets.sandbox.faults import ENDPOINTS, Fault
from quant_assets.sandbox.server import Sandbox

NOW = datetime(2026, 6, 16, 22, 0, tzinfo=UTC)
KEY = "sandbox0" * 4
PATHS = {
    "yahoo.crumb": "/v1/test/getcrumb",
    "yahoo.chart": "/v8/finance/chart/AAPL?range=5d&interval=1d",
    "fred": f"/fred/series/observations?series_id=UNRATE&file_type=json&api_key={KEY}",
    "alpha_vantage": f"/query?function=NEWS_SENTIMENT&limit=5&apikey={KEY}",
    "rss": "/rss/markets.xml",
    "slack": "/api/api.test",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.faults.clear()
    running.requests.clear()
    return running


def get(sandbox: Sandbox, path: str, **options: Any) -> requests.Response:
    return requests.get(sandbox.url + path, timeout=10, **options)


@pytest.mark.parametrize("endpoint", list(PATHS))
def test_every_endpoint_answers_with_the_scripted_status(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.faults.add(Fault(endpoint, "status", code=503, retry_after=2, times=1))
    failed, recovered = (get(sandbox, PATHS[endpoint]) for _ in range(2))
    assert failed.status_code == 503
    assert failed.headers["Retry-After"] == "2"
    assert "<html>" in failed.text
    assert recovered.status_code != 503
    assert sandbox.requests.matching(endpoint=endpoint)[0].status == 503


def test_cookie_endpoint_through_a_yahoo_host(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("yahoo.cookie", "status", code=500, body="json", times=1))
    proxies = {"http": sandbox.url}
    failed = requests.get("http://fc.yahoo.com/", proxies=proxies, timeout=5)
    assert failed.json()["error"]["code"] == 500
    given = requests.get("http://fc.yahoo.com/", proxies=proxies, timeout=5)
    assert given.headers["Set-Cookie"].startswith("A3=d=")


def test_host_header_alone_routes_to_yahoo(sandbox: Sandbox) -> None:
    given = get(sandbox, "/", headers={"Host": "fc.yahoo.com"})
    assert "A3=" in given.headers["Set-Cookie"]
    assert get(sandbox, "/").status_code == 404


@pytest.mark.parametrize("endpoint", list(PATHS))
def test_reset_closes_the_connection(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.faults.add(Fault(endpoint, "reset", times=1))
    with pytest.raises(requests.ConnectionError):
        get(sandbox, PATHS[endpoint])
    assert get(sandbox, PATHS[endpoint]).status_code in (200, 401)
    assert sandbox.requests.count(endpoint=endpoint, status=0) == 1


@pytest.mark.parametrize("endpoint", list(PATHS))
def test_a_lost_answer_is_none_or_another_status(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.faults.add(Fault(endpoint, "lost", times=1))
    with pytest.raises(requests.ConnectionError):
        get(sandbox, PATHS[endpoint])
    sandbox.faults.add(Fault(endpoint, "lost", times=1, code=502, retry_after=3))
    answer = get(sandbox, PATHS[endpoint])
    assert (answer.status_code, answer.headers["Retry-After"]) == (502, "3")
    statuses = [entry.status for entry in sandbox.requests.matching(endpoint=endpoint)]
    assert statuses == [0, 502]


@pytest.mark.parametrize("endpoint", list(PATHS))
def test_truncated_body_is_shorter_than_announced(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.faults.add(Fault(endpoint, "truncated", times=1))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(sandbox, PATHS[endpoint])


def test_delay_outlasts_a_timeout_and_nothing_else(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("rss", "delay", seconds=0.4, times=2))
    with pytest.raises(requests.ReadTimeout):
        requests.get(sandbox.url + PATHS["rss"], timeout=0.1)
    started = monotonic()
    assert get(sandbox, PATHS["rss"]).status_code == 200
    assert 0.35 < monotonic() - started < 5


@pytest.mark.parametrize("endpoint", ["yahoo.chart", "fred", "alpha_vantage", "slack"])
def test_malformed_body_is_not_json(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.faults.add(Fault(endpoint, "malformed", times=1))
    answer = get(sandbox, PATHS[endpoint])
    assert answer.status_code == 200
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()
    assert get(sandbox, PATHS[endpoint]).json()


def test_an_answer_without_a_body(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("yahoo.chart", "empty", body=True, times=1))
    answer = get(sandbox, PATHS["yahoo.chart"])
    assert (answer.status_code, answer.content) == (200, b"")


def test_control_over_http(sandbox: Sandbox) -> None:
    health = get(sandbox, "/_sandbox/health").json()
    assert health == {"service": "quant-assets-sandbox", "seed": 7, "data_dir": None}
    scripted = {"endpoint": "rss", "kind": "status", "code": 418, "times": 1}
    posted = requests.post(sandbox.url + "/_sandbox/faults", json=scripted, timeout=5)
    assert posted.json()[0]["code"] == 418
    assert get(sandbox, PATHS["rss"]).status_code == 418
    assert get(sandbox, "/_sandbox/faults").json()[0]["hits"] == 1
    assert requests.delete(sandbox.url + "/_sandbox/faults", timeout=5).json() == []
    wrong = requests.post(sandbox.url + "/_sandbox/faults", json={"endpoint": "x"}, timeout=5)
    assert wrong.status_code == 400
    assert "kind" in wrong.json()["error"]
    assert get(sandbox, "/_sandbox/nothing").status_code == 404


def test_the_log_keeps_no_key(sandbox: Sandbox) -> None:
    get(sandbox, PATHS["fred"])
    logged = get(sandbox, "/_sandbox/requests").json()
    assert [(e["endpoint"], e["subject"], e["status"]) for e in logged] == [("fred", "UNRATE", 200)]
    assert KEY not in str(logged)
    assert sandbox.requests.count(endpoint="fred", series_id="UNRATE") == 1


def test_every_endpoint_has_a_path_here() -> None:
    assert set(PATHS) | {"yahoo.cookie"} == set(ENDPOINTS)


def test_start_and_stop() -> None:
    sandbox = Sandbox(now=lambda: NOW)
    with pytest.raises(BadConfigurationError, match="call start"):
        _ = sandbox.url
    address = sandbox.start()
    assert sandbox.start() == address
    kept = requests.Session()
    assert kept.get(f"{address}/_sandbox/health", timeout=5).status_code == 200
    port = int(address.rpartition(":")[2])
    with pytest.raises(BadConfigurationError, match="cannot listen"):
        Sandbox(port=port).start()
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        kept.get(f"{address}/_sandbox/health", timeout=5)
    sandbox.stop()
