"""RSS: recorded feeds, dates of every kind, conditional requests, dead feeds."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from quant_assets.errors import BadDataError, PermanentError, TransientError
from quant_assets.sandbox.faults import Fault
from quant_assets.sandbox.server import Sandbox
from quant_assets.vendors.archive import RawArchive, Scope, Tape
from quant_assets.vendors.feed_cache import FeedCache
from quant_assets.vendors.http import build_session
from quant_assets.vendors.rss import RssClient, parse_date, parse_feed, plain_text
from quant_assets_tests.unit.scripted_server import Reply, Request, ScriptedServer

NOW = datetime(2025, 6, 30, 22, 0, tzinfo=UTC)
URL = "https://publisher.example/feed.xml"


def client(*, timeout_seconds: float = 10.0, tape: Tape | None = None, **options: Any) -> RssClient:
    session = build_session(
        retries=1,
        backoff_seconds=0.001,
        timeout_seconds=timeout_seconds,
        user_agent="test",
        tape=tape,
    )
    return RssClient(session, tape=tape, **options)


def feed(*items: str, title: str = "Publisher") -> bytes:
    body = "".join(f"<item>{item}</item>" for item in items)
    return f'<rss version="2.0"><channel><title>{title}</title>{body}</channel></rss>'.encode()


def item(name: str = "a", date: str = "Mon, 29 Jul 2019 13:57:00 GMT", extra: str = "") -> str:
    return (
        f"<title>Title {name}</title><link>https://publisher.example/{name}</link>"
        f"<pubDate>{date}</pubDate>{extra}"
    )


@pytest.mark.parametrize(
    ("name", "count", "first_date", "first_source"),
    [
        ("cnbc_finance_10000664_2019-07-18.xml", 30, "2019-07-29 13:55:00", "Finance"),
        ("yahoo_finance_rssindex_2022-01-08.xml", 50, "2022-01-07 14:53:09", "TipRanks"),
    ],
)
def test_recorded_feeds_are_read_whole(
    recorded_data: Path, name: str, count: int, first_date: str, first_source: str
) -> None:
    content = (recorded_data / "news" / "rss" / name).read_bytes()
    with ScriptedServer([Reply(content, headers={"Content-Type": "text/xml"})]) as server:
        result = client().fetch(f"{server.url}/feed")
    assert not result.is_unchanged
    assert result.is_well_formed
    assert result.rejected == ()
    assert len(result.items) == count
    assert f"{result.items[0].published_at:%Y-%m-%d %H:%M:%S}" == first_date
    assert result.items[0].source == first_source
    for entry in result.items:
        assert entry.published_at is not None
        assert entry.published_at.tzinfo is UTC
        assert entry.title
        assert "<" not in entry.title + entry.summary
        assert "&#" not in entry.title + entry.summary
        assert entry.url.startswith("https://")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon, 29 Jul 2019 13:57:00 GMT", "2019-07-29T13:57:00+00:00"),
        ("Mon, 29 Jul 2019 13:57 GMT", "2019-07-29T13:57:00+00:00"),
        ("Mon, 29 Jul 2019 13:57:00 +0900", "2019-07-29T04:57:00+00:00"),
        ("Mon, 29 Jul 2019 13:57:00 KST", "2019-07-29T04:57:00+00:00"),
        ("Mon, 29 Jul 2019 13:57:00 EDT", "2019-07-29T17:57:00+00:00"),
        ("Mon, 29 Jul 2019 13:57:00 CEST", "2019-07-29T11:57:00+00:00"),
        ("Mon, 29 Jul 2019 13:57:00 -0400 (EDT)", "2019-07-29T17:57:00+00:00"),
        ("Mon, 29 Jul 2019 13:57:00 -0000", "2019-07-29T13:57:00+00:00"),
        ("2022-01-07T14:53:09Z", "2022-01-07T14:53:09+00:00"),
        ("2022-01-07T14:53:09+09:00", "2022-01-07T05:53:09+00:00"),
        ("Mon, 29 Jul 2019 13:57:00 XYZ", None),
        ("Mon, 29 Jul 2019 13:57:00", None),
        ("2022-01-07T14:53:09", None),
        ("2022-01-07 14:53:09", None),
        ("03/04/2024 10:00 GMT", None),
        ("3.4.2024 10:00:00 +0900", None),
        ("sometime KST", None),
        ("yesterday", None),
    ],
)
def test_dates_are_utc_or_none(text: str, expected: str | None) -> None:
    items, rejected, _ = parse_feed(feed(item(date=text)), URL)
    assert rejected == ()
    found = items[0].published_at
    assert (found and found.isoformat()) == expected
    assert items[0].raw_date == text


def test_a_date_that_nothing_reads_is_none() -> None:
    assert parse_date("yesterday") is None
    assert parse_date("") is None


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("plain", "plain"),
        ("<p>AT&amp;T <b>rises</b></p><p>5%</p>", "AT&T rises 5%"),
        ("a<br/>b\n\n  c", "a b c"),
        ("<script>alert(1)</script>seen<style>p{}</style>", "seen"),
        ("5 < 6 &lt; 7", "5 < 6 < 7"),
        ("", ""),
    ],
)
def test_html_becomes_text(html: str, expected: str) -> None:
    assert plain_text(html) == expected


def test_summaries_and_sources_are_plain() -> None:
    summary = escape('<p>Shares of <a href="x">AAPL</a> fell&nbsp;3%</p><img src="p.png"/>')
    extra = f'<description>{summary}</description><source url="u">Wire &amp; Co</source>'
    items, _, _ = parse_feed(feed(item("a", extra=extra), item("b")), URL)
    assert items[0].summary == "Shares of AAPL fell 3%"
    assert items[0].source == "Wire & Co"
    assert items[1].source == "Publisher"


def test_entries_that_are_no_articles_are_kept_apart() -> None:
    broken = "<title>No address</title><description>text</description>"
    untitled = "<link>https://publisher.example/x</link><description>text</description>"
    items, rejected, _ = parse_feed(feed(broken, item("a"), item("a"), untitled), URL)
    assert [entry.url for entry in items] == ["https://publisher.example/a"]
    assert [entry.reason for entry in rejected] == ["no web address", "no title"]
    assert rejected[0].raw["title"] == "No address"


def test_an_undated_entry_is_an_item_without_a_date() -> None:
    items, rejected, _ = parse_feed(
        feed("<title>t</title><link>https://publisher.example/a</link>"), URL
    )
    assert rejected == ()
    assert (items[0].published_at, items[0].raw_date) == (None, "")


def test_a_feed_that_is_cut_is_read_and_marked() -> None:
    whole = feed(item("a"), item("b"))
    items, _, is_well_formed = parse_feed(whole[: whole.index(b"Title b")], URL)
    assert "https://publisher.example/a" in [entry.url for entry in items]
    assert not is_well_formed


def test_atom_is_read() -> None:
    atom = (
        b'<feed xmlns="http://www.w3.org/2005/Atom"><title>Publisher</title><entry>'
        b'<title>One</title><link href="/one"/><updated>2024-03-01T09:00:00+09:00</updated>'
        b"</entry></feed>"
    )
    items, _, _ = parse_feed(atom, URL)
    assert items[0].url == "https://publisher.example/one"
    assert items[0].published_at == datetime(2024, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("reply", "error", "words", "asked"),
    [
        (Reply(feed()), BadDataError, "without entries", 1),
        (Reply(b""), BadDataError, "not an RSS or Atom feed", 1),
        (Reply('{"items": []}'), BadDataError, "not an RSS or Atom feed", 1),
        (Reply("<html>gone</html>"), TransientError, "HTML page came where XML is due", 1),
        (Reply("<html>down</html>", 503), TransientError, "HTTP 503", 2),
        (Reply("", 429, {"Retry-After": "0"}), TransientError, "rate limited", 2),
        (Reply("no", 403), PermanentError, "access refused", 1),
        (Reply("no", 404), PermanentError, "not found", 1),
        (Reply("", 410), PermanentError, "HTTP 410", 1),
        (Reply("", fault="reset"), TransientError, "connection failed", 2),
        (Reply("", fault="hang"), TransientError, "no answer in time", 2),
        (Reply(feed(item()), fault="cut"), TransientError, "broke off", 1),
    ],
)
def test_failures_are_typed(reply: Reply, error: type[Exception], words: str, asked: int) -> None:
    timeout_seconds = 0.2 if reply.fault == "hang" else 10.0
    with ScriptedServer([reply]) as server:
        with pytest.raises(error, match=words) as caught:
            client(timeout_seconds=timeout_seconds).fetch(f"{server.url}/feed?token=s3cret")
        assert len(server.requests) == asked
    assert "/feed" in str(caught.value), "the message names the feed"
    assert "s3cret" not in f"{caught.value!r} {caught.value.__context__!r}"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "sandbox" in request.fixturenames:
        request.getfixturevalue("sandbox").faults.clear()


@pytest.mark.parametrize("name", ["markets", "companies", "korea"])
def test_the_sandbox_s_feeds_are_read_and_then_not_modified(
    sandbox: Sandbox, name: str, tmp_path: Path
) -> None:
    url = f"{sandbox.url}/rss/{name}.xml"
    first = client(cache=FeedCache(tmp_path)).fetch(url)
    assert not first.is_unchanged
    assert len(first.items) > 20
    dated = [entry.published_at for entry in first.items if entry.published_at is not None]
    assert sum(date > NOW for date in dated) <= 3, "few items of a feed are dated in the future"
    assert min(dated) > datetime(2025, 5, 1, tzinfo=UTC)
    again = client(cache=FeedCache(tmp_path)).fetch(url)
    assert again.is_unchanged
    assert again.items == first.items


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        ("empty", {}, BadDataError),
        ("empty", {"body": True}, BadDataError),
        ("status", {"code": 500, "body": "html"}, TransientError),
        ("status", {"code": 404}, PermanentError),
        ("reset", {}, TransientError),
        ("truncated", {}, TransientError),
    ],
)
def test_the_sandbox_s_faults_are_typed(
    sandbox: Sandbox, kind: str, options: dict[str, Any], error: type[Exception]
) -> None:
    sandbox.faults.add(Fault("rss", kind, feeds=["markets"], **options))
    with pytest.raises(error):
        client().fetch(f"{sandbox.url}/rss/markets.xml")
    assert client().fetch(f"{sandbox.url}/rss/korea.xml").items


def test_doubled_items_are_read_once(sandbox: Sandbox) -> None:
    url = f"{sandbox.url}/rss/markets.xml"
    clean = client().fetch(url)
    sandbox.faults.add(Fault("rss", "duplicate"))
    assert client().fetch(url).items == clean.items


class Publisher:
    """A feed with an entity tag, as a script of the server: 304 while its body stays the same."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.moved_to = ""

    def __call__(self, request: Request) -> Reply:
        if request.path == "/old":
            return Reply("", 301, {"Location": self.moved_to})
        tag = f'"{len(self.body)}"'
        if request.headers.get("If-None-Match") == tag:
            return Reply(b"", 304, {"ETag": tag})
        return Reply(self.body, headers={"ETag": tag, "Content-Type": "text/xml"})


def test_an_unchanged_feed_gives_its_items_again_in_another_process(tmp_path: Path) -> None:
    """A run killed between reading a feed and storing its articles loses nothing."""
    clock = [NOW]
    with ScriptedServer(Publisher(feed(item("a"), item("b")))) as server:
        url = f"{server.url}/feed?token=s3cret"
        results = []
        for _ in range(3):
            made = client(cache=FeedCache(tmp_path), now=lambda: clock[0])
            results.append(made.fetch(url))
            clock[0] += timedelta(hours=30)
    assert [result.is_unchanged for result in results] == [False, True, True]
    assert [len(result.items) for result in results] == [2, 2, 2]
    assert {result.changed_at for result in results} == {NOW}
    files = list(tmp_path.iterdir())
    assert len(files) == 1
    assert b"s3cret" not in gzip.decompress(files[0].read_bytes()) + files[0].name.encode()


def test_a_changed_feed_replaces_what_was_kept(tmp_path: Path) -> None:
    publisher = Publisher(feed(item("a")))
    later = NOW + timedelta(hours=5)
    with ScriptedServer(publisher) as server:
        client(cache=FeedCache(tmp_path), now=lambda: NOW).fetch(f"{server.url}/feed")
        publisher.body = feed(item("a"), item("b"))
        result = client(cache=FeedCache(tmp_path), now=lambda: later).fetch(f"{server.url}/feed")
    assert not result.is_unchanged
    assert len(result.items) == 2
    assert result.changed_at == later


@pytest.mark.parametrize("damage", [b"", b"not gzip", gzip.compress(b"{}\nbody", mtime=0), None])
def test_a_damaged_cache_means_a_plain_request(tmp_path: Path, damage: bytes | None) -> None:
    with ScriptedServer(Publisher(feed(item("a")))) as server:
        url = f"{server.url}/feed"
        client(cache=FeedCache(tmp_path)).fetch(url)
        (path,) = tmp_path.iterdir()
        whole = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(whole[:-5]) if damage is None else damage)
        result = client(cache=FeedCache(tmp_path)).fetch(url)
        assert "If-None-Match" not in server.requests[-1].headers
        assert client(cache=FeedCache(tmp_path)).fetch(url).is_unchanged
    assert len(result.items) == 1


def test_a_body_that_is_no_feed_is_not_kept(tmp_path: Path) -> None:
    with (
        ScriptedServer([Reply(b"{}", headers={"ETag": '"x"'})]) as server,
        pytest.raises(BadDataError, match="not an RSS"),
    ):
        client(cache=FeedCache(tmp_path)).fetch(f"{server.url}/feed")
    assert list(tmp_path.iterdir()) == []


def test_an_unchanged_feed_and_a_moved_one_can_be_read_from_the_archive(tmp_path: Path) -> None:
    archive = RawArchive(tmp_path / "raw")
    cache = FeedCache(tmp_path / "feeds")
    publisher = Publisher(feed(item("a"), item("b")))
    with ScriptedServer(publisher) as server:
        publisher.moved_to = f"{server.url}/new"
        urls = [f"{server.url}/feed", f"{server.url}/old"]
        for name in ("first", "second"):
            tape = archive.record(Scope(name, name, NOW))
            live = [client(cache=cache, tape=tape).fetch(url) for url in urls]
            tape.save("news/articles")
        assert [result.is_unchanged for result in live] == [True, True]
        asked = len(server.requests)
        replay = archive.replay("news/articles", "second", "second")
        kept = [client(cache=cache, tape=replay).fetch(url) for url in urls]
        assert len(server.requests) == asked
    assert [result.items for result in kept] == [result.items for result in live]


def test_an_answer_of_unchanged_that_nobody_asked_for_is_a_failure() -> None:
    with (
        ScriptedServer([Reply(b"", 304)]) as server,
        pytest.raises(TransientError, match="HTTP 304"),
    ):
        client().fetch(f"{server.url}/feed")
