"""The page of the simulated Slack: what it shows and what it leaves out."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests

from quant_assets.sandbox.server import Sandbox
from quant_assets.sandbox.slack_page import THREADS_A_PAGE
from quant_assets.sandbox.slack_workspace import Message, SlackWorkspace

NOW = datetime(2026, 6, 16, 22, 0, tzinfo=UTC)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(64)


class Writer:
    """Posts a message a second into a workspace."""

    def __init__(self, workspace: SlackWorkspace) -> None:
        self.workspace = workspace
        self.now = NOW

    def __call__(
        self, text: str, root: Message | None = None, *, channel: str = "quant-runs"
    ) -> Message:
        self.now += timedelta(seconds=1)
        found = self.workspace.channel(channel)
        assert found is not None
        thread_ts = None if root is None else root.ts
        return self.workspace.post(self.now, found.channel_id, text, thread_ts=thread_ts)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def post(sandbox: Sandbox) -> Writer:
    return Writer(sandbox.slack)


def shown(sandbox: Sandbox, path: str = "/slack", status: int = 200) -> str:
    """The part of the page that holds messages."""
    answer = requests.get(sandbox.url + path, timeout=5)
    assert answer.status_code == status
    return answer.text.partition("<main>")[2].partition("</main>")[0]


def test_threads_stand_newest_first_with_their_replies_below(
    sandbox: Sandbox, post: Writer
) -> None:
    older = post("older root")
    newer = post("newer root")
    post("late reply", older)
    post("early reply", newer)
    page = shown(sandbox)
    places = [
        page.index(text) for text in ("newer root", "early reply", "older root", "late reply")
    ]
    assert places == sorted(places)
    assert "22:00:03" in page
    assert "2 threads, 4 messages" in page


def test_each_channel_has_its_page(sandbox: Sandbox, post: Writer) -> None:
    post("a run")
    post("an alert", channel="quant-alerts")
    assert "an alert" in shown(sandbox)
    for name in ("quant-runs", "%23quant-runs"):
        page = shown(sandbox, f"/slack?channel={name}")
        assert "a run" in page
        assert "an alert" not in page
    navigation = requests.get(f"{sandbox.url}/slack", timeout=5).text
    assert 'href="/slack?channel=quant-runs"' in navigation
    assert "private-desk" not in navigation
    assert "Nothing was posted here" in shown(sandbox, "/slack?channel=trading")


def test_what_is_not_there_is_a_404(sandbox: Sandbox, post: Writer) -> None:
    post("a run")
    assert "&lt;b&gt;" in shown(sandbox, "/slack?channel=<b>", 404)
    assert "no such thread" in shown(sandbox, "/slack/quant-runs/1700000000.000001", 404)
    assert "There is no channel" in shown(sandbox, "/slack/nowhere/1700000000.000001", 404)
    assert requests.get(f"{sandbox.url}/slack/files/F1", timeout=5).status_code == 404


def test_blocks_come_before_the_text_and_edits_are_marked(sandbox: Sandbox, post: Writer) -> None:
    message = post("the fallback")
    assert "(edited)" not in shown(sandbox)
    block = {"type": "section", "text": {"type": "mrkdwn", "text": "*score* 0.42"}}
    sandbox.slack.edit(NOW, message, "the fallback", [block], None)
    page = shown(sandbox)
    assert "<strong>score</strong> 0.42" in page
    assert "the fallback" not in page
    assert "(edited)" in page


def test_pictures_are_shown_and_other_files_are_offered(sandbox: Sandbox, post: Writer) -> None:
    root = post("root")
    for name, content in (("a.png", PICTURE), ("b.png", b"<script>alert(1)</script>")):
        file = sandbox.slack.new_file(name, len(content))
        file.content, file.title = content, f'{name} "of" <today>'
        sandbox.slack.post(post.now, root.channel, "", thread_ts=root.ts, files=[file])
    page = shown(sandbox)
    assert '<img src="/slack/files/F00000001" alt="a.png &quot;of&quot; &lt;today&gt;">' in page
    assert '<a href="/slack/files/F00000002" download="b.png">' in page
    kinds = [
        requests.get(f"{sandbox.url}/slack/files/F0000000{number}", timeout=5).headers
        for number in (1, 2)
    ]
    assert [kind["Content-Type"] for kind in kinds] == ["image/png", "application/octet-stream"]
    assert {kind["X-Content-Type-Options"] for kind in kinds} == {"nosniff"}


def test_hostile_text_stays_text(sandbox: Sandbox, post: Writer) -> None:
    post('<script>alert(1)</script><img src=x onerror=alert(1)> <javascript:alert(1)|"x>')
    page = shown(sandbox)
    assert "<script" not in page
    assert "<img" not in page
    assert "javascript:" not in page.replace("&lt;javascript:", "")
    headers = requests.get(f"{sandbox.url}/slack", timeout=5).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "script-src 'sha256-" in headers["Content-Security-Policy"]


def test_old_threads_are_a_page_away(sandbox: Sandbox, post: Writer) -> None:
    roots = [post(f"[{number}]") for number in range(THREADS_A_PAGE + 2)]
    page = shown(sandbox)
    assert "[2]" in page
    assert "[1]" not in page
    assert f"before={roots[2].ts}" in page
    rest = shown(sandbox, f"/slack?channel=quant-runs&before={roots[2].ts}")
    assert "[1]" in rest
    assert "[2]" not in rest
    assert "Older threads" not in rest
