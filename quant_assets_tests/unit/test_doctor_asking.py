"""What the doctor says of vendors, Slack, mail and Kafka: as they should be, wrong, or silent."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quant_assets.cli.doctor import kafka_checks, vendor_checks
from quant_assets.cli.doctor.findings import Finding
from quant_assets.errors import QuantAssetsError, TransientError
from quant_assets.events.connection import KafkaConnection
from quant_assets.sandbox.broker import EmbeddedBroker
from quant_assets.sandbox.server import Sandbox
from quant_assets.settings import SANDBOX_KEY, Endpoints, Settings, sandbox_endpoints
from quant_assets.vendors.daily_quota import DailyQuota, quota_path
from quant_assets.vendors.slack import SlackConnection
from quant_assets_tests.mailbox import Inbox, free_port, serving
from quant_assets_tests.unit.scripted_server import Reply, ScriptedServer

SECONDS = 10.0
SECRET = "sesame-open-1234"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def there(sandbox: Sandbox) -> Endpoints:
    return sandbox_endpoints(sandbox.url)


def live(home: Path, **variables: str) -> Settings:
    given = {"QUANT_PROFILE": "live", "QUANT_HOME": str(home), **variables}
    return Settings(**given)  # type: ignore[arg-type]


def at(endpoints: Endpoints, url: str) -> Endpoints:
    return replace(
        endpoints, yahoo_proxy=url, fred_url=url, alpha_vantage_url=url, rss_feeds=(f"{url}/a",)
    )


def test_a_sandbox_that_answers(sandbox: Sandbox, there: Endpoints, tmp_path: Path) -> None:
    settings = Settings(QUANT_HOME=str(tmp_path))  # type: ignore[call-arg,arg-type]
    connection = SlackConnection(there.slack_url, "xoxb-sandbox")
    findings = [
        vendor_checks.fred(settings, there, SECONDS),
        vendor_checks.yahoo(settings, there, SECONDS),
        vendor_checks.feeds(there, SECONDS),
        vendor_checks.alpha_vantage(settings, there, SECONDS, is_asked=False),
        *vendor_checks.slack(settings, connection, SECONDS),
    ]
    assert [finding.status for finding in findings] == ["ok"] * 7
    assert findings[2].what == "3 answer"


def test_vendors_without_a_key(there: Endpoints, tmp_path: Path) -> None:
    settings = live(tmp_path)
    fred = vendor_checks.fred(settings, there, SECONDS)
    news = vendor_checks.alpha_vantage(settings, there, SECONDS, is_asked=True)
    assert (fred.status, "FRED_API_KEY is not set" in fred.what) == ("warn", True)
    assert (news.status, "ALPHA_VANTAGE_API_KEY is not set" in news.what) == ("skip", True)


def test_fred_refuses_a_wrong_key(there: Endpoints, tmp_path: Path) -> None:
    with pytest.raises(QuantAssetsError, match="check FRED_API_KEY") as refusal:
        vendor_checks.fred(live(tmp_path, FRED_API_KEY=SECRET), there, SECONDS)
    assert SECRET not in str(refusal.value)


def test_fred_is_asked_once(there: Endpoints, tmp_path: Path) -> None:
    with ScriptedServer([Reply(status=503)]) as server:
        with pytest.raises(TransientError):
            vendor_checks.fred(
                live(tmp_path, FRED_API_KEY=SANDBOX_KEY), at(there, server.url), SECONDS
            )
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "status", "said"),
    [
        (Reply(status=429), "warn", "429"),
        (Reply(status=401, body="{}"), "fail", "HTTP 401"),
        (Reply(fault="reset"), "fail", "does not answer"),
        (
            Reply(status=404, body=json.dumps({"chart": {"error": {"description": "No data"}}})),
            "ok",
            "No data",
        ),
    ],
)
def test_what_yahoo_may_answer(
    there: Endpoints, tmp_path: Path, reply: Reply, status: str, said: str
) -> None:
    with ScriptedServer([reply]) as server:
        finding = vendor_checks.yahoo(live(tmp_path), at(there, server.url), SECONDS)
    assert finding.status == status
    assert said in finding.what


def test_feeds_that_do_not_answer(there: Endpoints) -> None:
    dead = f"http://me:{SECRET}@127.0.0.1:{free_port()}/feed.xml"
    some = vendor_checks.feeds(replace(there, rss_feeds=(*there.rss_feeds, dead)), SECONDS)
    assert (some.status, some.what.startswith("3 of 4 answer")) == ("warn", True)
    none = vendor_checks.feeds(replace(there, rss_feeds=(dead,)), SECONDS)
    assert none.status == "fail"
    assert SECRET not in none.what
    assert "127.0.0.1/feed.xml" in none.what
    with ScriptedServer([Reply("<html>moved</html>")]) as server:
        page = vendor_checks.feeds(replace(there, rss_feeds=(server.url,)), SECONDS)
    assert page.status == "fail"
    assert vendor_checks.feeds(replace(there, rss_feeds=()), SECONDS).status == "skip"


def test_alpha_vantages_calls_are_spent_on_demand_only(there: Endpoints, tmp_path: Path) -> None:
    settings = live(tmp_path, ALPHA_VANTAGE_API_KEY=SANDBOX_KEY)
    quota = DailyQuota(quota_path(tmp_path), 25, lambda: datetime.now(UTC))

    def look(endpoints: Endpoints, *, is_asked: bool) -> Finding:
        return vendor_checks.alpha_vantage(settings, endpoints, SECONDS, is_asked=is_asked)

    with ScriptedServer([Reply(json.dumps({"Error Message": "the apikey is invalid"}))]) as server:
        untried = look(at(there, server.url), is_asked=False)
        assert (untried.status, server.requests) == ("ok", [])
        assert "not tried" in untried.what
        assert "25 of 25 calls left" in untried.what
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(QuantAssetsError) as refusal:
            look(at(there, server.url), is_asked=True)
    assert SANDBOX_KEY not in str(refusal.value)
    assert quota.left() == 24
    assert look(there, is_asked=True).what == "takes the key; 23 calls left today"
    quota.exhaust()
    spent = look(there, is_asked=True)
    assert spent.status == "warn"
    assert "no call left until" in spent.what


def test_slack_refuses_the_token_or_hides_a_channel(there: Endpoints, tmp_path: Path) -> None:
    wrong = SlackConnection(there.slack_url, SECRET)
    with pytest.raises(QuantAssetsError, match="SLACK_BOT_TOKEN"):
        vendor_checks.slack(live(tmp_path), wrong, SECONDS)
    good = SlackConnection(there.slack_url, "xoxb-sandbox")
    settings = live(tmp_path, QUANT_SLACK_CHANNEL="#nowhere")
    found = {f.name: f for f in vendor_checks.slack(settings, good, SECONDS)}
    assert {name: f.status for name, f in found.items()} == {
        "Slack": "ok",
        "#nowhere": "fail",
        "#quant-alerts": "ok",
    }
    assert "/invite the bot to #nowhere" in found["#nowhere"].remedy


def test_nothing_set_is_no_failure(tmp_path: Path) -> None:
    assert [f.status for f in vendor_checks.slack(live(tmp_path), None, SECONDS)] == ["skip"]
    assert vendor_checks.mail(None).status == "skip"
    assert [f.status for f in kafka_checks.kafka(live(tmp_path), SECONDS)] == ["skip"]
    sandbox = Settings(QUANT_HOME=str(tmp_path))  # type: ignore[call-arg,arg-type]
    assert [f.status for f in kafka_checks.kafka(sandbox, SECONDS)] == ["skip"]
    assert sandbox.found_endpoints() is None


def mailing(home: Path, port: int, **variables: str) -> Settings:
    return live(
        home,
        QUANT_SMTP_HOST="127.0.0.1",
        QUANT_SMTP_PORT=str(port),
        QUANT_MAIL_FROM="quant@desk.example",
        QUANT_MAIL_TO="ops@desk.example",
        **{"QUANT_SMTP_SECURITY": "none", **variables},
    )


def test_a_mail_server_is_greeted_and_sent_nothing(tmp_path: Path) -> None:
    inbox = Inbox()
    with serving(inbox) as port:
        assert vendor_checks.mail(mailing(tmp_path, port).mail_server()).status == "ok"
        login = {"QUANT_SMTP_USERNAME": "me", "QUANT_SMTP_PASSWORD": SECRET}
        with pytest.raises(QuantAssetsError, match="QUANT_SMTP_SECURITY") as refusal:
            vendor_checks.mail(mailing(tmp_path, port, **login).mail_server())
    assert SECRET not in str(refusal.value)
    assert inbox.mails == []
    with pytest.raises(TransientError, match="cannot be reached"):
        vendor_checks.mail(mailing(tmp_path, free_port()).mail_server())


def test_a_broker_that_never_speaks(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = live(tmp_path, KAFKA_BOOTSTRAP_SERVERS=address)
        with pytest.raises(TransientError, match=f"Kafka at {address} does not answer"):
            kafka_checks.kafka(settings, 1.0)


def test_a_broker_without_our_topics(tmp_path: Path) -> None:
    broker = EmbeddedBroker()
    broker.start()
    try:
        settings = live(tmp_path, KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers)
        real = {f.name: f for f in kafka_checks.kafka(settings, SECONDS)}
        embedded = KafkaConnection(broker.bootstrap_servers, is_embedded=True)
        found = kafka_checks.cluster(settings, embedded, SECONDS)
    finally:
        broker.stop()
    assert (real["broker"].status, real["topics"].status) == ("ok", "fail")
    assert real["topics"].remedy == "quant events setup"
    assert real["lag"].what == "0 message(s) are not read yet"
    assert [f.status for f in found] == ["ok", "ok", "ok"]


DAYS = 24 * 3600 * 1000


@pytest.mark.parametrize(
    ("retention", "policy", "status"),
    [
        (str(30 * DAYS), "delete", "ok"),
        ("-1", "delete", "ok"),
        (None, None, "ok"),
        (str(1 * DAYS), "delete", "warn"),
        (str(30 * DAYS), "compact", "fail"),
        (str(30 * DAYS), "compact,delete", "fail"),
    ],
)
def test_how_long_dead_letters_are_kept(
    retention: str | None, policy: str | None, status: str
) -> None:
    finding = kafka_checks.judge_retention("quantiq.dead-letter", retention, policy)
    assert finding.status == status
    assert bool(finding.remedy) == (status != "ok")


def test_a_cluster_that_does_not_tell_its_configuration() -> None:
    """The embedded broker does not: it has no such call."""
    broker = EmbeddedBroker()
    broker.start()
    try:
        connection = KafkaConnection(broker.bootstrap_servers)
        finding = kafka_checks.dead_letters(connection, "quantiq.dead-letter", 2.0)
    finally:
        broker.stop()
    assert finding.status == "warn"
    assert "DESCRIBE_CONFIGS" in finding.remedy
