"""Texts of articles: what is read, what is refused, and that nothing stops the others."""

import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from quant_assets.errors import BadConfigurationError
from quant_assets.vendors import article_text
from quant_assets.vendors.archive import RawArchive, Scope
from quant_assets.vendors.article_text import (
    PAGE_LIMIT_BYTES,
    PAGES_A_RUN,
    TEXT_LIMIT,
    ArticleReader,
    PageText,
    is_public,
    tally,
)
from quant_assets_tests.unit.scripted_server import Reply, Request, ScriptedServer

NOW = datetime(2026, 3, 20, 16, 0, tzinfo=UTC)
HTML = {"Content-Type": "text/html; charset=utf-8"}
SENTENCE = "The company raised its forecast for the year after a strong quarter in all regions."


def page(text: str = SENTENCE, repeat: int = 3) -> Reply:
    paragraphs = f"<p>{text}</p>" * repeat
    return Reply(
        "<!doctype html><html><body><nav><a href='/'>Home</a></nav><article><h1>Forecast</h1>"
        f"{paragraphs}</article><footer>All rights reserved.</footer></body></html>",
        headers=HTML,
    )


class Site:
    """Pages by path below the mirror; everything else, robots.txt too, is 404."""

    def __init__(self, **pages: Reply) -> None:
        self.pages = {f"/www.wire.example/{name}": reply for name, reply in pages.items()}
        self.robots: Reply | None = None

    def __call__(self, request: Request) -> Reply:
        if request.path.endswith("/robots.txt"):
            return self.robots or Reply("no", 404)
        return self.pages.get(request.path, Reply("no", 404))


def read(site: Callable[[Request], Reply], *names: str, **options: Any) -> list[PageText]:
    with ScriptedServer(site) as server:
        reader = ArticleReader(mirror_url=server.url, **options)
        urls = [name if "//" in name else f"https://www.wire.example/{name}" for name in names]
        pages = reader.read(urls)
    return [pages[url] for url in urls]


def test_the_text_is_that_of_the_article() -> None:
    (found,) = read(Site(a=page()), "a")
    assert found.outcome == "read"
    assert SENTENCE in found.text
    assert "Home" not in found.text
    assert "All rights reserved" not in found.text


def test_korean_pages_are_read() -> None:
    sentence = "삼성전자가 3분기 영업이익이 시장 기대치를 크게 웃돌았다고 밝혔다."
    (found,) = read(Site(a=page(sentence)), "a")
    assert sentence in found.text


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply("gone", 404), "HTTP 404"),
        (Reply("<html>busy</html>", 503, HTML), "HTTP 503"),
        (Reply("", 429, {"Retry-After": "30"}), "HTTP 429"),
        (
            Reply(b"%PDF", headers={"Content-Type": "application/pdf"}),
            "not a page (application/pdf)",
        ),
        (Reply("text"), "not a page (no content type)"),
        (Reply("", headers=HTML), "no text found"),
        (Reply(b"\x00\xff" * 500, headers=HTML), "no text found"),
        (Reply(b"x" * (PAGE_LIMIT_BYTES + 1), headers=HTML), "larger than 2,000,000 bytes"),
        (Reply("", fault="reset"), "ConnectionError"),
        (Reply("<html>" * 50, headers=HTML, fault="cut"), "ChunkedEncodingError"),
        (Reply("", fault="hang"), "ReadTimeout"),
        (Reply("", 302, {"Location": "/www.wire.example/bad"}), "too many redirects"),
    ],
)
def test_a_page_that_cannot_be_read_has_an_outcome_and_the_next_is_read(
    reply: Reply, outcome: str
) -> None:
    site = Site(good=page())

    def answer(request: Request) -> Reply:
        is_bad = request.path.endswith("/bad")
        return reply if is_bad else site(request)

    timeout = 0.2 if reply.fault == "hang" else 10.0
    bad, good = read(answer, "bad", "good", timeout_seconds=timeout)
    assert bad == PageText("", outcome)
    assert good.outcome == "read"


def test_a_redirect_is_followed_and_checked() -> None:
    site = Site(new=page())
    site.pages["/www.wire.example/old"] = Reply("", 301, {"Location": "/new"})
    site.pages["/www.wire.example/in"] = Reply("", 302, {"Location": "http://192.168.0.1/admin"})
    site.pages["/www.wire.example/file"] = Reply("", 302, {"Location": "file:///etc/passwd"})
    old, inside, file = read(site, "old", "in", "file")
    assert old.outcome == "read"
    assert inside == PageText("", "refused address (not public)")
    assert file == PageText("", "refused address (not a web server)")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[fd00::1]/",
        "http://0.0.0.0/",
        "https://www.wire.example:8443/a",
        "https://www.wire.example:x/a",
        "ftp://www.wire.example/a",
    ],
)
def test_addresses_that_are_no_public_web_server_are_not_asked(url: str) -> None:
    with ScriptedServer([page()]) as server:
        pages = ArticleReader(mirror_url=server.url).read([url])
        assert server.requests == []
    assert pages[url].outcome.startswith("refused address")


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["93.184.216.34"], True),
        (["93.184.216.34", "10.0.0.1"], False),
        (["127.0.0.1"], False),
        (["fe80::1%eth0"], False),
        (["2606:2800:220:1::1"], True),
        ([], False),
    ],
)
def test_a_name_counts_by_every_address_that_it_has(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], expected: bool
) -> None:
    found = [(0, 0, 0, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert is_public("publisher.example", resolve=True) is expected
    assert is_public("publisher.example", resolve=False)


def test_a_name_that_does_not_resolve_is_not_public(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert not is_public("publisher.example", resolve=True)


@pytest.mark.parametrize(
    ("robots", "outcome"),
    [
        (Reply("User-agent: *\nDisallow: /a"), "robots.txt forbids it"),
        (Reply("User-agent: quant-assets\nDisallow: /"), "robots.txt forbids it"),
        (Reply("User-agent: other\nDisallow: /"), "read"),
        (Reply("", 404), "read"),
        (Reply("", 503), "robots.txt forbids it"),
        (Reply("", 429), "robots.txt forbids it"),
        (Reply("", fault="reset"), "ConnectionError"),
    ],
)
def test_robots_txt_is_obeyed(robots: Reply, outcome: str) -> None:
    site = Site(a=page())
    site.robots = robots
    (found,) = read(site, "a")
    assert found.outcome == outcome


def test_a_host_is_asked_for_its_rules_once_and_at_a_pace() -> None:
    site = Site(a=page(), b=page(), c=page())
    with ScriptedServer(site) as server:
        ArticleReader(mirror_url=server.url).read(f"https://www.wire.example/{n}" for n in "abca")
        asked = [request.path.rpartition("/")[2] for request in server.requests]
    assert asked == ["robots.txt", "a", "b", "c"]


def test_number_length_and_time_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = read(Site(a=page("Profit rose again this year. " * 2_000, repeat=1)), "a")
    assert len(found.text) == TEXT_LIMIT
    assert read(Site(a=page()), "a", seconds_a_run=-1.0) == [
        PageText("", "no time left in this run")
    ]
    with ScriptedServer(Site()) as server:
        reader = ArticleReader(mirror_url=server.url)
        many = reader.read(f"https://www.wire.example/{n}" for n in range(PAGES_A_RUN + 20))
    assert len(many) == PAGES_A_RUN


def test_a_kept_page_is_read_again_without_asking(tmp_path: Path) -> None:
    archive = RawArchive(tmp_path)
    site = Site(a=page(), missing=page())
    site.pages["/www.wire.example/old"] = Reply("", 301, {"Location": "/a"})
    urls = [f"https://www.wire.example/{name}" for name in ("a", "old")]
    with ScriptedServer(site) as server:
        tape = archive.record(Scope("h", "h", NOW))
        live = ArticleReader(mirror_url=server.url, tape=tape).read(urls)
        tape.save("news/articles")
        asked = len(server.requests)
        replay = archive.replay("news/articles", "h", "h")
        missing = "https://www.wire.example/missing"
        kept = ArticleReader(mirror_url=server.url, tape=replay).read([*urls, missing])
        assert len(server.requests) == asked
    assert kept.pop(missing) == PageText("", "not part of the kept fetch")
    assert kept == live
    assert [found.outcome for found in live.values()] == ["read", "read"]


def test_without_the_library_the_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(article_text.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadConfigurationError, match=r"quant-assets\[text\]"):
        ArticleReader()


def test_outcomes_are_counted() -> None:
    pages = [PageText("a", "read"), PageText("", "HTTP 404"), PageText("b", "read")]
    assert tally(pages) == "2 read, 1 HTTP 404"


def test_the_library_is_imported_only_to_read() -> None:
    """It takes half a second; the code location loads without it."""
    code = "import sys, quant_assets.vendors.article_text; print('trafilatura' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
